"""Regions for asyncio: the same calls, to be awaited."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from .._engine import Fresh, begin_delete, begin_get, begin_get_multi, begin_is_creating, begin_set
from . import creating
from .aio_turns import CREATE, DONE, NativeTurn, PythonTurn, Queue, Turn, answer, bridge, call
from .api import NO_VALUE, CachedValue

if TYPE_CHECKING:
    from .region import CacheRegion

# Creators may be coroutine functions or plain ones. A plain one that blocks blocks the event loop.
Creator: TypeAlias = Callable[..., Any]


async def _value_of(creator: Creator, creator_args: tuple[Any, Mapping[str, Any]] | None) -> Any:
    if creator_args:
        positional, named = creator_args
        value = creator(*positional, **named)
    else:
        value = creator()
    return await value if inspect.isawaitable(value) else value


class AioRegion:
    """A region's calls for asyncio, as `region.aio`.

    Tasks and threads share what they create: one creates a value, and the others wait for it. A creator runs in the
    task that calls. If that is cancelled, another creates the value.
    """

    def __init__(self, region: CacheRegion) -> None:
        self.region = region
        self._fresh = Fresh(region)
        self._queues: dict[Any, Queue] = {}

    async def get_or_create(
        self,
        key: Any,
        creator: Creator,
        expiration_time: float | None = None,
        should_cache_fn: Callable[[Any], bool] | None = None,
        creator_args: tuple[Any, Mapping[str, Any]] | None = None,
    ) -> Any:
        """Returns the value of the key, which the creator creates if there is none that is fresh."""
        value = self._fresh[key] if expiration_time is None else self.region._peek(key, expiration_time)
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
        region = self.region
        assert region.backend is not None
        flight = region._begin(key, expiration_time)
        if flight is None:
            return await self._create_in_python(key, creator, expiration_time, should_cache, creator_args)
        # As `NativeTurn` does it. Thousands of tasks may wait here, so there is nothing else of theirs.
        try:
            while True:
                state, it = flight.poll(bridge())
                if state == DONE:
                    return it
                if state == CREATE:
                    try:
                        value, is_stored = await self._created(key, creator, creator_args, should_cache)
                    except Exception as error:
                        flight.fail(error)
                    else:
                        flight.finish(value, is_stored)
                else:
                    creating.refuse_recursion(region, key, is_mangled=False)
                    await it
        finally:
            flight.abandon()

    async def _create_in_python(
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
            value, is_stored = await self._created(key, creator, creator_args, should_cache)
            await turn.finish(value, is_stored)
            return value
        finally:
            turn.leave()

    async def _created(
        self,
        key: Any,
        creator: Creator,
        creator_args: tuple[Any, Mapping[str, Any]] | None,
        should_cache: Callable[[Any], bool] | None,
    ) -> tuple[Any, bool]:
        """Returns what the creator returns, and whether it is to be stored."""
        with self.region._log_time(key), creating.running(self.region, (self.region._mangled(key),)):
            value = await _value_of(creator, creator_args)
        return value, should_cache is None or bool(should_cache(value))

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
        try:
            with self.region._log_time(keys), creating.running(self.region, stored_keys):
                values = list(await _value_of(creator, (keys, {})))
        except Exception as error:
            return await self._standing_in(keys, turns, error)
        creating.check_number(keys, values)
        for key, value in zip(keys, values):
            await turns[key].finish(value, should_cache is None or bool(should_cache(value)))
        return dict(zip(keys, values))

    async def _standing_in(self, keys: list[Any], turns: Mapping[Any, Turn], error: Exception) -> dict[Any, Any]:
        """Returns the values that stand in for those whose creator has raised this; raises it if one has none."""
        failed = await asyncio.gather(*(turns[key].fail(error) for key in keys), return_exceptions=True)
        for raised in failed:
            if raised is not None:
                raise raised
        return {key: turns[key].value for key in keys}

    async def _call(self, function: Callable[..., Any], *args: Any) -> Any:
        return await call(self.region, function, *args)

    async def get(self, key: Any, expiration_time: float | None = None, ignore_expiration: bool = False) -> Any:
        """Returns the value of the key, or `NO_VALUE`."""
        begun = begin_get(self.region, key, expiration_time, ignore_expiration, False)
        if begun is not None:
            return await answer(begun)
        return await self._call(self.region.get, key, expiration_time, ignore_expiration)

    async def get_value_metadata(
        self, key: Any, expiration_time: float | None = None, ignore_expiration: bool = False
    ) -> CachedValue | None:
        """Returns the value of the key with the time of its creation, or None."""
        begun = begin_get(self.region, key, expiration_time, ignore_expiration, True)
        if begun is not None:
            return await answer(begun)  # type: ignore[no-any-return]
        return await self._call(  # type: ignore[no-any-return]
            self.region.get_value_metadata, key, expiration_time, ignore_expiration
        )

    async def get_multi(
        self, keys: Sequence[Any], expiration_time: float | None = None, ignore_expiration: bool = False
    ) -> list[Any]:
        """Returns the values of the keys, with `NO_VALUE` where there is none."""
        begun = begin_get_multi(self.region, keys, expiration_time, ignore_expiration)
        if begun is not None:
            return await answer(begun)  # type: ignore[no-any-return]
        return await self._call(  # type: ignore[no-any-return]
            self.region.get_multi, keys, expiration_time, ignore_expiration
        )

    async def set(self, key: Any, value: Any) -> None:
        """Stores a value."""
        begun = begin_set(self.region, {key: value})
        if begun is not None:
            return await answer(begun)  # type: ignore[no-any-return]
        await self._call(self.region.set, key, value)

    async def set_multi(self, mapping: Mapping[Any, Any]) -> None:
        """Stores the values of a mapping for its keys."""
        begun = begin_set(self.region, mapping)
        if begun is not None:
            return await answer(begun)  # type: ignore[no-any-return]
        await self._call(self.region.set_multi, mapping)

    async def delete(self, key: Any) -> None:
        """Deletes what is stored for the key."""
        begun = begin_delete(self.region, [key])
        if begun is not None:
            return await answer(begun)  # type: ignore[no-any-return]
        await self._call(self.region.delete, key)

    async def delete_multi(self, keys: Iterable[Any]) -> None:
        """Deletes what is stored for the keys."""
        keys = list(keys)
        begun = begin_delete(self.region, keys)
        if begun is not None:
            return await answer(begun)  # type: ignore[no-any-return]
        await self._call(self.region.delete_multi, keys)

    async def key_is_locked(self, key: Any) -> bool:
        """Returns True if the value of the key is being created."""
        begun = begin_is_creating(self.region, key)
        if begun is not None:
            return await answer(begun)  # type: ignore[no-any-return]
        return await self._call(self.region.key_is_locked, key)  # type: ignore[no-any-return]

    async def invalidate(self, hard: bool = True) -> None:
        """Makes all values count as missing, or with `hard` false as expired."""
        await self._call(self.region.invalidate, hard)


@contextlib.contextmanager
def _leaving(turns: Mapping[Any, Turn]) -> Iterator[None]:
    try:
        yield
    finally:
        # One that fails to leave keeps no other from it.
        with contextlib.ExitStack() as leaving:
            for turn in turns.values():
                leaving.callback(turn.leave)
