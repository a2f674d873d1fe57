"""The backends by name.

The names of dogpile.cache have its classes, which use a Python client. The short names have native ones.
"""

from ...util.langhelpers import PluginLoader

__all__ = ["register_backend"]

_backend_loader = PluginLoader("dogpile.cache")
register_backend = _backend_loader.register

_CLASSES = {
    "null": ("null", "NullBackend"),
    "memory": ("memory", "MemoryBackend"),
    "memory_pickle": ("memory", "MemoryPickleBackend"),
    "dbm": ("file", "DBMBackend"),
    "redis": ("redis", "RedisBackend"),
    "redis_sentinel": ("redis", "RedisSentinelBackend"),
    "redis_cluster": ("redis", "RedisClusterBackend"),
    "valkey": ("valkey", "ValkeyBackend"),
    "valkey_sentinel": ("valkey", "ValkeySentinelBackend"),
    "valkey_cluster": ("valkey", "ValkeyClusterBackend"),
    "pylibmc": ("memcached", "PylibmcBackend"),
    "bmemcached": ("memcached", "BMemcachedBackend"),
    "memcached": ("memcached", "MemcachedBackend"),
    "pymemcache": ("memcached", "PyMemcacheBackend"),
}

for _name, (_module, _class) in _CLASSES.items():
    register_backend(f"dogpile.cache.{_name}", f"{__name__}.{_module}", _class)
