"""Creating values where the engine does not: over backends, proxies, locks and strategies of Python's.

One caller of all creates a value; see `dogpile_rs.lock.Lock`.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from ..lock import Lock, NeedRegenerationException
from .api import NO_VALUE, CachedValue, CacheMutex, CacheReturnType
from .exception import DogpileCacheException, RecursiveCreation

if TYPE_CHECKING:
    from .region import CacheRegion

NO_LIMIT = "Non-None expiration time required for soft invalidation"


class _Running:
    """Keys whose creator runs in this context, or in one that was copied from it."""

    def __init__(self, region: CacheRegion, keys: Sequence[Any], outer: _Running | None) -> None:
        self.region = region
        self.keys = keys
        self.outer = outer
        self.over = False

    def has(self, region: CacheRegion, key: Any) -> bool:
        running: _Running | None = self
        while running is not None:
            if running.region is region and not running.over and key in running.keys:
                return True
            running = running.outer
        return False


_running: ContextVar[_Running | None] = ContextVar("dogpile_running", default=None)


@contextmanager
def running(region: CacheRegion, keys: Sequence[Any]) -> Iterator[None]:
    """Notes that the creator of the keys runs, so that it may not wait for itself."""
    own = _Running(region, keys, _running.get())
    token = _running.set(own)
    try:
        yield
    finally:
        # A coroutine that is closed from outside, with its loop, may end in another context.
        with suppress(ValueError):
            _running.reset(token)
        # A task that the creator has started may outlive it.
        own.over = True


def refuse_recursion(region: CacheRegion, key: Any, *, is_mangled: bool = True) -> None:
    """Raises if the creator of the key waits for its value: in this context, or one that was copied from it."""
    outer = _running.get()
    if outer is not None and outer.has(region, key if is_mangled else region._mangled(key)):
        raise RecursiveCreation(f"the creator of {key!r} asked for {key!r}")


def limit_of(region: CacheRegion, expiration_time: float | None) -> float | None:
    """Returns the age up to which a value is fresh; None if it always is, which -1 asks for."""
    limit = region.expiration_time if expiration_time is None else expiration_time
    return None if limit == -1 else limit


def usable(region: CacheRegion, key: Any, value: CacheReturnType, limit: float | None) -> float:
    """Returns the time of creation as `Lock` is to see it; zero if the value is not to be used."""
    if region._is_cache_miss(value, key):
        return 0
    assert value is not NO_VALUE
    created = value.cached_time
    if not region.region_invalidator.is_soft_invalidated(created):
        return created
    if limit is None:
        raise DogpileCacheException(NO_LIMIT)
    # Just too old, so that it is served until there is another.
    return time.time() - limit - 0.0001


def is_fresh(created: float, limit: float | None) -> bool:
    return created > 0 and (limit is None or time.time() - created <= limit)


def check_number(keys: Sequence[Any], values: Sequence[Any]) -> None:
    if len(values) != len(keys):
        raise ValueError(f"the creator returned {len(values)} values for {len(keys)} keys")


def refuse_without_limit(region: CacheRegion, limit: float | None) -> None:
    if limit is None and region.region_invalidator.was_soft_invalidated():
        raise DogpileCacheException(NO_LIMIT)


class Creation:
    """A call of `get_or_create` that did not find a fresh value at first."""

    def __init__(
        self,
        region: CacheRegion,
        key: Any,
        creator: Callable[..., Any],
        expiration_time: float | None,
        should_cache: Callable[[Any], bool] | None,
        creator_args: tuple[Any, Mapping[str, Any]] | None,
        seen: CacheReturnType,
    ) -> None:
        self.region = region
        self.key = key
        self.stored_key = region._mangled(key)
        self.creator = creator
        self.should_cache = should_cache
        self.creator_args = creator_args
        self.limit = limit_of(region, expiration_time)
        self.seen: CacheReturnType | None = seen

    def run(self) -> Any:
        runner = self.region.async_creation_runner
        lock = Lock(
            self.region._mutex(self.stored_key),
            self.create,
            self.read,
            self.limit,
            None if runner is None else functools.partial(self.hand_over, runner),
        )
        with lock as value:
            return value

    def read(self) -> tuple[Any, float]:
        value, self.seen = self.seen, None
        if value is None:
            value = self.region._get_from_backend(self.stored_key)
        created = usable(self.region, self.key, value, self.limit)
        if created <= 0:
            refuse_recursion(self.region, self.stored_key)
            raise NeedRegenerationException()
        return value.payload, created

    def create(self) -> tuple[Any, float]:
        with self.region._log_time(self.key), running(self.region, (self.stored_key,)):
            payload = self.bound_creator()()
        refuse_without_limit(self.region, self.limit)
        value = self.region._value(payload)
        if self.should_cache is None or self.should_cache(payload):
            self.region._set_cached_value_to_backend(self.stored_key, value)
        return payload, value.metadata["ct"]

    def bound_creator(self) -> Callable[[], Any]:
        if not self.creator_args:
            return self.creator
        positional, named = self.creator_args
        bound = functools.partial(self.creator, *positional, **named)
        return functools.update_wrapper(bound, self.creator)

    def hand_over(self, runner: Callable[..., Any], mutex: CacheMutex) -> None:
        runner(self.region, self.key, self.bound_creator(), mutex)


class _Noticing:
    """A mutex that remembers whether it had to be waited for."""

    def __init__(self, mutex: CacheMutex) -> None:
        self.mutex = mutex
        self.waited = False

    def acquire(self, wait: bool = True) -> bool:
        if self.mutex.acquire(False):
            return True
        if not wait:
            return False
        self.waited = True
        return self.mutex.acquire()

    def release(self) -> None:
        self.mutex.release()

    def __repr__(self) -> str:
        return repr(self.mutex)


class MultiCreation:
    """A call of `get_or_create_multi`: one read, one call of the creator, one write."""

    def __init__(
        self,
        region: CacheRegion,
        keys: Sequence[Any],
        creator: Callable[..., Any],
        expiration_time: float | None,
        should_cache: Callable[[Any], bool] | None,
    ) -> None:
        self.region = region
        self.keys = keys
        self.creator = creator
        self.should_cache = should_cache
        self.limit = limit_of(region, expiration_time)
        # All callers take the locks in the same order: so none waits for one that waits for it.
        self.stored_keys = {key: region._mangled(key) for key in in_order(set(keys))}
        self.values: dict[Any, CacheReturnType] = {}
        self.held: dict[Any, _Noticing] = {}

    def run(self) -> list[Any]:
        if not self.keys:
            return []
        found = self.region._get_multi_from_backend(list(self.stored_keys.values()))
        self.values = dict(zip(self.stored_keys, found))
        try:
            for key in self.stored_keys:
                self.elect(key)
            if self.held:
                self.create(list(self.held))
        finally:
            for mutex in self.held.values():
                mutex.release()
        return [self.values[key].payload for key in self.keys]

    def elect(self, key: Any) -> None:
        """Takes the lock of the key, and keeps it if the value is to be created by this call."""
        mutex = _Noticing(self.region._mutex(self.stored_keys[key]))

        def read() -> tuple[Any, float]:
            if mutex.waited:
                # Another has just created it, or failed to.
                self.values[key] = self.region._get_from_backend(self.stored_keys[key])
            value = self.values[key]
            created = usable(self.region, key, value, self.limit)
            if created <= 0:
                refuse_recursion(self.region, self.stored_keys[key])
            return value.payload, created

        def keep(mutex: Any) -> None:
            self.held[key] = mutex

        def never() -> tuple[Any, float]:
            raise NotImplementedError()

        with Lock(mutex, never, read, self.limit, keep):  # type: ignore[arg-type]
            pass

    def create(self, keys: list[Any]) -> None:
        with (
            self.region._log_time(keys),
            running(self.region, [self.stored_keys[key] for key in keys]),
        ):
            payloads = list(self.creator(*keys))
        refuse_without_limit(self.region, self.limit)
        check_number(keys, payloads)
        values = {key: self.region._value(payload) for key, payload in zip(keys, payloads)}
        to_store = {
            self.stored_keys[key]: value
            for key, value in values.items()
            if self.should_cache is None or self.should_cache(value.payload)
        }
        if to_store:
            self.region._set_multi_cached_value_to_backend(to_store)
        self.values.update(values)


def in_order(keys: set[Any]) -> list[Any]:
    """Returns the keys in an order that is the same for all callers."""
    try:
        return sorted(keys)
    except TypeError:
        return sorted(keys, key=lambda key: (type(key).__name__, repr(key)))


def value_now(payload: Any, version: int) -> CachedValue:
    """Returns the payload as a value that is created now."""
    return CachedValue(payload, {"ct": time.time(), "v": version})
