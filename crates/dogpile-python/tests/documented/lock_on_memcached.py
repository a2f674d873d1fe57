"""A decorator of one's own: values are in memcached, the lock is a thread's or a file's."""

import fcntl
import hashlib
import os
import subprocess
import sys
import tempfile
import threading
import time

import pymemcache
from dogpile import Lock, NeedRegenerationException

client = pymemcache.PooledClient(("127.0.0.1", int(os.environ["MEMCACHED_PORT"])), serde=pymemcache.serde.pickle_serde)


class LockFile:
    """A mutex that other processes know by its path."""

    def __init__(self, path):
        self.path = path

    def acquire(self, wait=True):
        self.file = open(self.path, "a")
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError:
            self.file.close()
            return False
        return True

    def release(self):
        self.file.close()


def cached(key, limit, mutex):
    def get():
        pair = client.get(key)
        if pair is None:
            raise NeedRegenerationException()
        return pair

    def decorate(fn):
        def create():
            pair = (fn(), time.time())
            client.set(key, pair, noreply=False)
            return pair

        def call():
            with Lock(mutex(), create, get, limit) as value:
                return value

        return call

    return decorate


if len(sys.argv) > 1:
    folder = sys.argv[1]
    path = os.path.join(folder, hashlib.sha1(b"shared").hexdigest())

    @cached("shared", 3600, lambda: LockFile(path))
    def expensive():
        with open(f"{folder}/runs", "a") as file:
            file.write(".")
        time.sleep(0.2)
        return "of one process"

    print("ready", flush=True)
    sys.stdin.readline()
    print(expensive(), flush=True)
else:
    runs, one = [], threading.Lock()

    @cached("by-threads", 3600, lambda: one)
    def number():
        runs.append(1)
        return len(runs)

    answers = []
    threads = [threading.Thread(target=lambda: answers.append(number())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(answers, number())
    client.delete("by-threads", noreply=False)
    print(number(), len(runs))

    folder = tempfile.mkdtemp()
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([sys.executable, __file__, folder], **pipes) for _ in range(4)]
    print([process.stdout.readline() for process in processes])
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    print([process.communicate()[0] for process in processes])
    with open(f"{folder}/runs") as file:
        print("creations:", file.read())
