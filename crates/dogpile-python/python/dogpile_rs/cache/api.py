"""The interfaces of backends, and the values that pass through them."""

from __future__ import annotations

import abc
import enum
import pickle
import struct
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

from .. import _engine
from ..util.typing import Self


class NoValue(enum.Enum):
    """The type of `NO_VALUE`, which says that there is no value.

    It is false, and it is not None: None can be cached.
    """

    NO_VALUE = "NoValue"

    @property
    def payload(self) -> NoValue:
        return self

    def __repr__(self) -> str:
        return "<dogpile.cache.api.NoValue object>"

    def __bool__(self) -> Literal[False]:
        return False


NoValueType: TypeAlias = Literal[NoValue.NO_VALUE]
NO_VALUE: NoValueType = NoValue.NO_VALUE

ValuePayload: TypeAlias = Any
KeyType: TypeAlias = str
MetaDataType: TypeAlias = Mapping[str, Any]
BackendArguments: TypeAlias = Mapping[str, Any]
KeyManglerType: TypeAlias = Callable[[KeyType], KeyType]
Serializer: TypeAlias = Callable[[ValuePayload], bytes]
Deserializer: TypeAlias = Callable[[bytes], ValuePayload]


class CachedValue(NamedTuple):
    """A value as backends keep it: with the time of its creation (`ct`) and the version of the format (`v`)."""

    payload: ValuePayload
    metadata: MetaDataType

    @property
    def cached_time(self) -> float:
        """The time of creation, in seconds since 1970."""
        return self.metadata["ct"]  # type: ignore[no-any-return]

    @property
    def age(self) -> float:
        """Seconds since the creation."""
        return time.time() - self.cached_time


CacheReturnType: TypeAlias = CachedValue | NoValueType
SerializedReturnType: TypeAlias = bytes | NoValueType
BackendFormatted: TypeAlias = CacheReturnType | SerializedReturnType
BackendSetType: TypeAlias = CachedValue | bytes


class CantDeserializeException(Exception):
    """Raised by a deserializer if the stored value is of a kind that is to be created again."""


# Exceptions that pickle, json, msgpack and the like raise for values and bytes that they cannot take. Others that come up
# meanwhile, such as that of a signal's handler that limits the time, are not about the value.
_OF_CODECS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.PickleError,
    struct.error,
    zlib.error,
)

_engine.register(
    no_value=NO_VALUE,
    cached_value=CachedValue,
    cant_deserialize=CantDeserializeException,
    of_codecs=_OF_CODECS,
)


class CacheMutex(abc.ABC):
    """A lock for one key, as `CacheBackend.get_mutex` returns it.

    Any class with `acquire` and `release` counts as one.
    """

    @abc.abstractmethod
    def acquire(self, wait: bool = True) -> bool:
        """Takes the lock. With `wait` false, returns False at once if another has it."""

    @abc.abstractmethod
    def release(self) -> None: ...

    @abc.abstractmethod
    def locked(self) -> bool:
        """Returns True if anybody has the lock."""

    @classmethod
    def __subclasshook__(cls, C: type) -> bool:
        if cls is not CacheMutex:
            return NotImplemented  # type: ignore[no-any-return]
        return hasattr(C, "acquire") and hasattr(C, "release")


class CacheBackend:
    """The base of all backends.

    A region stores `CachedValue` objects with `get`, `set` and so on. If the region or the backend has a serializer, it
    stores bytes instead, with `get_serialized`, `set_serialized` and so on. A backend that keeps either as it is
    defines the former alone.
    """

    key_mangler: KeyManglerType | None = None
    serializer: Serializer | None = None
    deserializer: Deserializer | None = None

    def __init__(self, arguments: BackendArguments) -> None:
        raise NotImplementedError()

    @classmethod
    def from_config_dict(cls, config_dict: Mapping[str, Any], prefix: str) -> Self:
        """Creates a backend whose arguments are the settings that begin with the prefix."""
        return cls({name[len(prefix) :]: config_dict[name] for name in config_dict if name.startswith(prefix)})

    def has_lock_timeout(self) -> bool:
        """Returns True if a lock may end before its holder releases it."""
        return False

    def get_mutex(self, key: KeyType) -> CacheMutex | None:
        """Returns the lock of a key that reaches as far as the backend; None for the one of this process."""
        return None

    def get(self, key: KeyType) -> BackendFormatted:
        """Returns what was set, or `NO_VALUE`."""
        raise NotImplementedError()

    def get_multi(self, keys: Iterable[KeyType]) -> Sequence[BackendFormatted]:
        """Returns a value for each key, in their order."""
        raise NotImplementedError()

    def get_serialized(self, key: KeyType) -> SerializedReturnType:
        """Returns the bytes that were set, or `NO_VALUE`."""
        return self.get(key)  # type: ignore[return-value]

    def get_serialized_multi(self, keys: Iterable[KeyType]) -> Sequence[SerializedReturnType]:
        """Returns the bytes of each key, in their order."""
        return self.get_multi(keys)  # type: ignore[return-value]

    def set(self, key: KeyType, value: BackendSetType) -> None:
        raise NotImplementedError()

    def set_serialized(self, key: KeyType, value: bytes) -> None:
        self.set(key, value)

    def set_multi(self, mapping: Mapping[KeyType, BackendSetType]) -> None:
        raise NotImplementedError()

    def set_serialized_multi(self, mapping: Mapping[KeyType, bytes]) -> None:
        self.set_multi(mapping)

    def delete(self, key: KeyType) -> None:
        """Removes the key, if it is there."""
        raise NotImplementedError()

    def delete_multi(self, keys: Iterable[KeyType]) -> None:
        """Removes those keys that are there."""
        raise NotImplementedError()


class DefaultSerialization:
    """Has pickle as the serializer and deserializer of a backend."""

    serializer: Serializer | None = staticmethod(pickle.dumps)
    deserializer: Deserializer | None = staticmethod(pickle.loads)


class BytesBackend(DefaultSerialization, CacheBackend):
    """The base of backends that keep bytes alone.

    They define `get_serialized`, `set_serialized`, `delete` and, where it can be done in one go, their `_multi` forms.
    """

    def get_serialized(self, key: KeyType) -> SerializedReturnType:
        raise NotImplementedError()

    def set_serialized(self, key: KeyType, value: bytes) -> None:
        raise NotImplementedError()

    def get_serialized_multi(self, keys: Iterable[KeyType]) -> Sequence[SerializedReturnType]:
        return [self.get_serialized(key) for key in keys]

    def set_serialized_multi(self, mapping: Mapping[KeyType, bytes]) -> None:
        for key, value in mapping.items():
            self.set_serialized(key, value)

    def delete_multi(self, keys: Iterable[KeyType]) -> None:
        for key in keys:
            self.delete(key)
