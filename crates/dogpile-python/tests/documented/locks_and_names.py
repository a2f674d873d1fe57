"""Many may read or one may write; and objects that are known by name."""

import gc
import threading

from dogpile.util import NameRegistry, ReadWriteMutex
from dogpile.util.readwrite_lock import LockError

mutex = ReadWriteMutex()
mutex.acquire_read_lock()
print(mutex.acquire_read_lock(False), mutex.acquire_write_lock(False))
mutex.release_read_lock(), mutex.release_read_lock()
print(mutex.acquire_write_lock(False), mutex.acquire_read_lock(False), mutex.acquire_write_lock(False))
order = []


def read():
    mutex.acquire_read_lock()
    order.append("read")
    mutex.release_read_lock()


readers = [threading.Thread(target=read) for _ in range(3)]
for reader in readers:
    reader.start()
order.append("written")
mutex.release_write_lock()
for reader in readers:
    reader.join()
print(order)
for release in (mutex.release_read_lock, mutex.release_write_lock):
    try:
        release()
    except LockError as error:
        print(type(error).__name__)


class Thing:
    def __init__(self, name):
        created.append(name)
        self.name = name


created = []
things = NameRegistry(Thing)
first, other = things.get("a"), things.get("b")
print(things.get("a") is first, first is other, created)
del first
gc.collect()
print(things.get("a").name, things.get("b") is other, created)
