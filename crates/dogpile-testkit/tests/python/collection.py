"""A process of an application that uses cached-collections' protocol: pickles
under `cached.NAME.VERSION.data`, numbers under `.revision`.

    collection.py URL NAME push JSON     stores a revision, prints its number
    collection.py URL NAME pull          prints the number and the data, as JSON
    collection.py URL NAME watch UNTIL   pulls again and again until that revision:
                                         number and data must belong together
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
    pairs = 0
    revision = 0
    while revision < int(arguments[0]):
        pulled = pull()
        if pulled is None:
            continue
        revision, data = pulled
        if int(store.get(REVISION)) == revision:
            assert data["load"] == revision, (revision, data)
            pairs += 1
    print(pairs)
