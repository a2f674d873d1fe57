"""The arguments of backends reach their clients as in dogpile.cache."""

from __future__ import annotations

import contextlib
import importlib
import random
import warnings
from typing import Any
from unittest import mock

import pytest

SERVER: dict[str, list[Any]] = {
    "url": ["redis://h:1/2"],
    "host": ["h"],
    "port": [1],
    "db": [3],
    "username": ["u"],
    "password": ["secret", ""],
    "ssl": [True, False],
    "socket_timeout": [0.5, 0],
    "socket_connect_timeout": [0.25, 0],
    "socket_keepalive": [True],
    "socket_keepalive_options": [{1: 2}],
    "connection_kwargs": [{"ssl": True}, {"password": "other", "socket_timeout": 9, "db": 7}, {}],
    "connection_pool": ["pool"],
    "distributed_lock": [True, False],
    "thread_local_lock": [False, True],
    "lock_timeout": [5],
    "lock_sleep": [0.5],
    "lock_blocking": [False],
    "lock_blocking_timeout": [1],
    "lock_prefix": ["_l:", "", None],
    "unknown": [1],
}
SENTINELS = SERVER | {
    "sentinels": [[("h", 1)]],
    "service_name": ["other"],
    "sentinel_kwargs": [{"password": "p"}, {"username": "v", "db": 1}],
}
CLUSTER = SERVER | {"startup_nodes": [["node"]]}
MEMCACHED: dict[str, list[Any]] = {
    "url": ["h:1", ["h:1", "i:2"], "h:1 i:2"],
    "distributed_lock": [True, False],
    "lock_timeout": [7, 0],
    "min_compress_len": [100],
    "unknown": [1],
}
EXPIRED = {"memcached_expire_time": [10, 0]}
PYMEMCACHE: dict[str, list[Any]] = {
    "serde": ["serde"],
    "default_noreply": [True],
    "tls_context": ["tls"],
    "socket_keepalive": [None],
    "enable_retry_client": [True],
    "retry_attempts": [3],
    "retry_delay": [1.0],
    "hashclient_retry_attempts": [4],
    "hashclient_retry_timeout": [2],
    "hashclient_dead_timeout": [30],
}
# The module of a backend, its class, its arguments, and the clients that it makes.
BACKENDS: dict[str, tuple[str, str, dict[str, list[Any]], list[str]]] = {
    "redis": ("redis", "RedisBackend", SERVER | {"redis_expiration_time": [10]}, ["redis.StrictRedis"]),
    "valkey": ("valkey", "ValkeyBackend", SERVER | {"valkey_expiration_time": [10]}, ["valkey.StrictValkey"]),
    "redis_sentinel": ("redis", "RedisSentinelBackend", SENTINELS, ["redis.sentinel.Sentinel"]),
    "valkey_sentinel": ("valkey", "ValkeySentinelBackend", SENTINELS, ["valkey.sentinel.Sentinel"]),
    "redis_cluster": ("redis", "RedisClusterBackend", CLUSTER, ["redis.cluster.RedisCluster"]),
    # dogpile.cache's for a Valkey cluster cannot be made with current clients.
    "memcached": (
        "memcached",
        "MemcachedBackend",
        MEMCACHED | EXPIRED | {"dead_retry": [5], "socket_timeout": [2]},
        ["memcache.Client"],
    ),
    "pylibmc": (
        "memcached",
        "PylibmcBackend",
        MEMCACHED | EXPIRED | {"binary": [True], "behaviors": [{"tcp_nodelay": True}]},
        ["pylibmc.Client"],
    ),
    # There it forgets `memcached_expire_time`.
    "bmemcached": (
        "memcached",
        "BMemcachedBackend",
        MEMCACHED | {"username": ["u"], "password": ["p"], "tls_context": ["tls"]},
        ["bmemcached.Client"],
    ),
    "pymemcache": (
        "memcached",
        "PyMemcacheBackend",
        MEMCACHED | EXPIRED | PYMEMCACHE,
        ["pymemcache.client.hash.HashClient", "pymemcache.client.retrying.RetryingClient"],
    ),
}


class Recorder:
    """Stands for a client's class, its instances, and all that they return. Notes the calls."""

    def __init__(self, path: str, calls: list[Any]) -> None:
        self._path, self._calls = path, calls

    def __getattr__(self, name: str) -> Recorder:
        # Not atomic, as clusters are; dogpile.cache lets the client refuse keys of several servers.
        return Recorder(f"{self._path}.{name.removesuffix('_nonatomic')}", self._calls)

    def __call__(self, *args: Any, **kwargs: Any) -> Recorder:
        self._calls.append((self._path, args, kwargs))
        return Recorder(f"{self._path}()", self._calls)

    def __getitem__(self, item: Any) -> Recorder:
        return self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Recorder) and self._path == other._path

    def __hash__(self) -> int:
        return hash(self._path)


def made(library: str, name: str, arguments: dict[str, Any]) -> Any:
    """Returns the backend, the calls of its client, and the warnings; or the kind of its error."""
    module, cls, _, clients = BACKENDS[name]
    calls: list[Any] = []
    with contextlib.ExitStack() as stack:
        for client in clients:
            importlib.import_module(client.rpartition(".")[0])
            stack.enter_context(mock.patch(client, Recorder(client, calls)))
        warned = stack.enter_context(warnings.catch_warnings(record=True))
        warnings.simplefilter("always")
        try:
            backend = getattr(importlib.import_module(f"{library}.cache.backends.{module}"), cls)(dict(arguments))
            kind = "set" if module == "memcached" else "set_serialized"
            getattr(backend, kind)("k", b"v")
            getattr(backend, f"{kind}_multi")({"k": b"v"})
            backend.get_mutex("k")
        except Exception as error:  # noqa: BLE001
            return type(error)
    return backend, calls, [str(warning.message) for warning in warned]


@pytest.mark.parametrize("name", BACKENDS)
def test_arguments_reach_the_client(name: str) -> None:
    possible, seeds = BACKENDS[name][2], random.Random(name)
    for _ in range(400):
        chosen = [key for key in possible if seeds.random() < 0.3]
        arguments = {key: seeds.choice(possible[key]) for key in chosen}
        theirs, ours = (made(library, name, arguments) for library in ("dogpile", "dogpile_rs"))
        if isinstance(theirs, type) or isinstance(ours, type):
            assert ours == theirs, arguments
            continue
        assert ours[1] == theirs[1], arguments
        assert [text for text in ours[2] if "`ssl`" not in text] == theirs[2], arguments
        for attribute, value in vars(theirs[0]).items():
            if not attribute.startswith("_"):
                assert getattr(ours[0], attribute) == value, (attribute, arguments)


@pytest.mark.parametrize("name", ["RedisSentinelBackend", "RedisClusterBackend"])
def test_a_wish_for_tls_that_has_no_effect_is_warned_of(name: str) -> None:
    backend = getattr(importlib.import_module("dogpile_rs.cache.backends.redis"), name)
    clients = ("redis.sentinel.Sentinel", "redis.cluster.RedisCluster")
    with contextlib.ExitStack() as stack:
        for client in clients:
            importlib.import_module(client.rpartition(".")[0])
            stack.enter_context(mock.patch(client, Recorder(client, [])))
        with pytest.warns(UserWarning, match="`ssl` has no effect"):
            backend({"ssl": True, "sentinels": [("h", 1)]})
