"""Backends around backends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..util.typing import Self
from .api import BackendFormatted, BackendSetType, CacheBackend, CacheMutex, KeyType, SerializedReturnType


class ProxyBackend(CacheBackend):
    """Passes each call on to the backend that it wraps; a subclass changes the calls that it wants to.

    Proxies are given to `CacheRegion.configure(wrap=[...])`, as classes or as instances. The first of them is called
    first. `self.proxied` is what a proxy wraps: the next proxy, or the backend.
    """

    proxied: CacheBackend

    def __init__(self, *arg: Any, **kw: Any) -> None:
        pass

    def wrap(self, backend: CacheBackend) -> Self:
        """Puts this proxy around the backend and returns it."""
        assert isinstance(backend, CacheBackend)
        self.proxied = backend
        return self

    def has_lock_timeout(self) -> bool:
        return self.proxied.has_lock_timeout()

    def get_mutex(self, key: KeyType) -> CacheMutex | None:
        return self.proxied.get_mutex(key)

    def get(self, key: KeyType) -> BackendFormatted:
        return self.proxied.get(key)

    def get_multi(self, keys: Iterable[KeyType]) -> Sequence[BackendFormatted]:
        return self.proxied.get_multi(keys)

    def get_serialized(self, key: KeyType) -> SerializedReturnType:
        return self.proxied.get_serialized(key)

    def get_serialized_multi(self, keys: Iterable[KeyType]) -> Sequence[SerializedReturnType]:
        return self.proxied.get_serialized_multi(keys)

    def set(self, key: KeyType, value: BackendSetType) -> None:
        self.proxied.set(key, value)

    def set_serialized(self, key: KeyType, value: bytes) -> None:
        self.proxied.set_serialized(key, value)

    def set_multi(self, mapping: Mapping[KeyType, BackendSetType]) -> None:
        self.proxied.set_multi(mapping)

    def set_serialized_multi(self, mapping: Mapping[KeyType, bytes]) -> None:
        self.proxied.set_serialized_multi(mapping)

    def delete(self, key: KeyType) -> None:
        self.proxied.delete(key)

    def delete_multi(self, keys: Iterable[KeyType]) -> None:
        self.proxied.delete_multi(keys)
