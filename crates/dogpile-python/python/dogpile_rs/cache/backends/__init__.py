"""The backends by name.

The names of dogpile.cache have classes that do as its own: those for servers use a Python client. The short names have
native backends, which need none.
"""

from __future__ import annotations

import os
from typing import Any

from ...util.langhelpers import PluginLoader

__all__ = ["register_backend"]

# The class for each name of dogpile.cache, and the native backend that can stand in for it.
_CLASSES: dict[str, tuple[str, str, str | None]] = {
    "null": ("null", "NullBackend", None),
    "memory": ("memory", "MemoryBackend", None),
    "memory_pickle": ("memory", "MemoryPickleBackend", None),
    "dbm": ("file", "DBMBackend", "file"),
    "redis": ("redis", "RedisBackend", "redis"),
    "redis_sentinel": ("redis", "RedisSentinelBackend", "redis_sentinel"),
    "redis_cluster": ("redis", "RedisClusterBackend", "redis_cluster"),
    "valkey": ("valkey", "ValkeyBackend", "valkey"),
    "valkey_sentinel": ("valkey", "ValkeySentinelBackend", "valkey_sentinel"),
    "valkey_cluster": ("valkey", "ValkeyClusterBackend", "valkey_cluster"),
    "memcached": ("memcached", "MemcachedBackend", "memcached"),
    "pymemcache": ("memcached", "PyMemcacheBackend", "pymemcache"),
    "pylibmc": ("memcached", "PylibmcBackend", "pylibmc"),
    "bmemcached": ("memcached", "BMemcachedBackend", "bmemcached"),
}

_SHORT_NAMES = {
    "null": ("null", "NullBackend"),
    "memory": ("memory", "MemoryBackend"),
    "memory_pickle": ("memory", "MemoryPickleBackend"),
    "file": ("native", "NativeFileBackend"),
    "redis": ("native", "NativeRedisBackend"),
    "redis_sentinel": ("native", "NativeRedisSentinelBackend"),
    "redis_cluster": ("native", "NativeRedisClusterBackend"),
    "valkey": ("native", "NativeValkeyBackend"),
    "valkey_sentinel": ("native", "NativeValkeySentinelBackend"),
    "valkey_cluster": ("native", "NativeValkeyClusterBackend"),
    "memcached": ("native", "NativeMemcachedBackend"),
}


class _Loader(PluginLoader):
    """Loads backends by name."""

    def __init__(self) -> None:
        super().__init__("dogpile.cache")
        # The old names have native backends, where the arguments allow for it.
        self.is_native = os.environ.get("DOGPILE_NATIVE", "").lower() not in ("", "0", "false", "no", "off")
        self._instead: dict[str, Any] = {}

    def load(self, name: str) -> Any:
        found = super().load(name)
        native_name = _CLASSES.get(name.removeprefix("dogpile.cache."), (None, None, None))[2]
        if not self.is_native or native_name is None or not name.startswith("dogpile.cache."):
            return found
        if name not in self._instead:
            from .native import instead_of

            self._instead[name] = instead_of(found, native_name)
        return self._instead[name]


_backend_loader = _Loader()
register_backend = _backend_loader.register


def _register_all() -> None:
    for name, (module, class_name, _) in _CLASSES.items():
        register_backend(f"dogpile.cache.{name}", f"{__name__}.{module}", class_name)
    for name, (module, class_name) in _SHORT_NAMES.items():
        register_backend(name, f"{__name__}.{module}", class_name)


_register_all()
