"""A whole region is invalidated: at once, or softly, and by a strategy of one's own."""

import threading
import time

from dogpile.cache import exception, make_region
from dogpile.cache.region import DefaultInvalidationStrategy, RegionInvalidationStrategy

now = [1_700_000_000.0]
time.time = lambda: now[0]
numbers = iter(range(100))


def create():
    return f"value {next(numbers)}"


region = make_region().configure("dogpile.cache.memory", expiration_time=3600)
print(region.get_or_create("k", create), region.get_or_create("k", create))
now[0] += 1
region.invalidate()
print(region.get("k"), region.get("k", ignore_expiration=True), region.get_or_create("k", create))
now[0] += 1
region.invalidate(hard=False)
begun, may_end = threading.Event(), threading.Event()


def slow():
    begun.set()
    may_end.wait(30)
    return create()


thread = threading.Thread(target=region.get_or_create, args=("k", slow))
thread.start()
begun.wait(30)
now[0] += 1
print("meanwhile", region.get_or_create("k", create))
may_end.set()
thread.join()
print("then", region.get_or_create("k", create))

endless = make_region().configure("dogpile.cache.memory")
endless.set("k", 1)
now[0] += 1
endless.invalidate(hard=False)
try:
    endless.get_or_create("k", create)
except exception.DogpileCacheException as error:
    print(error)


class Shared(RegionInvalidationStrategy):
    """Keeps the moment in the cache itself, where other processes see it."""

    def __init__(self, region):
        self.region = region
        self.kind = None

    def moment(self):
        stored = self.region.backend.get("moment")
        return (stored.payload if stored else (0, True)) if self.region.is_configured else (0, True)

    def invalidate(self, hard=True):
        self.region.set("moment", (time.time(), hard))

    def is_invalidated(self, timestamp):
        return timestamp < self.moment()[0]

    def was_hard_invalidated(self):
        return self.moment()[0] > 0 and self.moment()[1]

    def was_soft_invalidated(self):
        return self.moment()[0] > 0 and not self.moment()[1]

    def is_hard_invalidated(self, timestamp):
        return self.moment()[1] and self.is_invalidated(timestamp)

    def is_soft_invalidated(self, timestamp):
        return not self.moment()[1] and self.is_invalidated(timestamp)


room = {}
regions = [make_region(), make_region()]
for one in regions:
    one.configure("dogpile.cache.memory", 60, arguments={"cache_dict": room}, region_invalidator=Shared(one))
for hard in (True, False):
    print([one.get_or_create("k", create) for one in regions])
    now[0] += 1
    regions[0].invalidate(hard)
    print([one.get("k") for one in regions], regions[1].get_or_create("k", create), regions[0].get("k"))
    strategy = regions[1].region_invalidator
    print(strategy.was_hard_invalidated(), strategy.was_soft_invalidated())
print(isinstance(region.region_invalidator, DefaultInvalidationStrategy))
