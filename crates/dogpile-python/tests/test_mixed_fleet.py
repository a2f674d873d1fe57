"""One fleet of three libraries over Redis: dogpile in Rust, this package, and dogpile.cache."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import time

import pytest
from conftest import HERE, INSTALLED, SOURCES

# A process of dogpile's own tests, with a region in Rust; `cargo xtask python-package test` builds it.
WORKER = pathlib.Path(os.environ.get("DOGPILE_WORKER", HERE.parents[2] / "target" / "debug" / "dogpile-worker"))
KINDS = ("rust", "native", "upstream")
THREADS = 10
SECONDS = 0.1

pytestmark = pytest.mark.skipif(not WORKER.exists(), reason=f"there is no {WORKER}")


class Worker:
    """A process that asks for one key, in all of its threads or tasks, when it is told to."""

    def __init__(self, kind: str, port: int, key: str, notes: pathlib.Path) -> None:
        job = {
            "settings": {"backend": "redis", "arguments.url": f"redis://127.0.0.1:{port}"},
            "race": {"Crowd": {"creation": int(1000 * SECONDS)}},
            "key": key,
            "notes": str(notes),
            "tasks": THREADS,
        }
        python = [sys.executable, str(HERE / "fleet_worker.py"), kind, str(port), key, str(THREADS), str(notes)]
        command = [str(WORKER), json.dumps(job)] if kind == "rust" else [*python, str(SECONDS)]
        environment = dict(os.environ, PYTHONPATH="" if INSTALLED else str(SOURCES))
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, env=environment, **pipes)

    def ready(self) -> None:
        assert self.process.stdout.readline() == "ready\n"

    def go(self) -> None:
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def values(self) -> list[str]:
        output, _ = self.process.communicate(timeout=60)
        assert self.process.returncode == 0
        return [json.loads(line)["value"] for line in output.splitlines()]


@pytest.fixture
def fleet(redis_port, tmp_path):
    """Starts a worker of each kind for a key, and ends them with the test."""
    pytest.importorskip("dogpile.cache", reason="dogpile.cache is not installed")
    pytest.importorskip("redis")
    started = []

    def start(key: str) -> tuple[dict[str, Worker], pathlib.Path]:
        notes = tmp_path / f"{key}.log"
        workers = {kind: Worker(kind, redis_port, key, notes) for kind in KINDS}
        started.extend(workers.values())
        for worker in workers.values():
            worker.ready()
        return workers, notes

    yield start
    for worker in started:
        worker.process.kill()
        worker.process.wait()
        worker.process.stdin.close()
        worker.process.stdout.close()


def created(notes: pathlib.Path) -> list[str]:
    return notes.read_text().splitlines() if notes.exists() else []


@pytest.mark.parametrize("first", KINDS)
def test_all_wait_for_the_creation_of_one(fleet, first):
    """Whoever begins, the other two take its value."""
    workers, notes = fleet(f"begun-by-{first}")
    workers[first].go()
    deadline = time.monotonic() + 60
    while not created(notes):
        assert time.monotonic() < deadline, "it never creates"
    for kind in KINDS:
        if kind != first:
            workers[kind].go()
    values = [value for worker in workers.values() for value in worker.values()]
    assert values == created(notes) * len(KINDS) * THREADS
    assert f" by {workers[first].process.pid} at " in values[0]


@pytest.mark.parametrize("turn", range(6))
def test_a_cold_key_is_created_once(fleet, turn):
    """All begin at once, another one of the three a little earlier each time."""
    workers, notes = fleet(f"cold-{turn}")
    for number in range(len(KINDS)):
        workers[KINDS[(turn + number) % len(KINDS)]].go()
    values = [value for worker in workers.values() for value in worker.values()]
    assert len(created(notes)) == 1
    assert values == created(notes) * len(KINDS) * THREADS
