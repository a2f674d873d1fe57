"""Each client of memcached, with arguments of its own."""

import os

import pymemcache
from dogpile.cache import make_region

place = f"127.0.0.1:{os.environ['MEMCACHED_PORT']}"
clients = {
    "pylibmc": {"binary": True, "behaviors": {"tcp_nodelay": True}, "min_compress_len": 100},
    "memcached": {"dead_retry": 1, "socket_timeout": 5},
    "bmemcached": {"username": "scott", "password": "tiger"},
    "pymemcache": {
        "socket_keepalive": pymemcache.KeepaliveOpts(),
        "enable_retry_client": True,
        "retry_attempts": 2,
        "retry_delay": 0.01,
        "retry_for": (OSError,),
        "hashclient_retry_attempts": 1,
    },
}
for name, arguments in clients.items():
    if name == "bmemcached":
        arguments = {}  # this server asks for no password
    arguments = {"url": [place], "distributed_lock": True, "lock_timeout": 10, "memcached_expire_time": 60, **arguments}
    region = make_region(key_mangler=lambda key, name=name: f"{name}:{key}")
    region.configure(f"dogpile.cache.{name}", expiration_time=30, arguments=arguments)
    print(name, region.get("k"), region.get_or_create("k", lambda: ["value"] * 3), region.get("k"))
    region.set_multi({"a": 1, "b": "x" * 500})
    print([str(value)[:5] for value in region.get_multi(["a", "none", "b"])], region.key_is_locked("k"))
    region.delete("k")
    print(region.get_or_create("k", lambda: "again"), type(region.actual_backend).__name__)
