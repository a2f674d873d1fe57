"""A Python process of a mixed fleet: `fleet_worker.py LIBRARY PORT KEY THREADS NOTES SECONDS`.

LIBRARY is `native` for this package's native backend, or `upstream` for dogpile.cache's Redis. It prints "ready", waits
for a line, has all threads ask for KEY, and prints an answer for each, as `dogpile-worker` does. Creators note what they
create in the file NOTES when they begin.
"""

import json
import os
import sys
import threading
import time

library, port, key, threads, notes, seconds = sys.argv[1:]
arguments = {"host": "127.0.0.1", "port": int(port), "distributed_lock": True, "lock_timeout": 30}
if library == "native":
    from dogpile_rs.cache import make_region

    region = make_region().configure("redis", arguments={**arguments, "codec": "json"})
else:
    from dogpile.cache import make_region

    assert "dogpile_rs" not in sys.modules
    region = make_region(serializer=lambda value: json.dumps(value).encode(), deserializer=json.loads)
    more = {"thread_local_lock": False, "lock_sleep": 0.01}
    region.configure("dogpile.cache.redis", arguments={**arguments, **more})
answers = []


def create():
    value = f"{key} by {os.getpid()} at {time.time()}"
    with open(notes, "a") as file:
        file.write(value + "\n")
    time.sleep(float(seconds))
    return value


def ask():
    answers.append({"key": key, "value": region.get_or_create(key, create), "at": time.time()})


region.get("warm-up")
print("ready", flush=True)
sys.stdin.readline()
running = [threading.Thread(target=ask) for _ in range(int(threads))]
for thread in running:
    thread.start()
for thread in running:
    thread.join()
for answer in answers:
    print(json.dumps(answer))
