"""Redis on loopback: dogpile.cache with redis-py beside the native backend, on a server of its own."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from measure import ROUNDS, row, title

VALUE = {"id": 17, "name": "alice", "tags": ["a", "b", "c"], "score": 3.5, "active": True}
KEYS = [f"key{number}" for number in range(100)]


@contextmanager
def server() -> Iterator[int]:
    """A Redis server, and its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    assert program, "there is no Redis server"
    with tempfile.TemporaryDirectory() as folder:
        arguments = [program, "--port", str(port), "--save", "", "--dir", folder, "--bind", "127.0.0.1"]
        process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
        try:
            wait_for(port)
            yield port
        finally:
            process.terminate()
            process.wait()


def wait_for(port: int) -> None:
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.01)
        else:
            return


def never() -> Any:
    raise AssertionError("it is a hit")


def microseconds(work: Callable[[], object], threads: int, calls: int) -> float:
    """The time of all threads by the number of their calls."""
    begin = threading.Barrier(threads + 1)

    def several() -> None:
        begin.wait()
        for _ in range(calls):
            work()

    workers = [threading.Thread(target=several) for _ in range(threads)]
    for worker in workers:
        worker.start()
    begin.wait()
    began = time.perf_counter()
    for worker in workers:
        worker.join()
    return (time.perf_counter() - began) / (threads * calls) * 1e6


def works(region: Any, cold: str) -> dict[str, Callable[[], object]]:
    """The calls that are measured. Keys that begin with `cold` are the region's own, and missing."""
    numbers = iter(range(10**9))
    created: list[int] = []

    def miss() -> None:
        number = next(numbers)
        assert region.get_or_create(f"{cold}{number}", lambda: created.append(number) or VALUE) == VALUE
        assert created.pop() is not None

    return {
        "get": lambda: region.get("key1"),
        "get_or_create": lambda: region.get_or_create("key1", never),
        "get_multi of 100": lambda: region.get_multi(KEYS),
        "locked miss": miss,
        # All threads have one key: most of them wait for the creation of another, or come too late for it.
        "locked miss of one key": lambda: (region.delete(cold), region.get_or_create(cold, lambda: VALUE)),
    }


TARGETS = {
    ("get", 1): 1,
    ("get_or_create", 1): 1,
    ("get_multi of 100", 1): 3.5,
    ("locked miss", 1): 1.3,
    ("locked miss of one key", 1): 1.3,
    ("get", 8): 4,
    ("get_or_create", 8): 4,
    ("get_multi of 100", 8): 3.5,
    ("locked miss of one key", 8): 20,
}


def run(upstream: ModuleType, ours: ModuleType) -> None:
    with server() as port:
        arguments = {"host": "127.0.0.1", "port": port, "distributed_lock": True, "lock_timeout": 30}
        theirs = upstream.region.make_region().configure("dogpile.cache.redis", expiration_time=3600, arguments=arguments)
        native = ours.region.make_region().configure("redis", expiration_time=3600, arguments=arguments)
        native.set_multi(dict.fromkeys(KEYS, VALUE))
        assert theirs.get("key1") == VALUE
        both = works(theirs, "theirs"), works(native, "native")
        for threads, calls in ((1, 300), (8, 100)):
            title(f"Redis, {threads} thread{'s' if threads > 1 else ''}")
            for name in both[0]:
                number = calls if "miss" not in name else calls // 4
                best = [float("inf"), float("inf")]
                for _ in range(max(3, ROUNDS // 2)):
                    for place in (0, 1):
                        best[place] = min(best[place], microseconds(both[place][name], threads, number))
                row(name, *best, TARGETS.get((name, threads)), "µs")
