"""Servers that speak the protocol of Redis, through one of their Python clients."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from ..api import NO_VALUE, BackendArguments, BytesBackend, CacheMutex, KeyType, SerializedReturnType

RE_VALID_PREFIX = re.compile(r"[A-Za-z0-9_.:-]{2,10}")


class LockWrapper:
    """A lock of the client as a `CacheMutex`."""

    __slots__ = ("__weakref__", "mutex")

    def __init__(self, mutex: Any) -> None:
        self.mutex = mutex

    def acquire(self, wait: bool = True) -> Any:
        return self.mutex.acquire(blocking=wait)

    def release(self) -> Any:
        return self.mutex.release()

    def locked(self) -> bool:
        return self.mutex.locked()  # type: ignore[no-any-return]


class ServerBackend(BytesBackend):
    """The common part of the backends of Redis and Valkey.

    Arguments:

    - `url`: the server's address, instead of `host` (default "localhost"), `port` (6379), `db` (0), `username` and
      `password`.
    - `redis_expiration_time` (`valkey_expiration_time`): seconds after which the server forgets a value. It should be
      well above the region's expiration time, since values that have expired are still served while one is created.
    - `distributed_lock`: take creation locks on the server, so that of all processes one creates a value.
    - `lock_timeout`: seconds after which the server forgets a lock; by default never.
    - `lock_sleep`: seconds between two attempts to get a lock, by default 0.1.
    - `lock_blocking`, `lock_blocking_timeout`: those of the client's lock.
    - `lock_prefix`: what the names of locks begin with instead of "_lock": 2 to 10 letters, digits and `_.:-`.
    - `thread_local_lock`: whether a lock is its thread's own. It must be False with `distributed_lock`, if the creator
      runs in another thread.
    - `socket_timeout`, `socket_connect_timeout`, `socket_keepalive`, `socket_keepalive_options`: those of the client.
    - `connection_pool`: a pool of the client's; all other arguments of the connection are then unused.
    - `ssl`: connect by TLS. Its further options are in `connection_kwargs`.
    - `connection_kwargs`: further arguments of the client.
    """

    lock_template: str = "_lock{0}"
    lock_wrapper: ClassVar[type[LockWrapper]] = LockWrapper
    # Of backends by sentinels.
    sentinels: Any
    service_name: str
    sentinel_kwargs: dict[str, Any]
    # As messages and the argument of the expiration time have it.
    server_name: ClassVar[str]

    def __init__(self, arguments: BackendArguments) -> None:
        arguments = dict(arguments)
        self._imports()
        self.url = arguments.get("url")
        self.host = arguments.get("host", "localhost")
        self.username = arguments.get("username")
        self.password = arguments.get("password")
        self.port = arguments.get("port", 6379)
        self.db = arguments.get("db", 0)
        self.socket_timeout = arguments.get("socket_timeout")
        self.socket_connect_timeout = arguments.get("socket_connect_timeout")
        self.socket_keepalive = arguments.get("socket_keepalive", False)
        self.socket_keepalive_options = arguments.get("socket_keepalive_options")
        self.ssl = arguments.get("ssl")
        self.connection_pool = arguments.get("connection_pool")
        self.connection_kwargs = arguments.get("connection_kwargs") or {}
        self._expiration_time = arguments.get(f"{self.server_name.lower()}_expiration_time", 0)
        self._read_lock_arguments(arguments)
        self._create_client()

    def _read_lock_arguments(self, arguments: BackendArguments) -> None:
        self.distributed_lock = arguments.get("distributed_lock", False)
        self.lock_timeout = arguments.get("lock_timeout")
        self.lock_sleep = arguments.get("lock_sleep", 0.1)
        self.lock_blocking = arguments.get("lock_blocking", True)
        self.lock_blocking_timeout = arguments.get("lock_blocking_timeout")
        self.thread_local_lock = arguments.get("thread_local_lock", True)
        prefix = arguments.get("lock_prefix")
        if prefix:
            if not RE_VALID_PREFIX.fullmatch(prefix):
                raise ValueError(f"Invalid `lock_prefix` submitted: `{prefix}`.")
            self.lock_template = prefix + "{0}"
        if self.distributed_lock and self.thread_local_lock:
            warnings.warn(
                f"The {self.server_name} backend thread_local_lock parameter should be set to False "
                "when distributed_lock is True",
                stacklevel=3,
            )

    def _imports(self) -> None:
        """Imports the client, which need not be installed for other backends."""
        raise NotImplementedError()

    def _create_client(self) -> None:
        """Sets `writer_client` and `reader_client`."""
        raise NotImplementedError()

    def _socket_arguments(self) -> dict[str, Any]:
        given: dict[str, Any] = {}
        for name in ("socket_timeout", "socket_connect_timeout"):
            if getattr(self, name) is not None:
                given[name] = getattr(self, name)
        if self.socket_keepalive:
            given["socket_keepalive"] = True
            if self.socket_keepalive_options is not None:
                given["socket_keepalive_options"] = self.socket_keepalive_options
        return given

    def _connected(self, client: Any) -> Any:
        """Returns a client, a class of which is given, for the one server of the arguments."""
        if self.connection_pool is not None:
            return client(connection_pool=self.connection_pool)
        arguments = {**self.connection_kwargs, **self._socket_arguments()}
        if self.ssl is not None:
            arguments["ssl"] = self.ssl
        if self.url is not None:
            return client.from_url(**arguments | {"url": self.url})
        own = {name: getattr(self, name) for name in ("host", "username", "password", "port", "db")}
        return client(**arguments | own)

    def _connected_to_cluster(self, client: Any, startup_nodes: Any) -> Any:
        self._warn_of_unused_ssl()
        if self.url is not None:
            return client.from_url(self.url, **self.connection_kwargs)
        return client(startup_nodes=startup_nodes, **self.connection_kwargs)

    def _connect_by_sentinels(self, sentinel: Any) -> None:
        """Sets the clients. Arguments of this backend stand in for those that `connection_kwargs` and `sentinel_kwargs` lack."""
        self._warn_of_unused_ssl()
        own = {"username": self.username, "password": self.password}
        if self.db is not None:
            own["db"] = self.db
        to_sentinels = own | self.sentinel_kwargs
        to_servers = own | self._socket_arguments() | self.connection_kwargs
        found = sentinel(self.sentinels, sentinel_kwargs=to_sentinels, **to_servers)
        self.writer_client = found.master_for(self.service_name)
        self.reader_client = found.slave_for(self.service_name)

    def _warn_of_unused_ssl(self) -> None:
        if self.ssl:
            warnings.warn(
                "`ssl` has no effect on clients of sentinels and clusters: say it in `connection_kwargs`", stacklevel=5
            )

    def get_mutex(self, key: KeyType) -> CacheMutex | None:
        if not self.distributed_lock:
            return None
        lock = self.writer_client.lock(
            self.lock_template.format(key),
            timeout=self.lock_timeout,
            sleep=self.lock_sleep,
            thread_local=self.thread_local_lock,
            blocking=self.lock_blocking,
            blocking_timeout=self.lock_blocking_timeout,
        )
        return self.lock_wrapper(lock)  # type: ignore[return-value]

    def get_serialized(self, key: KeyType) -> SerializedReturnType:
        found = self.reader_client.get(key)
        return NO_VALUE if found is None else found

    def get_serialized_multi(self, keys: Iterable[KeyType]) -> list[SerializedReturnType]:
        keys = list(keys)
        if not keys:
            return []
        return [NO_VALUE if found is None else found for found in self._mget(keys)]

    def _mget(self, keys: list[KeyType]) -> Iterable[bytes | None]:
        return self.reader_client.mget(keys)  # type: ignore[no-any-return]

    def set_serialized(self, key: KeyType, value: bytes) -> None:
        if self._expiration_time:
            self.writer_client.setex(key, self._expiration_time, value)
        else:
            self.writer_client.set(key, value)

    def set_serialized_multi(self, mapping: Mapping[KeyType, bytes]) -> None:
        if not mapping:
            return
        if not self._expiration_time:
            self._mset(mapping)
            return
        pipeline = self.writer_client.pipeline()
        for key, value in mapping.items():
            pipeline.setex(key, self._expiration_time, value)
        pipeline.execute()

    def _mset(self, mapping: Mapping[KeyType, bytes]) -> None:
        self.writer_client.mset(mapping)

    def delete(self, key: KeyType) -> None:
        self.writer_client.delete(key)

    def delete_multi(self, keys: Iterable[KeyType]) -> None:
        keys = list(keys)
        if keys:
            self.writer_client.delete(*keys)


class ClusterCalls:
    """Calls of several keys for a cluster, whose servers have different keys."""

    reader_client: Any
    writer_client: Any

    def _mget(self, keys: list[KeyType]) -> Iterable[bytes | None]:
        return self.reader_client.mget_nonatomic(keys)  # type: ignore[no-any-return]

    def _mset(self, mapping: Mapping[KeyType, bytes]) -> None:
        self.writer_client.mset_nonatomic(mapping)
