"""Regions: named sets of cached values over one backend."""

from __future__ import annotations

import contextlib
import copyreg
import datetime
import functools
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from numbers import Number
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias, TypeVar, cast
from weakref import WeakSet, WeakValueDictionary

from .. import _engine, lock
from ..lock import Lock, NeedRegenerationException
from ..util.langhelpers import PluginLoader, coerce_string_conf, memoized_property
from ..util.nameregistry import NameRegistry
from ..util.typing import Self
from . import copying, creating, decorate
from .aio import AioRegion
from .api import (
    NO_VALUE,
    BackendArguments,
    BackendFormatted,
    CacheBackend,
    CachedValue,
    CacheMutex,
    CacheReturnType,
    CantDeserializeException,
    Deserializer,
    KeyManglerType,
    KeyType,
    MetaDataType,
    SerializedReturnType,
    Serializer,
    ValuePayload,
)
from .backends import _backend_loader, register_backend
from .backends.memory import MemoryBackend
from .backends.native import NativeBackend, NativeMemoryBackend, warn_of_unused
from .codecs import codec
from .exception import PluginNotFound, RegionAlreadyConfigured, RegionNotConfigured, ValidationError
from .invalidation import DefaultInvalidationStrategy, RegionInvalidationStrategy
from .options import texts
from .proxy import ProxyBackend
from .util import function_key_generator, function_multi_key_generator, repr_obj

if TYPE_CHECKING:
    # Two milliseconds of an import, for type checkers alone.
    from .decorated import CachedMultiFunction, Decorator

__all__ = [
    "AsyncCreator",
    "CacheRegion",
    "DefaultInvalidationStrategy",
    "ExpirationTimeCallable",
    "FunctionKeyGenerator",
    "FunctionMultiKeyGenerator",
    "Lock",
    "NeedRegenerationException",
    "ProxyBackend",
    "RegionInvalidationStrategy",
    "ToStr",
    "make_region",
    "register_backend",
    "value_version",
]

# The format of stored values. Values of another one are created again.
value_version = 2

AsyncCreator: TypeAlias = Callable[["CacheRegion", KeyType, Callable[[], ValuePayload], CacheMutex], None]
ExpirationTimeCallable: TypeAlias = Callable[[], float]
ToStr: TypeAlias = Callable[[Any], str]
FunctionKeyGenerator: TypeAlias = Callable[..., Callable[..., KeyType]]
FunctionMultiKeyGenerator: TypeAlias = Callable[..., Callable[..., Sequence[KeyType]]]

_P = ParamSpec("_P")
_V = TypeVar("_V")

log = logging.getLogger("dogpile.cache.region")

lock.on_replacement(_engine.lock_is_patched)


# By their identity: a subclass may have another idea of equality.
_regions: WeakValueDictionary[int, CacheRegion] = WeakValueDictionary()


def _after_fork() -> None:
    # Locks that other threads of the parent hold are never released here: neither ours nor those of the engine.
    for region in list(_regions.values()):
        region._forget_mutexes()
        region._backend = region._backend


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class _LockWrapper(CacheMutex):
    """The lock of a key in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def acquire(self, wait: bool = True) -> bool:
        return self._lock.acquire(wait)

    def release(self) -> None:
        self._lock.release()

    def locked(self) -> bool:
        return self._lock.locked()


class _NoBackend:
    """Stands for the backend of regions that have none."""

    def __get__(self, region: CacheRegion | None, owner: type) -> Any:
        if region is None:
            return self
        raise RegionNotConfigured("No backend is configured on this region.")


class _RegionType(type):
    """Notices that a tracer or a test replaces `get_or_create`, which decorated functions otherwise go around."""

    def __setattr__(cls, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "get_or_create":
            decorate.call_by_name()


class CacheRegion(_engine.Region, metaclass=_RegionType):
    """A set of cached values that has its own backend and settings.

    It is created where the program's functions are, and configured when the program knows its settings:

        region = make_region()
        region.configure("dogpile.cache.memory", expiration_time=60)

    Arguments:

    - `name`: for the user's own use.
    - `function_key_generator`, `function_multi_key_generator`: functions of a namespace and a decorated function,
      which return a function from its arguments to a key, or to keys.
    - `key_mangler`: turns keys of callers into those that values are stored under. Without one, that of the backend
      is used, if it has any.
    - `serializer`, `deserializer`: turn values into bytes and back. Without them, those of the backend are used.
      `serializer` may be "pickle", "json" or "msgpack" for both.
    - `async_creation_runner`: called with the region, a key, a creator and a mutex where an expired value is to be
      created again. It stores the new value when it likes to, and then releases the mutex; callers get the expired
      value meanwhile.
    """

    _LockWrapper = _LockWrapper

    # The backend within its proxies: the outermost proxy, if there is any. It lies in the region's `__dict__`, where
    # programs look for it, and take it away to configure the region again.
    backend: Any = _NoBackend()

    def __init__(
        self,
        name: str | None = None,
        function_key_generator: FunctionKeyGenerator = function_key_generator,
        function_multi_key_generator: FunctionMultiKeyGenerator = function_multi_key_generator,
        key_mangler: KeyManglerType | None = None,
        serializer: Serializer | str | None = None,
        deserializer: Deserializer | None = None,
        async_creation_runner: AsyncCreator | None = None,
    ) -> None:
        self.name = name
        self.function_key_generator = function_key_generator
        self.function_multi_key_generator = function_multi_key_generator
        self.key_mangler = self._user_defined_key_mangler = key_mangler
        if isinstance(serializer, str):
            serializer, deserializer = codec(serializer)
        self.serializer = self._user_defined_serializer = serializer
        self.deserializer = self._user_defined_deserializer = deserializer
        self.async_creation_runner = async_creation_runner
        self.region_invalidator = DefaultInvalidationStrategy()
        self._begin_to_be()

    def _begin_to_be(self) -> None:
        self._forget_mutexes()
        _regions[id(self)] = self
        self._decorated: WeakSet[decorate.Cached] = WeakSet()

    def __copy__(self) -> Self:
        """Returns a region of its own over the same backend."""
        copied = type(self).__new__(type(self))
        copied.__setstate__(copying.state_of(self))
        return copied

    def __reduce_ex__(self, protocol: Any) -> Any:
        if self.is_configured:
            raise TypeError(
                "a region that is configured cannot be pickled or copied deeply: "
                "configure one in each process, or use copy.copy"
            )
        return copyreg.__newobj__, (type(self),), copying.state_of(self)  # type: ignore[attr-defined]

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self._begin_to_be()
        copying.restore(self, state)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "get_or_create":
            for cached in self._decorated:
                cached.call_by_name()
        elif name == "backend":
            self._backend = value
        elif name in ("serializer", "deserializer", "_backend"):
            self._look_into_dict()

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        if name == "backend":
            self._backend = None

    # --- Settings ---

    def configure(
        self,
        backend: str,
        expiration_time: float | datetime.timedelta | None = None,
        arguments: BackendArguments | None = None,
        _config_argument_dict: Mapping[str, Any] | None = None,
        _config_prefix: str | None = None,
        wrap: Sequence[ProxyBackend | type[ProxyBackend]] = (),
        replace_existing_backend: bool = False,
        region_invalidator: RegionInvalidationStrategy | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Self:
        """Gives the region a backend, and returns the region.

        - `backend`: the name of a backend, such as "dogpile.cache.memory".
        - `expiration_time`: the age, in seconds or as a timedelta, beyond which values are created again.
        - `arguments`: those of the backend.
        - `wrap`: proxies around the backend; the first is called first.
        - `replace_existing_backend`: the region may have been configured before.
        - `region_invalidator`: what `invalidate` uses instead of a time in this process.
        - `options`: what the engine does besides, over a native backend: `resilient`, `wait_timeout`, `near.max_entries`
          and so on. The README has them all. Durations are seconds, texts such as "5m", or timedeltas.
        """
        if self.is_configured and not replace_existing_backend:
            raise RegionAlreadyConfigured(
                f"This region is already configured with backend: {self.backend}.  "
                "Specify replace_existing_backend=True to replace."
            )
        limit = _seconds(expiration_time)
        found = _find_backend(backend)
        of_engine = texts(options or {})
        if _config_argument_dict is not None:
            created = found.from_config_dict(_config_argument_dict, _config_prefix or "")
        else:
            created = found(arguments or {})
        if of_engine and not isinstance(created, (NativeBackend, NativeMemoryBackend)):
            raise ValidationError(f'only native backends such as "redis" have options, and not {backend!r}')
        self.expiration_time = limit
        if region_invalidator is not None:
            self.region_invalidator = region_invalidator
        self.key_mangler = self._user_defined_key_mangler or created.key_mangler
        self.serializer = self._user_defined_serializer or created.serializer
        self.deserializer = self._user_defined_deserializer or created.deserializer
        self._options = {}
        self.backend = created
        self._take_options(of_engine)
        for proxy in reversed(list(wrap or ())):
            self.wrap(proxy)
        return self

    def _take_options(self, options: dict[str, str]) -> None:
        try:
            self._options = options
        except Exception as error:
            self._options = {}
            del self.backend
            raise ValidationError(str(error)) from None

    def configure_from_config(self, config_dict: Mapping[str, Any], prefix: str) -> Self:
        """Configures the region from settings that begin with the prefix, and returns it.

        They are PREFIX`backend`, PREFIX`expiration_time` and so on, PREFIX`arguments.`NAME and PREFIX`options.`NAME.
        Values may be strings, as from a file of settings.
        """
        settings = coerce_string_conf(config_dict)
        options = _below(settings, f"{prefix}options.")
        # A subclass may have a `configure` that knows none.
        given: dict[str, Any] = {"options": options} if options else {}
        return self.configure(
            settings[f"{prefix}backend"],
            expiration_time=settings.get(f"{prefix}expiration_time"),
            _config_argument_dict=settings,
            _config_prefix=f"{prefix}arguments.",
            wrap=settings.get(f"{prefix}wrap") or (),
            replace_existing_backend=settings.get(f"{prefix}replace_existing_backend", False),
            **given,
        )

    def wrap(self, proxy: ProxyBackend | type[ProxyBackend]) -> None:
        """Puts a proxy, given as a class or an instance, around the backend."""
        instance = proxy() if isinstance(proxy, type) else proxy
        if not isinstance(instance, ProxyBackend):
            raise TypeError(f"{instance!r} is not a valid ProxyBackend")
        warn_of_unused(instance, self.actual_backend)
        self.backend = instance.wrap(self.backend)

    @property
    def is_configured(self) -> bool:
        """True if the region has a backend."""
        return "backend" in self.__dict__

    @property
    def actual_backend(self) -> Any:
        """The backend itself, without proxies."""
        backend = self.backend
        while (inner := getattr(backend, "proxied", None)) is not None:
            backend = inner
        return backend

    def _look_into_dict(self) -> None:
        """Lets the engine look into the backend's dict itself, where that is all that the backend does."""
        backend = self._backend
        values: Any = None
        if type(backend) is MemoryBackend:
            backend._tell(self._look_into_dict)
            if self.serializer is None and self.deserializer is None and not _are_threads_replaced():
                values = backend._cache
        self._use_dict(values)
        is_pythons = values is None and backend is not None and not isinstance(backend, _engine.NativeBackend)
        self._read_by(self._reading(backend) if is_pythons else None)

    def _reading(self, backend: Any) -> Callable[[], Generator[Any, Any, None]]:
        """Returns what returns generators for the engine, which reads by them."""
        return functools.partial(_found if self.deserializer is None else _found_serialized, backend)

    # --- Creation ---

    def invalidate(self, hard: bool = True) -> None:
        """Makes all values that were created up to now count as missing; with `hard` false, as expired.

        The usual strategy is one for this process: it says nothing to others, and does not touch the backend.
        """
        self.region_invalidator.invalidate(hard)

    def statistics(self) -> dict[str, Any] | None:
        """Returns what the engine has counted for this region in this process, by name: hits, misses, creations and so on.

        None where the engine does not work: over a backend in Python, or with a proxy in Python. Over `dogpile.cache.memory`
        without `max_entries` there are no `hits` and `misses`, since reads are those of a dict.
        """
        return self._statistics()

    def key_is_locked(self, key: KeyType) -> bool:
        """Returns True if the value of the key is being created, anywhere that the lock reaches to."""
        stored_key = self._mangled(key)
        backend = self.backend
        assert backend is not None
        return bool(self._is_creating(stored_key)) or bool(self._mutex(stored_key).locked())

    def _forget_mutexes(self) -> None:
        self._mutexes = NameRegistry(self._create_mutex)

    def _mutex(self, key: KeyType) -> Any:
        return self._mutexes.get(key)

    def _create_mutex(self, key: KeyType) -> Any:
        mutex = self.backend.get_mutex(key)
        return _LockWrapper() if mutex is None else mutex

    def _create(self, *call: Any) -> Any:
        """Goes on with `get_or_create` where the engine leaves it."""
        return creating.Creation(self, *call).run()

    def _create_multi(self, *call: Any) -> list[Any]:
        """Goes on with `get_or_create_multi` where the engine leaves it."""
        return creating.MultiCreation(self, *call).run()

    def _is_cache_miss(self, value: CacheReturnType, orig_key: KeyType) -> bool:
        """Tells whether a value is to be created before anybody gets one, and logs why."""
        if value is NO_VALUE:
            log.debug("No value present for key: %r", orig_key)
        elif value.metadata["v"] != value_version:
            log.debug("Dogpile version update for key: %r", orig_key)
        elif self.region_invalidator.is_hard_invalidated(value.cached_time):
            log.debug("Hard invalidation detected for key: %r", orig_key)
        else:
            return False
        return True

    @contextlib.contextmanager
    def _log_time(self, keys: Any) -> Iterator[None]:
        began = time.time()
        yield
        seconds = time.time() - began
        log.debug(
            "Cache value generated in %(seconds).3f seconds for key(s): %(keys)r",
            {"seconds": seconds, "keys": repr_obj(keys)},
        )

    # --- Stored values ---

    def _mangled(self, key: Any) -> Any:
        mangler = self.key_mangler
        return key if mangler is None else mangler(key)

    def _value(self, value: ValuePayload, metadata: MetaDataType | None = None) -> CachedValue:
        if metadata is not None:
            return CachedValue(value, metadata)
        return creating.value_now(value, value_version)

    def _parse_serialized_from_backend(self, value: SerializedReturnType | None) -> CacheReturnType:
        """Returns the value in the bytes of a backend; `NO_VALUE` if they cannot be read any more."""
        if value is None or value is NO_VALUE:
            return NO_VALUE
        assert self.deserializer is not None
        header, bar, payload = value.partition(b"|")
        metadata = _metadata(header) if bar else None
        if metadata is None:
            log.warning("A stored value has no header, and is ignored")
            return NO_VALUE
        try:
            return CachedValue(self.deserializer(payload), metadata)
        except CantDeserializeException:
            return NO_VALUE

    def _serialized_cached_value(self, value: CachedValue) -> BackendFormatted:
        """Returns the value as the backend keeps it."""
        if self.serializer is None:
            return value
        return b"%b|%b" % (json.dumps(value.metadata).encode(), self.serializer(value.payload))

    def _get_from_backend(self, key: KeyType) -> CacheReturnType:
        if self.deserializer is None:
            return self.backend.get(key)  # type: ignore[no-any-return]
        return self._parse_serialized_from_backend(self.backend.get_serialized(key))

    def _get_multi_from_backend(self, keys: Iterable[KeyType]) -> Sequence[CacheReturnType]:
        if self.deserializer is None:
            return self.backend.get_multi(keys)  # type: ignore[no-any-return]
        return [self._parse_serialized_from_backend(found) for found in self.backend.get_serialized_multi(keys)]

    def _set_cached_value_to_backend(self, key: KeyType, value: CachedValue) -> None:
        if self.serializer is None:
            self.backend.set(key, value)
        else:
            self.backend.set_serialized(key, self._serialized_cached_value(value))

    def _set_multi_cached_value_to_backend(self, mapping: Mapping[KeyType, CachedValue]) -> None:
        stored = {key: self._serialized_cached_value(value) for key, value in mapping.items()}
        if self.serializer is None:
            self.backend.set_multi(stored)
        else:
            self.backend.set_serialized_multi(stored)

    @property
    def _is_in_memory(self) -> bool:
        """True if calls of the backend take no time to speak of."""
        return isinstance(self._backend, MemoryBackend)

    # --- Functions ---

    @memoized_property
    def aio(self) -> AioRegion:
        """The same calls for asyncio, to be awaited."""
        return AioRegion(self)

    def cache_on_arguments(
        self,
        namespace: str | None = None,
        expiration_time: float | ExpirationTimeCallable | None = None,
        should_cache_fn: Callable[[ValuePayload], bool] | None = None,
        to_str: ToStr = str,
        function_key_generator: FunctionKeyGenerator | None = None,
    ) -> Decorator:
        """Decorates a function: what it returns is cached by its arguments.

        - `namespace`: a part of the keys, for functions that have the same name.
        - `expiration_time`: instead of the region's; a function is called each time.
        - `should_cache_fn`: says which values are stored.
        - `to_str`: turns an argument into its part of the key.
        - `function_key_generator`: instead of the region's.

        The decorated function has further ones, which take its arguments: `get(...)` returns what is cached or
        `NO_VALUE`, `set(value, ...)` stores a value, `invalidate(...)` deletes it, `refresh(...)` creates and stores a
        new one, `key(...)` returns the key, and `original` is the function that was decorated. The first argument of
        a method has to be given too; it may be anything.

        An `async def` function stays one: see `CacheRegion.aio`.
        """

        def cached(function: Callable[..., ValuePayload]) -> Any:
            generator = function_key_generator or self.function_key_generator
            return decorate.cached(self, function, namespace, expiration_time, should_cache_fn, to_str, generator)

        return cast("Decorator", cached)

    def cache_multi_on_arguments(
        self,
        namespace: str | None = None,
        expiration_time: float | ExpirationTimeCallable | None = None,
        should_cache_fn: Callable[[ValuePayload], bool] | None = None,
        asdict: bool = False,
        to_str: ToStr = str,
        function_multi_key_generator: FunctionMultiKeyGenerator | None = None,
    ) -> Callable[[Callable[_P, _V]], CachedMultiFunction[_P, _V]]:
        """Decorates a function of any number of keys that returns a list of as many values.

        It is called for those keys alone whose values have to be created. With `asdict`, it returns a dict
        instead, from which it may leave out keys; those are not cached. The other arguments are those of
        `cache_on_arguments`.

        The decorated function has `get(...)`, `set({key: value})`, `invalidate(...)`, `refresh(...)` and `original`.
        """

        def cached(function: Callable[_P, _V]) -> CachedMultiFunction[_P, _V]:
            generator = function_multi_key_generator or self.function_multi_key_generator
            made: CachedMultiFunction[_P, _V] = decorate.cached_multi(
                self, function, namespace, expiration_time, should_cache_fn, asdict, to_str, generator
            )
            return made

        return cached


def make_region(*arg: Any, **kw: Any) -> CacheRegion:
    """Returns a new `CacheRegion` with these arguments."""
    return CacheRegion(*arg, **kw)


def _seconds(expiration_time: Any) -> Any:
    if isinstance(expiration_time, datetime.timedelta):
        seconds = expiration_time.total_seconds()
        return int(seconds) if seconds.is_integer() else seconds
    if expiration_time is None or isinstance(expiration_time, Number):
        return expiration_time
    raise ValidationError("expiration_time is not a number or timedelta.")


def _metadata(header: bytes) -> Any:
    """Returns the metadata in a header; None if that is not one."""
    try:
        metadata = json.loads(header)
    except ValueError:
        return None
    return metadata if isinstance(metadata, dict) and {"ct", "v"} <= metadata.keys() else None


def _are_threads_replaced() -> bool:
    """True if threads are gevent's or eventlet's, many of which are one thread to the engine: it would wait for itself."""
    gevent, eventlet = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    by_gevent = gevent is not None and gevent.is_module_patched("threading")
    return by_gevent or (eventlet is not None and eventlet.is_monkey_patched("thread"))


def _below(settings: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Returns the settings that begin with the prefix, without it."""
    return {name[len(prefix) :]: value for name, value in settings.items() if name.startswith(prefix)}


def _found(backend: CacheBackend) -> Generator[Any, Any, None]:
    """Yields what the backend has for each key that is sent."""
    key = yield
    while True:
        key = yield backend.get(key)


def _found_serialized(backend: CacheBackend) -> Generator[Any, Any, None]:
    key = yield
    while True:
        key = yield backend.get_serialized(key)


def _find_backend(name: str) -> type[CacheBackend]:
    try:
        return _backend_loader.load(name)  # type: ignore[no-any-return]
    except PluginLoader.NotFound:
        raise PluginNotFound(f"Couldn't find cache plugin to load: {name}") from None
