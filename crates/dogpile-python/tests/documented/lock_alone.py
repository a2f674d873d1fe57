"""The lock by itself, around a resource that is expensive to create."""

import threading
import time

from dogpile import Lock, NeedRegenerationException

now = [1_700_000_000.0]
time.time = lambda: now[0]
resource, mutex = [], threading.Lock()
numbers = iter(range(100))


def create():
    pair = (f"resource {next(numbers)}", time.time())
    resource[:] = [pair]
    return pair


def get():
    if not resource:
        raise NeedRegenerationException()
    return resource[0]


def use(creator=create, getter=get, limit=3600):
    with Lock(mutex, creator, getter, limit) as value:
        return value


print(use(), use())
now[0] += 4000
begun, may_end = threading.Event(), threading.Event()


def slow():
    begun.set()
    may_end.wait(30)
    return create()


results = []
thread = threading.Thread(target=lambda: results.append(use(slow)))
thread.start()
begun.wait(30)
print("served meanwhile:", use(), use(), mutex.locked())
may_end.set()
thread.join()
print(results, use(), mutex.locked())

# A cold start: the others wait for the one that creates.
resource.clear()
begun.clear(), may_end.clear()
threads = [threading.Thread(target=lambda: results.append(use(slow))) for _ in range(8)]
for thread in threads:
    thread.start()
begun.wait(30)
may_end.set()
for thread in threads:
    thread.join()
print(results[1:])


def fails():
    raise LookupError("no resource today")


resource.clear()
try:
    use(fails)
except LookupError as error:
    print(error, mutex.locked(), use())
now[0] += 10
print(use(limit=None), use(limit=5))


def in_background(lock):
    print("in the background")
    lock.release()


now[0] += 10
with Lock(mutex, create, get, 5, in_background) as value:
    print(value, mutex.locked())
