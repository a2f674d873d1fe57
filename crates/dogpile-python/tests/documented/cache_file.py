"""A cache in a file of Python's dbm: with its lock files, without, and with locks of one's own."""

import os
import tempfile
import threading

from dogpile.cache import make_region
from dogpile.cache.backends.file import AbstractFileLock
from dogpile.util import ReadWriteMutex


class MemoryLock(AbstractFileLock):
    """A lock for the threads of one process."""

    taken = []

    def __init__(self, filename):
        self.name = os.path.basename(filename)
        self.mutex = ReadWriteMutex()

    def acquire_read_lock(self, wait):
        self.taken.append("read " + self.name)
        return self.mutex.acquire_read_lock(wait) or wait

    def acquire_write_lock(self, wait):
        self.taken.append("write " + self.name)
        return self.mutex.acquire_write_lock(wait) or wait

    def release_read_lock(self):
        return self.mutex.release_read_lock()

    def release_write_lock(self):
        return self.mutex.release_write_lock()


settings = [
    {},
    {"rw_lockfile": False},
    {"dogpile_lockfile": False},
    {"rw_lockfile": False, "dogpile_lockfile": False},
    {"lock_factory": MemoryLock},
]
for setting in settings:
    folder = tempfile.mkdtemp()
    arguments = {"filename": f"{folder}/cache.dbm", **setting}
    region = make_region().configure("dogpile.cache.dbm", expiration_time=3600, arguments=arguments)
    runs, answers = [], []

    def create():
        runs.append(1)
        return {"run": len(runs)}

    threads = [threading.Thread(target=lambda: answers.append(region.get_or_create("k", create))) for _ in range(4)]
    for thread in threads:
        thread.start()
        if not setting.get("rw_lockfile", True):
            # A file of dbm's is not whole while somebody writes to it, and nothing keeps others from it here.
            thread.join()
    for thread in threads:
        thread.join()
    again = make_region().configure("dogpile.cache.dbm", arguments=arguments)
    print(answers, again.get("k"), again.get("l"), len(runs))
    region.set_multi({"a": 1, "b": (2, 3)})
    region.delete("a")
    print(again.get_multi(["a", "b"]), sorted(name for name in os.listdir(folder) if "lock" in name))
print(sorted(set(MemoryLock.taken)))
