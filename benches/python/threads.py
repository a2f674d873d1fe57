"""Threads in memory: hits of eight, and a stampede of 64 at a cold key."""

from __future__ import annotations

import threading
import time
import timeit
from types import ModuleType
from typing import Any

from measure import ROUNDS, row, title
from remote import microseconds, never

VALUE = {"id": 17}
THREADS = 8


def made(library: ModuleType) -> Any:
    region = library.region.make_region().configure("dogpile.cache.memory", expiration_time=3600)
    region.set("k", VALUE)
    return region


def stampede(region: Any, key: str, threads: int = 64) -> float:
    """The milliseconds from the end of the creation to the last answer."""
    ended = [0.0]
    creations = [0]
    answers = []
    begin = threading.Barrier(threads)

    def create() -> Any:
        creations[0] += 1
        time.sleep(0.05)
        ended[0] = time.perf_counter()
        return VALUE

    def one() -> None:
        begin.wait()
        assert region.get_or_create(key, create) is VALUE
        answers.append(time.perf_counter())

    workers = [threading.Thread(target=one) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert creations == [1], creations
    return (max(answers) - ended[0]) * 1e3


def enough(call: Any) -> int:
    """The calls of each thread for a tenth of a second: the start and the end of threads must not count."""
    number, took = timeit.Timer(call).autorange()
    return max(1, int(number * 0.1 / took / THREADS))


def run(upstream: ModuleType, ours: ModuleType) -> None:
    both = made(upstream), made(ours)
    title("8 threads in memory")
    calls = {
        "get": (lambda region: lambda: region.get("k"), None),
        "get_or_create": (lambda region: lambda: region.get_or_create("k", never), 15),
    }
    for name, (work, target) in calls.items():
        works = [work(region) for region in both]
        numbers = [enough(call) for call in works]
        best = [float("inf"), float("inf")]
        for _ in range(ROUNDS):
            for place, (call, number) in enumerate(zip(works, numbers)):
                best[place] = min(best[place], microseconds(call, THREADS, number) * 1e3)
        row(name, *best, target)
    title("64 threads, one cold key: the last answer after the end of the one creation")
    best = [float("inf"), float("inf")]
    for number in range(ROUNDS):
        for place, region in enumerate(both):
            best[place] = min(best[place], stampede(region, f"cold{number}"))
    row("last answer", *best, 1 / 1.2, "ms")
