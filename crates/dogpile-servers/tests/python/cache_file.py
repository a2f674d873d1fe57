"""Reads and writes a cache file as Python does: `cache_file.py FILE HOW get|set|delete KEY [JSON]`.

HOW is `region` for dogpile.cache.dbm (CPython 3.13 and later), or `table` for
the plain table that the standard library's dbm.sqlite3 keeps.
"""

import json
import sqlite3
import sys
import time


def region(filename):
    from dogpile.cache import make_region

    return make_region(
        serializer=lambda value: json.dumps(value).encode(),
        deserializer=json.loads,
    ).configure("dogpile.cache.dbm", arguments={"filename": filename})


def get_by_table(filename, key):
    with sqlite3.connect(filename) as connection:
        row = connection.execute(
            "SELECT value FROM Dict WHERE key = CAST(? AS BLOB)", (key,)
        ).fetchone()
    if row is None:
        return None
    header, _, payload = row[0].partition(b"|")
    assert json.loads(header)["v"] == 2
    return json.loads(payload)


def set_by_table(filename, key, value):
    header = json.dumps({"ct": time.time(), "v": 2})
    with sqlite3.connect(filename) as connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS Dict (key BLOB UNIQUE NOT NULL, value BLOB NOT NULL)"
        )
        connection.execute(
            "REPLACE INTO Dict (key, value) VALUES (CAST(? AS BLOB), CAST(? AS BLOB))",
            (key, (header + "|" + json.dumps(value)).encode()),
        )


def delete_by_table(filename, key):
    with sqlite3.connect(filename) as connection:
        connection.execute("DELETE FROM Dict WHERE key = CAST(? AS BLOB)", (key,))


filename, how, command, key, *value = sys.argv[1:]
if command == "set" and how == "table":
    set_by_table(filename, key, json.loads(value[0]))
elif command == "set":
    region(filename).set(key, json.loads(value[0]))
elif command == "delete" and how == "table":
    delete_by_table(filename, key)
elif command == "delete":
    region(filename).delete(key)
elif how == "table":
    print(json.dumps(get_by_table(filename, key)))
else:
    found = region(filename).get_value_metadata(key)
    print(json.dumps({"value": found.payload, "ct": found.cached_time}))
