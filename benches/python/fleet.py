"""8 processes of 25 threads, or of 25 tasks, and one cold key on Redis: one creation, and how late the last answer is."""

from __future__ import annotations

import asyncio
import importlib
import multiprocessing
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
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


@dataclass
class Cached:
    """Callers of a cache, in a process."""

    package: str
    backend: str
    callers: Callable[[Any, str, list[float]], list[float]]
    port: int

    def begin(self) -> None:
        self.region = region_of(self.package, self.backend, self.port)

    def answers(self, number: int, created: list[float]) -> list[float]:
        return self.callers(self.region, f"{self.package} {self.callers.__name__} {number}", created)


@dataclass
class Alone:
    """Threads without a cache, in a process: one of them creates the value, or hears of it by a pipe, and wakes the others."""

    hears: Connection | None
    tells: list[Connection]

    def begin(self) -> None:
        pass

    def answers(self, number: int, created: list[float]) -> list[float]:
        return threads(self.Region(self), "", created)

    class Region:
        def __init__(self, ends: Alone) -> None:
            self.ends = ends
            self.first = threading.Lock()
            self.gates = [threading.Lock() for _ in range(CALLERS - 1)]
            for gate in self.gates:
                gate.acquire()
            self.free = iter(self.gates)

        def get_or_create(self, _key: str, create: Callable[[], int]) -> None:
            if not self.first.acquire(blocking=False):
                next(self.free).acquire()
                return
            if self.ends.hears is None:
                create()
                for end in self.ends.tells:
                    end.send_bytes(b"1")
            else:
                self.ends.hears.recv_bytes()
            for gate in self.gates:
                gate.release()


def work(callers: Cached | Alone, begin: Any, answers: Any, rounds: int) -> None:
    callers.begin()
    for number in range(rounds):
        created: list[float] = []
        begin.wait()
        told = callers.answers(number, created)
        answers.put((created, max(told)))
        begin.wait()


def measured(context: Any, callers: list[Cached] | list[Alone], rounds: int) -> list[float]:
    """For each round, the milliseconds from the end of the creation to the last answer."""
    begin, answers = context.Barrier(PROCESSES + 1), context.SimpleQueue()
    workers = [context.Process(target=work, args=(them, begin, answers, rounds)) for them in callers]
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
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe(duplex=False) for _ in range(PROCESSES - 1)]
    alone = [Alone(None, [tells for _, tells in pipes])] + [Alone(hears, []) for hears, _ in pipes]
    with server() as port:
        for name, callers in (
            ("dogpile.cache, threads", [Cached("dogpile.cache", "dogpile.cache.redis", threads, port)] * PROCESSES),
            ("dogpile_rs, threads", [Cached("dogpile_rs.cache", "redis", threads, port)] * PROCESSES),
            ("threads alone, by locks and pipes", alone),
            ("dogpile_rs, tasks", [Cached("dogpile_rs.cache", "redis", tasks, port)] * PROCESSES),
        ):
            late = measured(context, callers, rounds)
            print(f"  {name:34}{late[len(late) // 2]:9.1f} ms median{late[-1]:9.1f} ms at worst", flush=True)
