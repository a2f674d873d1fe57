"""The contents of dogpile.cache's documentation, as programs that print the same on it and on this package."""

from __future__ import annotations

import difflib
import importlib.util
import os
import pathlib
import subprocess
import sys

import pytest
from conftest import INSTALLED, SOURCES
from servers import Servers, free_port

PROGRAMS = pathlib.Path(__file__).resolve().parent / "documented"
# Modules that programs import beside the library; those who have less run the others.
CLIENTS = {
    "background_creation": ["memcache"],
    "first_steps": ["pylibmc"],
    "lock_on_memcached": ["fcntl", "pymemcache"],
    "memcached_clients": ["bmemcached", "memcache", "pylibmc", "pymemcache"],
    "other_formats": ["msgpack", "pylibmc", "redis"],
    "pages": ["mako"],
    "prefixed_keys": ["redis"],
    "refresh_after_commit": ["sqlalchemy"],
    "servers": ["redis", "valkey"],
    "settings_file": ["pymemcache"],
}
ALL = sorted(path.stem for path in PROGRAMS.glob("*.py"))
# Those that show what native backends do not have, with the reason.
NATIVE_DIFFERS = {
    "cache_file": "the names of lock files, and locks of one's own",
    "memcached_clients": "the names of classes",
    "other_formats": "proxies of memcached see objects there, and bytes here",
    "servers": "values of a region with an expiration do not stay for ever",
    "settings_file": "the names of classes and of lock files",
}
needs_upstream = pytest.mark.skipif(
    importlib.util.find_spec("dogpile") is None, reason="dogpile.cache is not installed"
)


class Places:
    """The ports of servers, and how to empty them."""

    def __init__(self, servers: Servers) -> None:
        redis, cluster = servers.redis("redis-server"), self._cluster(servers)
        self.variables = {
            "REDIS_PORT": str(redis),
            "SENTINEL_PORT": str(servers.sentinel("redis-server", redis)),
            "CLUSTER_PORT": str(cluster),
            "MEMCACHED_PORT": str(servers.memcached()),
        }

    @staticmethod
    def _cluster(servers: Servers) -> int:
        port = free_port()
        more = ["--cluster-enabled", "yes", "--cluster-port", str(free_port()), "--bind", "127.0.0.1", "--save", ""]
        servers.start(port, "redis-server", "--port", str(port), *more)
        ask(port, "CLUSTER ADDSLOTSRANGE 0 16383")
        while b"cluster_state:ok" not in ask(port, "CLUSTER INFO"):
            pass
        return port

    def empty(self) -> None:
        ask(int(self.variables["REDIS_PORT"]), "FLUSHALL")
        ask(int(self.variables["CLUSTER_PORT"]), "FLUSHALL")
        ask(int(self.variables["MEMCACHED_PORT"]), "flush_all")


def ask(port: int, command: str) -> bytes:
    import socket

    with socket.create_connection(("127.0.0.1", port)) as server:
        server.sendall(command.encode() + b"\r\n")
        return server.recv(4096)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    with Servers(tmp_path_factory.mktemp("documented"), start=False) as servers:
        yield Places(servers)


def run(program: str, paths: list[str], variables: dict[str, str]) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= variables | {"PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, str(PROGRAMS / f"{program}.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    # An exception in a thread does not end a program.
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stdout + done.stderr
    return done.stdout


def shim() -> list[str]:
    """Returns the folders that make `dogpile` this package."""
    command = [sys.executable, "-m", "dogpile_rs", "--path"]
    sources = [] if INSTALLED else [str(SOURCES)]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sources))
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return [found.stdout.strip(), *sources]


WHERE = "import dogpile.cache.region as it; print(it.__file__)"


def compare(program: str, places: Places, **native: str) -> None:
    for module in CLIENTS.get(program, []):
        pytest.importorskip(module)
    places.empty()
    theirs = run(program, [], places.variables)
    places.empty()
    ours = run(program, shim(), places.variables | native)
    assert theirs.strip()
    assert theirs == ours, "\n".join(difflib.unified_diff(theirs.splitlines(), ours.splitlines(), "theirs", "ours"))


@needs_upstream
@pytest.mark.parametrize("program", ALL)
def test_a_documented_program_prints_the_same(program, places):
    compare(program, places)


@needs_upstream
@pytest.mark.parametrize("program", [program for program in ALL if program not in NATIVE_DIFFERS])
def test_it_does_on_native_backends(program, places):
    compare(program, places, DOGPILE_NATIVE="1")


@needs_upstream
@pytest.mark.parametrize("program", NATIVE_DIFFERS)
def test_what_native_backends_cannot_print(program, places):
    with pytest.raises(AssertionError):
        compare(program, places, DOGPILE_NATIVE="1")


@needs_upstream
def test_the_two_are_not_the_same_library():
    files = []
    for paths in ([], shim()):
        environment = dict(os.environ, PYTHONPATH=os.pathsep.join(paths))
        done = subprocess.run(
            [sys.executable, "-c", WHERE], env=environment, capture_output=True, text=True, check=True
        )
        files.append(done.stdout)
    assert "dogpile_rs" not in files[0] and "dogpile_rs" in files[1], files
