"""A backend that keeps nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..api import NO_VALUE, BackendArguments, CacheBackend, KeyType, NoValueType


class NullLock:
    """A lock that everybody gets."""

    def acquire(self, wait: bool = True) -> bool:
        return True

    def release(self) -> None:
        pass

    def locked(self) -> bool:
        return False


class NullBackend(CacheBackend):
    """Forgets what it is given, and has no locks: each call of `get_or_create` runs its creator.

    It is the backend with which caching is switched off.
    """

    def __init__(self, arguments: BackendArguments) -> None:
        pass

    def get_mutex(self, key: KeyType) -> Any:
        return NullLock()

    def get(self, key: KeyType) -> NoValueType:
        return NO_VALUE

    def get_multi(self, keys: Iterable[KeyType]) -> list[NoValueType]:
        return [NO_VALUE for _ in keys]

    def set(self, key: KeyType, value: Any) -> None:
        pass

    def set_multi(self, mapping: Mapping[KeyType, Any]) -> None:
        pass

    def delete(self, key: KeyType) -> None:
        pass

    def delete_multi(self, keys: Iterable[KeyType]) -> None:
        pass
