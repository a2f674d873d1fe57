"""A stale value is renewed in a thread, and served until then. The lock is memcached's."""

import os
import threading
import time

from dogpile.cache import make_region

now = [1_700_000_000.0]
time.time = lambda: now[0]
may_end, ended = threading.Event(), threading.Event()
numbers = iter(range(10))


def in_a_thread(cache, key, creator, mutex):
    def create():
        try:
            may_end.wait(30)
            cache.set(key, creator())
        finally:
            mutex.release()
            ended.set()

    print("renewed in the background:", key)
    threading.Thread(target=create).start()


def create():
    return f"value {next(numbers)}"


def show(region, key):
    print(region.get_or_create(key, create))
    print(region.get_or_create(key, create))
    now[0] += 10
    print(region.get_or_create(key, create), "while", region.key_is_locked(key))
    print(region.get_or_create(key, create))
    may_end.set()
    ended.wait(30)
    print(region.get_or_create(key, create), region.get(key), region.key_is_locked(key))
    may_end.clear(), ended.clear()


memcached = {"url": f"127.0.0.1:{os.environ['MEMCACHED_PORT']}", "distributed_lock": True}
for name, arguments in (("memory", {}), ("memcached", memcached)):
    region = make_region(async_creation_runner=in_a_thread)
    region.configure(f"dogpile.cache.{name}", expiration_time=5, arguments=arguments)
    show(region, "k")


@region.cache_on_arguments()
def report(number):
    return f"report {number} at {now[0]:.0f}"


may_end.set()
print(report(1))
now[0] += 10
print(report(1))
ended.wait(30)
print(report(1))
