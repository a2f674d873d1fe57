"""The calls of a region: get, set, delete, get or create, for one key and for many."""

import time

from dogpile.cache import make_region
from dogpile.cache.api import NO_VALUE

now = [1_700_000_000.0]
time.time = lambda: now[0]

region = make_region().configure("dogpile.cache.memory", expiration_time=30)
created = []


def create():
    created.append(len(created))
    return f"value {created[-1]}"


print(region.get("k"), region.get("k") is NO_VALUE, bool(NO_VALUE))
print(region.get_or_create("k", create), region.get_or_create("k", create), region.get("k"))
now[0] += 20
print(region.get("k"), region.get("k", expiration_time=10), region.get("k", expiration_time=-1))
now[0] += 20
print(region.get("k"), region.get("k", ignore_expiration=True), region.get_or_create("k", create))
region.set("k", None)
print(region.get("k"), region.get("k") is None)
stored = region.get_value_metadata("k")
now[0] += 5
print(stored.payload, stored.cached_time - 1_700_000_000, stored.age)
region.delete("k")
region.delete("k")
print(region.get("k") is NO_VALUE, region.get_value_metadata("k"))

region.set_multi({"one": 1, "two": 2})
names = ["one", "two", "three"]
print(dict(zip(names, region.get_multi(names))))
print(region.get_or_create_multi(names, lambda *missing: [f"created {name}" for name in missing]))
region.delete_multi(["one", "two"])
print(region.get_multi(names), region.get_multi([]))

# Not every value is worth keeping, and creators may have arguments.
print(region.get_or_create("nothing", lambda: None, should_cache_fn=lambda value: value is not None))
print(region.get("nothing") is NO_VALUE)
print(region.get_or_create("sum", lambda a, b=0: a + b, creator_args=((3,), {"b": 4})), region.get("sum"))
print(region.get_or_create("short", create, expiration_time=1), region.get_or_create("short", create, 1))
now[0] += 2
print(region.get_or_create("short", create, expiration_time=1), created)
try:
    region.get_or_create("bad", lambda: 1 // 0)
except ZeroDivisionError as error:
    print(error, region.get("bad") is NO_VALUE, region.get_or_create("bad", create))
