"""Backends that keep values in a dict of this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, MutableMapping
from typing import Any
from weakref import WeakMethod

from ..api import NO_VALUE, BackendArguments, CacheBackend, DefaultSerialization, KeyType


class MemoryBackend(CacheBackend):
    """Keeps the objects themselves: who changes what it gets from the cache changes what is cached.

    Arguments:

    - `cache_dict`: the mapping to keep them in, a new dict by default. It may be one that forgets, such as those of
      cachetools. A plain dict grows until its keys are deleted.
    - `max_entries`: the number of values to keep at most, instead of a mapping: `NativeMemoryBackend` is the backend
      then.
    """

    def __new__(cls, arguments: BackendArguments) -> Any:
        if cls is MemoryBackend and arguments.get("max_entries") is not None:
            from .native import NativeMemoryBackend

            return NativeMemoryBackend(arguments)
        return super().__new__(cls)

    def __init__(self, arguments: BackendArguments) -> None:
        self._regions: list[WeakMethod[Callable[[], None]]] = []
        self._cache = arguments.get("cache_dict", {})

    @property
    def _cache(self) -> MutableMapping[Any, Any]:
        return self._mapping

    @_cache.setter
    def _cache(self, mapping: MutableMapping[Any, Any]) -> None:
        self._mapping = mapping
        # Regions look into the mapping themselves.
        for told in [method() for method in self._regions]:
            if told is not None:
                told()

    def _tell(self, told: Callable[[], None]) -> None:
        """Has the method called when another mapping is put in place."""
        self._regions = [method for method in self._regions if method() not in (None, told)]
        self._regions.append(WeakMethod(told))

    def get(self, key: KeyType) -> Any:
        return self._mapping.get(key, NO_VALUE)

    def get_multi(self, keys: Iterable[KeyType]) -> list[Any]:
        get = self._mapping.get
        return [get(key, NO_VALUE) for key in keys]

    def set(self, key: KeyType, value: Any) -> None:
        self._mapping[key] = value

    def set_multi(self, mapping: Mapping[KeyType, Any]) -> None:
        for key, value in mapping.items():
            self._mapping[key] = value

    def delete(self, key: KeyType) -> None:
        self._mapping.pop(key, None)

    def delete_multi(self, keys: Iterable[KeyType]) -> None:
        for key in keys:
            self._mapping.pop(key, None)


class MemoryPickleBackend(DefaultSerialization, MemoryBackend):
    """Keeps values pickled: each caller gets an object of its own."""
