"""A dogpile.cache process over servers: `shared_region.py BACKEND URL FORMAT COMMAND KEY [...]`.

BACKEND is the name of one of dogpile.cache's, URL its url (several separated by commas).
FORMAT is `json`, `msgpack` or `pickle` (dogpile.cache's default). Commands:

    get KEY                 prints {"value", "ct"}, or null
    set KEY JSON
    create KEY SECONDS      prints "creating" when its creation begins, and the value at its end
    function KEY            calls a function under `cache_on_arguments` with KEY: [the result, how often it ran]
    storm KEY TASKS NOTES SECONDS   waits for a line of input; prints one answer per task
"""

import json
import os
import sys
import threading
import time

from dogpile.cache import make_region
from dogpile.cache.api import NO_VALUE

backend, url, form, command, key, *rest = sys.argv[1:]


def formats():
    if form == "json":
        return {"serializer": lambda v: json.dumps(v).encode(), "deserializer": json.loads}
    if form == "msgpack":
        import msgpack

        return {"serializer": msgpack.packb, "deserializer": msgpack.unpackb}
    return {}


arguments = {"url": url, "distributed_lock": True, "lock_timeout": 30}
if backend in ("redis", "valkey"):
    arguments |= {"thread_local_lock": False, "connection_kwargs": {"max_connections": 1000}}
else:
    arguments["url"] = url.split(",")
if backend == "pylibmc" and form == "json":
    arguments["min_compress_len"] = 1000
region = make_region(**formats()).configure("dogpile.cache." + backend, arguments=arguments)


def value_of(notes=None):
    value = f"{key} by {os.getpid()} at {time.time()}"
    if notes is not None:
        with open(notes, "a") as file:
            file.write(value + "\n")
    return value


def creator(seconds, notes=None):
    def create():
        value = value_of(notes)
        if notes is None:
            print("creating", flush=True)
        time.sleep(seconds)
        return value

    return create


def storm(tasks, notes, seconds):
    region.get("warm-up")
    print("ready", flush=True)
    sys.stdin.readline()
    answers = []

    def ask():
        value = region.get_or_create(key, creator(seconds, notes))
        answers.append({"key": key, "value": value, "at": time.time()})

    threads = [threading.Thread(target=ask) for _ in range(tasks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for answer in answers:
        print(json.dumps(answer))


if command == "get":
    found = region.get_value_metadata(key)
    if found is NO_VALUE or found is None:
        print("null")
    else:
        print(json.dumps({"value": found.payload, "ct": found.cached_time}))
elif command == "set":
    region.set(key, json.loads(rest[0]))
elif command == "create":
    print(region.get_or_create(key, creator(float(rest[0]))), flush=True)
elif command == "function":
    runs = []

    @region.cache_on_arguments()
    def load_user(name, limit=10):
        runs.append(name)
        return {"name": name, "limit": limit, "by": "Python"}

    print(json.dumps([load_user(key, 5), len(runs)]))
elif command == "storm":
    storm(int(rest[0]), rest[1], float(rest[2]))
