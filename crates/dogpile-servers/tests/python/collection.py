"""A process of an application that uses cached-collections' protocol: pickles
under `cached.NAME.VERSION.data`, numbers under `.revision`.

    collection.py URL NAME push JSON     stores a revision, prints its number
    collection.py URL NAME pull          prints the number and the data, as JSON
    collection.py URL NAME watch UNTIL   pulls again and again until that load: the data
                                         of a number are always the same ones; prints
                                         each load when it comes
"""

import json
import pickle
import sys

import redis

url, name, command, *arguments = sys.argv[1:]
store = redis.Redis.from_url(url)
DATA, REVISION = (f"cached.{name}.1.{kind}" for kind in ("data", "revision"))


def pull():
    """Two requests, as the original makes them."""
    revision = store.get(REVISION)
    return None if revision is None else (int(revision), pickle.loads(store.get(DATA)))


if command == "push":
    pipeline = store.pipeline()
    pipeline.set(DATA, pickle.dumps(json.loads(arguments[0]), pickle.HIGHEST_PROTOCOL))
    pipeline.incr(REVISION)
    print(pipeline.execute()[1])
elif command == "pull":
    print(json.dumps(pull()))
elif command == "watch":
    loads = {}
    load = 0
    while load < int(arguments[0]):
        pulled = pull()
        if pulled is None:
            continue
        revision, data = pulled
        if int(store.get(REVISION)) == revision:
            if data["load"] != load:
                print(data["load"], flush=True)
            load = data["load"]
            assert loads.setdefault(revision, load) == load, (revision, loads[revision], load)
            assert all((r < revision) == (l < load) for r, l in loads.items() if r != revision)
