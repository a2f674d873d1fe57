"""8 processes of 25 threads, or of 25 tasks, and one cold key on Redis: one creation, and how late the last answer is."""

from __future__ import annotations

import asyncio
import importlib
import multiprocessing
import threading
import time
from types import ModuleType
from typing import Any

from measure import ROUNDS
from remote import server

PROCESSES, CALLERS = 8, 25


def region_of(library: str, backend: str, port: int) -> Any:
    arguments = {"host": "127.0.0.1", "port": port, "distributed_lock": True, "lock_timeout": 30}
    region = importlib.import_module(f"{library}.region").make_region()
    region.configure(backend, expiration_time=3600, arguments=arguments)
    region.get("warm")
    return region


def threads(region: Any, key: str, created: list[float]) -> list[float]:
    """The moments of all answers."""
    answers: list[float] = []

    def create() -> int:
        time.sleep(0.2)
        created.append(time.perf_counter())
        return 1

    def one() -> None:
        region.get_or_create(key, create)
        answers.append(time.perf_counter())

    workers = [threading.Thread(target=one) for _ in range(CALLERS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return answers


def tasks(region: Any, key: str, created: list[float]) -> list[float]:
    async def create() -> int:
        await asyncio.sleep(0.2)
        created.append(time.perf_counter())
        return 1

    async def one() -> float:
        await region.aio.get_or_create(key, create)
        return time.perf_counter()

    async def all_of_them() -> list[float]:
        return await asyncio.gather(*(one() for _ in range(CALLERS)))

    return asyncio.run(all_of_them())


def work(library: str, backend: str, port: int, callers: str, begin: Any, answers: Any, rounds: int) -> None:
    region = region_of(library, backend, port)
    for number in range(rounds):
        created: list[float] = []
        begin.wait()
        told = globals()[callers](region, f"{library} {callers} {number}", created)
        answers.put((created, max(told)))
        begin.wait()


def measured(library: str, backend: str, callers: str, port: int, rounds: int) -> list[float]:
    """For each round, the milliseconds from the end of the creation to the last answer."""
    context = multiprocessing.get_context("spawn")
    begin, answers = context.Barrier(PROCESSES + 1), context.SimpleQueue()
    given = (library, backend, port, callers, begin, answers, rounds)
    workers = [context.Process(target=work, args=given) for _ in range(PROCESSES)]
    for worker in workers:
        worker.start()
    late = []
    for _ in range(rounds):
        begin.wait()
        told = [answers.get() for _ in range(PROCESSES)]
        created = [moment for moments, _ in told for moment in moments]
        assert len(created) == 1, f"{len(created)} creations"
        late.append((max(last for _, last in told) - created[0]) * 1e3)
        begin.wait()
    for worker in workers:
        worker.join()
    return sorted(late)


def run(_upstream: ModuleType, _ours: ModuleType) -> None:
    print(f"\n{PROCESSES} processes of {CALLERS}, one cold key on Redis: the last answer after the end of the one creation")
    rounds = max(5, ROUNDS)
    with server() as port:
        for name, library, backend, callers in (
            ("dogpile.cache, threads", "dogpile.cache", "dogpile.cache.redis", "threads"),
            ("dogpile_rs, threads", "dogpile_rs.cache", "redis", "threads"),
            ("dogpile_rs, tasks", "dogpile_rs.cache", "redis", "tasks"),
        ):
            late = measured(library, backend, callers, port, rounds)
            print(f"  {name:32}{late[len(late) // 2]:9.1f} ms median{late[-1]:9.1f} ms at worst", flush=True)
