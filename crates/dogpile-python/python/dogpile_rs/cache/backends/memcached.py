"""Backends for memcached, by four Python clients."""

from __future__ import annotations

import random
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ... import util
from ..api import NO_VALUE, BackendArguments, CacheBackend, CacheMutex, KeyType

__all__ = [
    "BMemcachedBackend",
    "GenericMemcachedBackend",
    "MemcacheArgs",
    "MemcachedBackend",
    "MemcachedLock",
    "PyMemcacheBackend",
    "PylibmcBackend",
]

if TYPE_CHECKING:
    import bmemcached
    import memcache
    import pylibmc
    import pymemcache
else:
    # Imported with the first backend of each.
    bmemcached = memcache = pylibmc = pymemcache = None


class MemcachedLock:
    """A lock on the server: the key "_lock" and the value's, which one of all can add.

    With a timeout in seconds, the server forgets it then. Who waits for it looks again in growing intervals.
    """

    def __init__(self, client_fn: Callable[[], Any], key: str, timeout: int = 0) -> None:
        self.client_fn = client_fn
        self.key = "_lock" + key
        self.timeout = timeout

    def acquire(self, wait: bool = True) -> bool:
        client, longest = self.client_fn(), 0.02
        while not client.add(self.key, 1, self.timeout):
            if not wait:
                return False
            time.sleep(longest * random.uniform(0.5, 1))
            longest = min(longest * 1.5, 0.5)
        return True

    def locked(self) -> bool:
        return self.client_fn().get(self.key) is not None

    def release(self) -> None:
        self.client_fn().delete(self.key)


class _Clients(threading.local):
    """A client for each thread."""

    def __init__(self, create: Callable[[], Any]) -> None:
        self.memcached = create()


class GenericMemcachedBackend(CacheBackend):
    """The base of the backends for memcached.

    The client pickles values, unless the region has a serializer.

    Arguments:

    - `url`: the server as "HOST:PORT", or a list of servers.
    - `distributed_lock`: take creation locks on the server, so that of all processes one creates a value.
    - `lock_timeout`: seconds after which the server forgets a lock; by default never.
    - `memcached_expire_time`: seconds after which the server forgets a value. It should be well above the region's
      expiration time, since values that have expired are still served while one is created.
    """

    # Arguments of each `set` of the client.
    set_arguments: Mapping[str, Any] = {}

    serializer = None
    deserializer = None

    def __init__(self, arguments: BackendArguments) -> None:
        self._imports()
        self.url = util.to_list(arguments["url"])
        self.distributed_lock = arguments.get("distributed_lock", False)
        self.lock_timeout = arguments.get("lock_timeout", 0)

    def _imports(self) -> None:
        """Imports the client, which need not be installed for other backends."""
        raise NotImplementedError()

    def _create_client(self) -> Any:
        """Returns a new client."""
        raise NotImplementedError()

    @util.memoized_property
    def _clients(self) -> _Clients:
        return _Clients(self._create_client)

    @property
    def client(self) -> Any:
        """The client of this thread."""
        return self._clients.memcached

    def has_lock_timeout(self) -> bool:
        return bool(self.lock_timeout != 0)

    def get_mutex(self, key: KeyType) -> CacheMutex | None:
        if not self.distributed_lock:
            return None
        return MemcachedLock(lambda: self.client, key, self.lock_timeout)  # type: ignore[return-value]

    def get(self, key: KeyType) -> Any:
        found = self.client.get(key)
        return NO_VALUE if found is None else found

    def get_multi(self, keys: Iterable[KeyType]) -> list[Any]:
        keys = list(keys)
        found = self.client.get_multi(keys)
        values = [found.get(key) for key in keys]
        return [NO_VALUE if value is None else value for value in values]

    def set(self, key: KeyType, value: Any) -> None:
        self.client.set(key, value, **self.set_arguments)

    def set_multi(self, mapping: Mapping[KeyType, Any]) -> None:
        self.client.set_multi(dict(mapping), **self.set_arguments)

    def delete(self, key: KeyType) -> None:
        self.client.delete(key)

    def delete_multi(self, keys: Iterable[KeyType]) -> None:
        self.client.delete_multi(list(keys))


class MemcacheArgs(GenericMemcachedBackend):
    """Further arguments of clients that compress: `min_compress_len`, the least number of bytes to compress."""

    def __init__(self, arguments: BackendArguments) -> None:
        self.min_compress_len = arguments.get("min_compress_len", 0)
        names = {"time": "memcached_expire_time", "min_compress_len": "min_compress_len"}
        self.set_arguments = {name: arguments[given] for name, given in names.items() if given in arguments}
        super().__init__(arguments)


class PylibmcBackend(MemcacheArgs, GenericMemcachedBackend):
    """Memcached by the client pylibmc.

    Further arguments: `binary` for the binary protocol, and `behaviors`, a dict; see pylibmc.
    """

    def __init__(self, arguments: BackendArguments) -> None:
        self.binary = arguments.get("binary", False)
        self.behaviors = arguments.get("behaviors", {})
        super().__init__(arguments)

    def _imports(self) -> None:
        global pylibmc
        import pylibmc

    def _create_client(self) -> Any:
        return pylibmc.Client(self.url, binary=self.binary, behaviors=self.behaviors)


class MemcachedBackend(MemcacheArgs, GenericMemcachedBackend):
    """Memcached by the client python-memcached.

    Further arguments: `dead_retry`, seconds until a server that was away is tried again (30), and `socket_timeout` (3).
    """

    def __init__(self, arguments: BackendArguments) -> None:
        self.dead_retry = arguments.get("dead_retry", 30)
        self.socket_timeout = arguments.get("socket_timeout", 3)
        super().__init__(arguments)

    def _imports(self) -> None:
        global memcache
        import memcache

    def _create_client(self) -> Any:
        return memcache.Client(self.url, dead_retry=self.dead_retry, socket_timeout=self.socket_timeout)


class BMemcachedBackend(GenericMemcachedBackend):
    """Memcached by the client python-binary-memcached.

    Further arguments: `username`, `password` and `tls_context`, an `ssl.SSLContext`.
    """

    def __init__(self, arguments: BackendArguments) -> None:
        self.username = arguments.get("username")
        self.password = arguments.get("password")
        self.tls_context = arguments.get("tls_context")
        if arguments.get("memcached_expire_time"):
            self.set_arguments = {"time": arguments["memcached_expire_time"]}
        super().__init__(arguments)

    def _imports(self) -> None:
        global bmemcached
        import bmemcached

    def _create_client(self) -> Any:
        return bmemcached.Client(self.url, username=self.username, password=self.password, tls_context=self.tls_context)

    def delete_multi(self, keys: Iterable[KeyType]) -> None:
        # The client's own waits for answers that do not come where a key is absent.
        for key in keys:
            self.delete(key)


class PyMemcacheBackend(GenericMemcachedBackend):
    """Memcached by the client pymemcache.

    Further arguments:

    - `tls_context`: an `ssl.SSLContext`.
    - `serde`, `default_noreply`, `socket_keepalive`: those of the client's `HashClient`.
    - `hashclient_retry_attempts` (2), `hashclient_retry_timeout` (1), `dead_timeout` (60): how often and in which
      intervals it tries a server before it leaves it out, and seconds until it is tried again.
    - `enable_retry_client`: repeat calls that fail, as `retry_attempts`, `retry_delay`, `retry_for` and
      `do_not_retry_for` say; see the client's `RetryingClient`.
    """

    def __init__(self, arguments: BackendArguments) -> None:
        super().__init__(arguments)
        self.serde = arguments.get("serde", pymemcache.serde.pickle_serde)
        self.default_noreply = arguments.get("default_noreply", False)
        self.tls_context = arguments.get("tls_context")
        self.socket_keepalive = arguments.get("socket_keepalive")
        self.hashclient_retry_attempts = arguments.get("hashclient_retry_attempts", 2)
        self.hashclient_retry_timeout = arguments.get("hashclient_retry_timeout", 1)
        self.dead_timeout = arguments.get("hashclient_dead_timeout", arguments.get("dead_timeout", 60))
        self._read_retry_arguments(arguments)
        if "memcached_expire_time" in arguments:
            self.set_arguments = {"expire": arguments["memcached_expire_time"]}

    def _read_retry_arguments(self, arguments: BackendArguments) -> None:
        self.enable_retry_client = arguments.get("enable_retry_client", False)
        self.retry_attempts = arguments.get("retry_attempts")
        self.retry_delay = arguments.get("retry_delay")
        self.retry_for = arguments.get("retry_for")
        self.do_not_retry_for = arguments.get("do_not_retry_for")
        given = (self.retry_attempts, self.retry_delay, self.retry_for, self.do_not_retry_for)
        if any(argument is not None for argument in given) and not self.enable_retry_client:
            warnings.warn("enable_retry_client is not set; retry options will be ignored")  # noqa: B028

    def _imports(self) -> None:
        global pymemcache
        import pymemcache
        import pymemcache.client.hash
        import pymemcache.client.retrying
        import pymemcache.serde

    def _create_client(self) -> Any:
        arguments: dict[str, Any] = {
            "serde": self.serde,
            "default_noreply": self.default_noreply,
            "tls_context": self.tls_context,
            "retry_attempts": self.hashclient_retry_attempts,
            "retry_timeout": self.hashclient_retry_timeout,
            "dead_timeout": self.dead_timeout,
        }
        if self.socket_keepalive is not None:
            arguments["socket_keepalive"] = self.socket_keepalive
        client = pymemcache.client.hash.HashClient(self.url, **arguments)
        if not self.enable_retry_client:
            return client
        return pymemcache.client.retrying.RetryingClient(
            client,
            attempts=self.retry_attempts,
            retry_delay=self.retry_delay,
            retry_for=self.retry_for,
            do_not_retry_for=self.do_not_retry_for,
        )
