"""Backends of the engine: without a Python client, and without holding the interpreter while they wait."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from typing import Any, ClassVar
from weakref import WeakSet

from ... import _engine
from ...util.langhelpers import memoized_property
from ...util.typing import Self
from ..api import BackendArguments, BytesBackend, CacheBackend
from ..codecs import codec
from ..proxy import ProxyBackend

__all__ = [
    "NativeBackend",
    "NativeFileBackend",
    "NativeMemcachedBackend",
    "NativeMemoryBackend",
    "NativeRedisBackend",
    "NativeRedisClusterBackend",
    "NativeRedisSentinelBackend",
    "NativeValkeyBackend",
    "NativeValkeyClusterBackend",
    "NativeValkeySentinelBackend",
]


# Arguments of Python's backends that the engine has under another name.
_ENGINES = {"valkey_expiration_time": "redis_expiration_time"}


class NativeBackend(_engine.NativeBackend, BytesBackend):  # type: ignore[misc]
    """The base of native backends, which keep bytes.

    They have the arguments of the Python backends of the same name, as far as those are not about a Python client, and
    those of the Rust crate; an unknown one is warned of. Waiters of other processes are woken when a value is there,
    and a lock lasts as long as its creator runs. Where a server is away, `get` raises `BackendError`, and
    `get_or_create` runs its creator.

    Further arguments:

    - `codec`: "pickle" (by default), "json" or "msgpack"; that of a region goes before it.
    """

    native_name: ClassVar[str]

    def __new__(cls, arguments: BackendArguments) -> Self:
        given = {_ENGINES.get(name, name): _translated(value) for name, value in arguments.items()}
        serializer, deserializer = codec(given.pop("codec", "pickle"))
        backend = super().__new__(cls, cls.native_name, given)
        backend.serializer, backend.deserializer = serializer, deserializer
        if backend.key_mangler is None:
            backend.key_mangler = backend.recommended_mangler
        return backend

    def __init__(self, arguments: BackendArguments) -> None:
        pass


def _translated(argument: Any) -> Any:
    """Returns an argument as the engine takes it: bytes as text, and pairs of a host and a port as tuples."""
    if isinstance(argument, bytes):
        return os.fsdecode(argument)
    if isinstance(argument, list):
        return [tuple(place) if isinstance(place, list) else place for place in argument]
    return argument


class NativeRedisBackend(NativeBackend):
    """A Redis server."""

    native_name = "redis"


class NativeRedisSentinelBackend(NativeBackend):
    """The Redis servers that sentinels watch."""

    native_name = "redis_sentinel"


class NativeRedisClusterBackend(NativeBackend):
    """A Redis cluster."""

    native_name = "redis_cluster"


class NativeValkeyBackend(NativeBackend):
    """A Valkey server."""

    native_name = "valkey"


class NativeValkeySentinelBackend(NativeBackend):
    """The Valkey servers that sentinels watch."""

    native_name = "valkey_sentinel"


class NativeValkeyClusterBackend(NativeBackend):
    """A Valkey cluster."""

    native_name = "valkey_cluster"


class NativeMemcachedBackend(NativeBackend):
    """One or more memcached servers.

    Values are bytes with a header, as Python's backends write them for regions with a serializer. Without one, those
    store pickled objects instead: so a region that both use needs a serializer. Keys that a server does not take, as they
    are long or have blanks, are stored by their SHA-1, as the Rust crate stores them.
    """

    native_name = "memcached"


class NativeFileBackend(NativeBackend):
    """A file that the processes of a machine share, with a lock for each key. It is not a `dbm` file."""

    native_name = "file"


class NativeMemoryBackend(_engine.NativeBackend, CacheBackend):  # type: ignore[misc]
    """Objects in memory, of which the least useful are forgotten: `max_entries` is the number that is kept."""

    def __new__(cls, arguments: BackendArguments) -> Self:
        return super().__new__(cls, "memory", dict(arguments))

    def __init__(self, arguments: BackendArguments) -> None:
        pass


# The calls of a proxy for objects, with those for bytes.
_CALLS = {name: name.replace("et", "et_serialized", 1) for name in ("get", "get_multi", "set", "set_multi")}
_MEMCACHED = frozenset({"bmemcached", "memcached", "pylibmc", "pymemcache"})
_warned_of: WeakSet[type] = WeakSet()


def warn_of_unused(proxy: ProxyBackend, backend: CacheBackend) -> None:
    """Warns, once for a class, of a proxy's calls that dogpile.cache makes over memcached, and this backend never."""
    kind = type(proxy)
    if kind in _warned_of or getattr(backend, "native_name", None) not in _MEMCACHED:
        return

    def overrides(name: str) -> bool:
        return getattr(kind, name) is not getattr(ProxyBackend, name)

    unused = {name: used for name, used in _CALLS.items() if overrides(name) and not overrides(used)}
    if unused:
        _warned_of.add(kind)
        names = ", ".join(f"{name}() (override {used}() instead)" for name, used in unused.items())
        warnings.warn(f"native memcached keeps bytes, so {kind.__qualname__}'s are never called: {names}", stacklevel=4)


# Those arguments of Python's backends that are about a Python client, or objects of it.
_PYTHONS = frozenset(
    {
        "behaviors",
        "connection_kwargs",
        "connection_pool",
        "default_noreply",
        "enable_retry_client",
        "sentinel_kwargs",
        "serde",
        "socket_keepalive_options",
        "tls_context",
    }
)


# Those that a native backend does without.
_UNUSED = frozenset({"lock_factory"})


def instead_of(pythons: type[CacheBackend], native_name: str) -> type[CacheBackend]:
    """Returns a class that creates a native backend instead of one of `pythons`, where the arguments allow for it.

    Attributes that only the Python backend has, such as its client, are those of one that is then created.
    """
    has_locks = native_name.endswith("_sentinel") or native_name == "file"
    usual: Mapping[str, Any] = {} if has_locks else {"distributed_lock": False}

    class Instead(NativeBackend):
        def __new__(cls, arguments: BackendArguments) -> Any:
            if any(arguments.get(name) for name in _PYTHONS):
                return pythons(arguments)
            given = {name: value for name, value in arguments.items() if name not in _UNUSED}
            try:
                return super().__new__(cls, {**usual, **given})
            except ValueError as error:
                # As a URL with options of the client in it.
                warnings.warn(f"{pythons.__name__} keeps its Python client: {error}", stacklevel=3)
                return pythons(arguments)

        def __init__(self, arguments: BackendArguments) -> None:
            self._arguments = arguments

        @memoized_property
        def _pythons(self) -> CacheBackend:
            return pythons(self._arguments)

        def __getattr__(self, name: str) -> Any:
            if name in ("_arguments", "proxied"):
                raise AttributeError(name)
            return getattr(self._pythons, name)

    Instead.native_name = native_name
    Instead.__name__ = Instead.__qualname__ = f"Native{pythons.__name__}"
    return Instead
