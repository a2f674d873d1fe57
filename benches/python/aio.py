"""asyncio: hits beside an empty await and other caches; a stampede of tasks beside a bare future."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import Awaitable, Callable, Iterator
from types import ModuleType
from typing import Any

from measure import ROUNDS

VALUE = {"id": 17}
TASKS = 10_000


async def empty() -> Any:
    return VALUE


async def never() -> Any:
    raise AssertionError("it is a hit")


async def nanoseconds(loops: dict[str, Callable[[int], Awaitable[None]]], number: int) -> dict[str, float]:
    """The best of several rounds, in which all take turns."""
    best = dict.fromkeys(loops, float("inf"))
    for _ in range(ROUNDS):
        for name, loop in loops.items():
            began = time.perf_counter()
            await loop(number)
            best[name] = min(best[name], (time.perf_counter() - began) / number * 1e9)
    return best


async def hits(ours: ModuleType) -> None:
    region = ours.region.make_region().configure("dogpile.cache.memory", expiration_time=3600)
    region.set("k", VALUE)

    @region.cache_on_arguments()
    async def decorated(x):
        return VALUE

    await decorated(1)
    loops = {"an empty coroutine": repeat(empty), "aio.get_or_create": repeat(region.aio.get_or_create, "k", never)}
    loops["async def f(int), decorated"] = repeat(decorated, 1)
    for name, cached in peers():
        await cached(1)
        loops[name] = repeat(cached, 1)
    best = await nanoseconds(loops, 2_000)
    for name, took in best.items():
        print(f"  {name:32}{took:9.0f} ns{took / best['an empty coroutine']:9.1f} x the empty one")

    async def miss(number: int) -> None:
        for _ in range(number):
            region.delete("cold")
            await region.aio.get_or_create("cold", empty)

    print(f"  {'delete, miss':32}{(await nanoseconds({'miss': miss}, 1_000))['miss']:9.0f} ns")


async def value_of(x):
    return VALUE


def peers() -> Iterator[tuple[str, Callable[..., Awaitable[Any]]]]:
    """The same function in other caches, as far as they are installed."""
    with contextlib.suppress(ImportError):
        from async_lru import alru_cache

        yield "async_lru", alru_cache(maxsize=100)(value_of)
    with contextlib.suppress(ImportError):
        from aiocache import cached

        yield "aiocache", cached(ttl=3600)(value_of)
    with contextlib.suppress(ImportError):
        from cashews import cache

        cache.setup("mem://")
        yield "cashews", cache(ttl="1h")(value_of)


def repeat(call: Callable[..., Awaitable[Any]], *args: Any) -> Callable[[int], Awaitable[None]]:
    async def loop(number: int) -> None:
        for _ in range(number):
            await call(*args)

    return loop


async def stampede(get: Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]) -> float:
    """The milliseconds from the end of the creation to the last answer."""
    ended = 0.0
    creations = 0

    async def create() -> Any:
        nonlocal ended, creations
        creations += 1
        await asyncio.sleep(0.3)
        ended = time.perf_counter()
        return VALUE

    last = 0.0

    async def one() -> None:
        nonlocal last
        assert await get(create) is VALUE
        last = time.perf_counter()

    gc.collect()
    await asyncio.gather(*(one() for _ in range(TASKS)))
    assert creations == 1, creations
    return (last - ended) * 1e3


async def stampedes(ours: ModuleType) -> None:
    region = ours.region.make_region().configure("dogpile.cache.memory", expiration_time=3600)
    shared: asyncio.Future[Any] | None = None

    async def bare(create: Callable[[], Awaitable[Any]]) -> Any:
        nonlocal shared
        if shared is None:
            shared = asyncio.ensure_future(create())
        return await asyncio.shield(shared)

    best = {"a bare shielded future": float("inf"), "aio.get_or_create": float("inf")}
    for number in range(max(3, ROUNDS // 4)):
        shared = None
        best["a bare shielded future"] = min(best["a bare shielded future"], await stampede(bare))
        key = f"cold{number}"
        took = await stampede(lambda create: region.aio.get_or_create(key, create))
        best["aio.get_or_create"] = min(best["aio.get_or_create"], took)
    print(f"\n{TASKS} tasks, one cold key: the last answer after the end of the one creation")
    for name, took in best.items():
        print(f"  {name:32}{took:9.1f} ms{took / best['a bare shielded future']:9.1f} x the bare one")


def run(_upstream: ModuleType, ours: ModuleType) -> None:
    print("\nasyncio, in memory")
    asyncio.run(hits(ours))
    asyncio.run(stampedes(ours))
