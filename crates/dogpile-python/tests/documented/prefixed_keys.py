"""All keys of an application begin with its name, on a Redis that others use too."""

import os

import redis
from dogpile.cache import make_region

port = int(os.environ["REDIS_PORT"])
client = redis.Redis(port=port)
client.set("user:1", "not ours")
region = make_region(key_mangler="our app/{}".format).configure(
    "dogpile.cache.redis", arguments={"host": "127.0.0.1", "port": port, "db": 0}
)
print(region.get("user:1"), region.get_or_create("user:1", lambda: ["ours"]), region.get("user:1"))
region.set_multi({"a": 1, "b": 2})
print(sorted(client.keys()), client.get("user:1"))
region.delete("user:1")
region.delete_multi(["a"])
print(sorted(client.keys()), client.get("user:1"))
