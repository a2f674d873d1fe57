"""Regions for asyncio: the same calls, to be awaited."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from .. import _engine
from . import creating
from .api import NO_VALUE, CachedValue

if TYPE_CHECKING:
    from .region import CacheRegion

# Creators may be coroutine functions or plain ones. A plain one that blocks blocks the event loop.
Creator: TypeAlias = Callable[..., Any]

# The first of the pair that a flight's `poll` returns.
DONE, CREATE, WAIT = 0, 1, 2

_bridges: dict[asyncio.AbstractEventLoop, Any] = {}


def bridge() -> Any:
    """Returns what wakes the running loop when an answer of the engine is there."""
    loop = asyncio.get_running_loop()
    found = _bridges.get(loop)
    if found is None:
        for closed in [other for other in list(_bridges) if other.is_closed()]:
            _bridges.pop(closed, None)
        found = _bridges[loop] = _bridge_of(loop)
    return found


def _bridge_of(loop: asyncio.AbstractEventLoop) -> Any:
    try:
        made = _engine.Bridge(loop.create_future)
        loop.add_reader(made.fileno(), made.drain)
    except (NotImplementedError, OSError):
        # Windows' usual loop waits for no file descriptors.
        made = _engine.Bridge(loop.create_future, loop.call_soon_threadsafe)
        made.start()
    return made


async def _value_of(creator: Creator, creator_args: tuple[Any, Mapping[str, Any]] | None) -> Any:
    if creator_args:
        positional, named = creator_args
        value = creator(*positional, **named)
    else:
        value = creator()
    return await value if inspect.isawaitable(value) else value


class Turn:
    """A task's part in the creation of one value.

    `take` returns a value to use, or says that the task is to create one. It then calls `finish`, in any case `leave`.
    """

    value: Any = NO_VALUE

    def __init__(self, region: CacheRegion, key: Any, stored_key: Any, limit: float | None) -> None:
        self.region = region
        self.key = key
        self.stored_key = stored_key
        self.limit = limit

    async def take(self) -> bool:
        """Returns True if this task is to create the value; else it is in `value`."""
        raise NotImplementedError()

    async def finish(self, value: Any, is_stored: bool) -> None:
        raise NotImplementedError()

    def leave(self) -> None:
        """Lets another create the value, if this task was to and has not."""
        raise NotImplementedError()


class NativeTurn(Turn):
    """By the engine, which has the lock and the value."""

    def __init__(self, flight: Any, region: CacheRegion, key: Any, stored_key: Any, limit: float | None) -> None:
        super().__init__(region, key, stored_key, limit)
        self.flight = flight

    async def take(self) -> bool:
        while True:
            state, it = self.flight.poll(bridge())
            if state == CREATE:
                return True
            if state == DONE:
                self.value = it
                return False
            creating.refuse_recursion(self.region, self.stored_key)
            await it

    async def finish(self, value: Any, is_stored: bool) -> None:
        self.flight.finish(value, is_stored)
        # The engine stores it, which may take a server.
        await self.take()

    def leave(self) -> None:
        self.flight.abandon()


class PythonTurn(Turn):
    """Over a backend and a lock of Python's. Calls of the backend are made in other threads.

    The lock is asked for again and again, on this thread: it may be one that belongs to a thread.
    """

    mutex: Any = None

    async def take(self) -> bool:
        if self.is_usable(await self.read()):
            return False
        is_stale = self.created > 0
        mutex = self.region._mutex(self.stored_key)
        if not mutex.acquire(False):
            if is_stale:
                return False
            creating.refuse_recursion(self.region, self.stored_key)
            await self.acquired(mutex)
        self.mutex = mutex
        # Another may have created it while this one waited.
        if not is_stale and self.is_usable(await self.read()):
            self.leave()
            return False
        return True

    async def read(self) -> Any:
        return await asyncio.to_thread(self.region._get_from_backend, self.stored_key)

    def is_usable(self, value: Any) -> bool:
        self.created = creating.usable(self.region, self.key, value, self.limit)
        self.value = value.payload
        return creating.is_fresh(self.created, self.limit)

    async def acquired(self, mutex: Any) -> None:
        pause = 0.001
        while not mutex.acquire(False):
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.05)

    async def finish(self, value: Any, is_stored: bool) -> None:
        if is_stored:
            stored = self.region._value(value)
            await asyncio.to_thread(self.region._set_cached_value_to_backend, self.stored_key, stored)
        self.value = value

    def leave(self) -> None:
        mutex, self.mutex = self.mutex, None
        if mutex is not None:
            mutex.release()


class AioRegion:
    """A region's calls for asyncio, as `region.aio`.

    Tasks and threads share what they create: one creates a value, and the others wait for it. A creator runs in the
    task that calls. If that is cancelled, another creates the value.
    """

    def __init__(self, region: CacheRegion) -> None:
        self.region = region
        self._peek = region._peek

    async def get_or_create(
        self,
        key: Any,
        creator: Creator,
        expiration_time: float | None = None,
        should_cache_fn: Callable[[Any], bool] | None = None,
        creator_args: tuple[Any, Mapping[str, Any]] | None = None,
    ) -> Any:
        """Returns the value of the key, which the creator creates if there is none that is fresh."""
        value = self._peek(key, expiration_time)
        if value is not NO_VALUE:
            return value
        return await self._create(key, creator, expiration_time, should_cache_fn, creator_args)

    async def _create(
        self,
        key: Any,
        creator: Creator,
        expiration_time: float | None,
        should_cache: Callable[[Any], bool] | None,
        creator_args: tuple[Any, Mapping[str, Any]] | None,
    ) -> Any:
        turn = self._turn(key, expiration_time)
        try:
            if not await turn.take():
                return turn.value
            creating.refuse_without_limit(self.region, turn.limit)
            with self.region._log_time(key), creating.running(self.region, (turn.stored_key,)):
                value = await _value_of(creator, creator_args)
            await turn.finish(value, should_cache is None or bool(should_cache(value)))
            return value
        finally:
            turn.leave()

    def _turn(self, key: Any, expiration_time: float | None) -> Turn:
        region = self.region
        assert region.backend is not None
        limit = creating.limit_of(region, expiration_time)
        flight, stored_key = region._begin(key, expiration_time), region._mangled(key)
        if flight is None:
            return PythonTurn(region, key, stored_key, limit)
        return NativeTurn(flight, region, key, stored_key, limit)

    async def get_or_create_multi(
        self,
        keys: Iterable[Any],
        creator: Creator,
        expiration_time: float | None = None,
        should_cache_fn: Callable[[Any], bool] | None = None,
    ) -> list[Any]:
        """Returns the values of the keys; the creator is called once, with those that are to be created."""
        keys = list(keys)
        turns: dict[Any, Turn] = {}
        with _leaving(turns):
            to_create = []
            # All tasks and threads take their turns in the same order: so none waits for one that waits for it.
            for key in creating.in_order(set(keys)):
                turns[key] = self._turn(key, expiration_time)
                if await turns[key].take():
                    to_create.append(key)
            values = {key: turn.value for key, turn in turns.items()}
            if to_create:
                values.update(await self._create_multi(to_create, turns, creator, should_cache_fn))
        return [values[key] for key in keys]

    async def _create_multi(
        self,
        keys: list[Any],
        turns: Mapping[Any, Turn],
        creator: Creator,
        should_cache: Callable[[Any], bool] | None,
    ) -> dict[Any, Any]:
        creating.refuse_without_limit(self.region, turns[keys[0]].limit)
        stored_keys = [turns[key].stored_key for key in keys]
        with self.region._log_time(keys), creating.running(self.region, stored_keys):
            values = list(await _value_of(creator, (keys, {})))
        creating.check_number(keys, values)
        for key, value in zip(keys, values):
            await turns[key].finish(value, should_cache is None or bool(should_cache(value)))
        return dict(zip(keys, values))

    async def _call(self, call: Callable[..., Any], *args: Any) -> Any:
        # Those of memory take no time, and the rest may take a server.
        if self.region._is_in_memory:
            return call(*args)
        return await asyncio.to_thread(call, *args)

    async def get(self, key: Any, expiration_time: float | None = None, ignore_expiration: bool = False) -> Any:
        """Returns the value of the key, or `NO_VALUE`."""
        return await self._call(self.region.get, key, expiration_time, ignore_expiration)

    async def get_value_metadata(
        self, key: Any, expiration_time: float | None = None, ignore_expiration: bool = False
    ) -> CachedValue | None:
        """Returns the value of the key with the time of its creation, or None."""
        return await self._call(  # type: ignore[no-any-return]
            self.region.get_value_metadata, key, expiration_time, ignore_expiration
        )

    async def get_multi(
        self, keys: Sequence[Any], expiration_time: float | None = None, ignore_expiration: bool = False
    ) -> list[Any]:
        """Returns the values of the keys, with `NO_VALUE` where there is none."""
        return await self._call(  # type: ignore[no-any-return]
            self.region.get_multi, keys, expiration_time, ignore_expiration
        )

    async def set(self, key: Any, value: Any) -> None:
        """Stores a value."""
        await self._call(self.region.set, key, value)

    async def set_multi(self, mapping: Mapping[Any, Any]) -> None:
        """Stores the values of a mapping for its keys."""
        await self._call(self.region.set_multi, mapping)

    async def delete(self, key: Any) -> None:
        """Deletes what is stored for the key."""
        await self._call(self.region.delete, key)

    async def delete_multi(self, keys: Iterable[Any]) -> None:
        """Deletes what is stored for the keys."""
        await self._call(self.region.delete_multi, list(keys))

    async def key_is_locked(self, key: Any) -> bool:
        """Returns True if the value of the key is being created."""
        return await self._call(self.region.key_is_locked, key)  # type: ignore[no-any-return]

    async def invalidate(self, hard: bool = True) -> None:
        """Makes all values count as missing, or with `hard` false as expired."""
        await self._call(self.region.invalidate, hard)


@contextlib.contextmanager
def _leaving(turns: Mapping[Any, Turn]) -> Iterator[None]:
    try:
        yield
    finally:
        for turn in turns.values():
            turn.leave()


