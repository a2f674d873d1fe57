"""Backends for Redis, by the client redis-py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..api import BackendArguments
from ._servers import RE_VALID_PREFIX, ClusterCalls, LockWrapper, ServerBackend

__all__ = ["RE_VALID_PREFIX", "RedisBackend", "RedisClusterBackend", "RedisSentinelBackend"]

if TYPE_CHECKING:
    import redis
else:
    # Imported with the first backend.
    redis = None


class _RedisLockWrapper(LockWrapper):
    __slots__ = ()


class RedisBackend(ServerBackend):
    """A Redis server. See `ServerBackend` for the arguments."""

    server_name = "Redis"
    lock_wrapper = _RedisLockWrapper

    def __init__(self, arguments: BackendArguments) -> None:
        super().__init__(arguments)

    @property
    def redis_expiration_time(self) -> Any:
        return self._expiration_time

    @redis_expiration_time.setter
    def redis_expiration_time(self, seconds: Any) -> None:
        self._expiration_time = seconds

    def _imports(self) -> None:
        global redis
        import redis

    def _create_client(self) -> None:
        self.writer_client = self.reader_client = self._connected(redis.StrictRedis)


class RedisSentinelBackend(RedisBackend):
    """The Redis servers that sentinels watch: writes go to the master, reads to a replica.

    Further arguments:

    - `sentinels`: a list of pairs of a host and a port.
    - `service_name`: the name of the master, by default "mymaster".
    - `sentinel_kwargs`: arguments of the connections to the sentinels.

    Locks are taken on the server unless `distributed_lock` is False.
    """

    def __init__(self, arguments: BackendArguments) -> None:
        self.sentinels = arguments.get("sentinels")
        self.service_name = arguments.get("service_name", "mymaster")
        self.sentinel_kwargs = arguments.get("sentinel_kwargs") or {}
        super().__init__({"distributed_lock": True, "thread_local_lock": False, **arguments})

    def _imports(self) -> None:
        super()._imports()
        import redis.sentinel  # noqa: F401

    def _create_client(self) -> None:
        self._connect_by_sentinels(redis.sentinel.Sentinel)


class RedisClusterBackend(ClusterCalls, RedisBackend):
    """A Redis cluster.

    Further arguments:

    - `startup_nodes`: a list of the client's `ClusterNode`, of which one at least should be there. With `url`, it is one.
    - `connection_kwargs`: further arguments of the client, such as `password`.
    """

    def __init__(self, arguments: BackendArguments) -> None:
        self.startup_nodes = arguments.get("startup_nodes")
        super().__init__(arguments)

    def _imports(self) -> None:
        super()._imports()
        import redis.cluster  # noqa: F401

    def _create_client(self) -> None:
        client = self._connected_to_cluster(redis.cluster.RedisCluster, self.startup_nodes)
        self.writer_client = self.reader_client = client
