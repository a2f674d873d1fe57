"""Values are stored in another format: by proxies that encode, and by a region's serializer."""

import json
import os
import zlib

import msgpack
from dogpile.cache import make_region
from dogpile.cache.api import NO_VALUE, CachedValue, CantDeserializeException
from dogpile.cache.proxy import ProxyBackend


class Encoding(ProxyBackend):
    """Encodes on the way in and decodes on the way out."""

    def get(self, key):
        return self.decoded(self.proxied.get(key))

    def get_multi(self, keys):
        return [self.decoded(value) for value in self.proxied.get_multi(keys)]

    def set(self, key, value):
        self.proxied.set(key, self.encoded(value))

    def set_multi(self, mapping):
        self.proxied.set_multi({key: self.encoded(value) for key, value in mapping.items()})


class InMsgpack(Encoding):
    def encoded(self, value):
        return msgpack.packb(list(value), use_bin_type=True)

    def decoded(self, stored):
        return CachedValue(*msgpack.unpackb(stored, raw=False)) if stored else NO_VALUE


class Zipped(Encoding):
    def encoded(self, value):
        return zlib.compress(json.dumps(value).encode())

    def decoded(self, stored):
        return CachedValue(*json.loads(zlib.decompress(stored))) if stored else NO_VALUE


def show(region):
    value = {"name": "Ada", "years": [1815, 1852], "text": "x" * 1000}
    region.set("k", value)
    print(region.get("k") == value, region.get_or_create("l", lambda: [value]) == [value])
    region.set_multi({"a": 1, "b": None})
    print(region.get_multi(["a", "b", "none", "k"])[:3])
    print(region.get_or_create_multi(["a", "c"], lambda *keys: [key * 2 for key in keys]))
    print(region.get_multi(["c", "d"]))


url = [f"127.0.0.1:{os.environ['MEMCACHED_PORT']}"]
for proxy in (InMsgpack, Zipped):
    region = make_region().configure("dogpile.cache.pylibmc", arguments={"url": url}, wrap=[proxy])
    show(region)
    raw = region.actual_backend.get("k")
    print(proxy.__name__, type(raw).__name__, len(raw) < 300, region.get("k")["name"])
    region.delete_multi(["k", "l", "a", "b", "c"])


def load(data):
    try:
        return json.loads(data)
    except ValueError:
        raise CantDeserializeException()


region = make_region(serializer=lambda value: json.dumps(value).encode(), deserializer=load)
region.configure("dogpile.cache.redis", arguments={"host": "127.0.0.1", "port": int(os.environ["REDIS_PORT"])})
show(region)
raw = region.actual_backend.get_serialized("a")
print(sorted(json.loads(raw.split(b"|")[0])), raw.split(b"|", 1)[1])
region.actual_backend.set_serialized("a", raw + b"!")
print(region.get("a"), region.get_or_create("a", lambda: "again"), region.get("a"))
