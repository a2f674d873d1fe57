"""The servers that the tests need, on free ports, for as long as a `with` block lasts."""

from __future__ import annotations

import os
import pathlib
import shutil
import socket
import subprocess
import time

# Beside the repository's own builds; `cargo xtask python` puts it there.
VALKEY = pathlib.Path(__file__).resolve().parents[3] / "target" / "python" / "bin" / "valkey-server"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port: int, seconds: float = 20) -> None:
    """Returns when the port takes connections."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


class Servers:
    """Redis, Valkey, a sentinel for each, and memcached with and without TLS.

    `variables` are the environment variables in which dogpile.cache's tests look for the ports. With `start` false, none
    is started until it is asked for.
    """

    def __init__(self, work: pathlib.Path, tls: pathlib.Path | None = None, *, start: bool = True) -> None:
        self.work = work
        self.tls = tls
        self.starts = start
        self.variables: dict[str, str] = {}
        self.processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Servers:
        try:
            if self.starts:
                self._start_all()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            process.wait()

    def _start_all(self) -> None:
        redis = shutil.which("redis-server") or "redis-server"
        valkey = os.environ.get("DOGPILE_VALKEY_SERVER") or (str(VALKEY) if VALKEY.exists() else redis)
        for name, server in (("REDIS", redis), ("VALKEY", valkey)):
            self.variables[f"DOGPILE_{name}_PORT"] = str(self.redis(server))
            # A server of its own: its tests use the keys of the others, in another format.
            self.variables[f"DOGPILE_{name}_SENTINEL_PORT"] = str(self.sentinel(server, self.redis(server)))
        self.variables["DOGPILE_MEMCACHED_PORT"] = str(self.memcached())
        if self.tls:
            self.variables["DOGPILE_TLS_MEMCACHED_PORT"] = str(self.memcached(self.tls))

    def start(self, port: int, *command: str) -> int:
        with open(self.work / f"server-{port}.log", "wb") as log:
            self.processes.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=self.work))
        wait_for(port)
        return port

    def redis(self, server: str) -> int:
        port = free_port()
        return self.start(port, server, "--port", str(port), "--save", "", "--bind", "127.0.0.1")

    def sentinel(self, server: str, port: int) -> int:
        own = free_port()
        settings = self.work / f"sentinel-{own}.conf"
        settings.write_text(f"port {own}\nbind 127.0.0.1\nsentinel monitor pifpaf 127.0.0.1 {port} 1\n")
        return self.start(own, server, str(settings), "--sentinel")

    def memcached(self, tls: pathlib.Path | None = None) -> int:
        port = free_port()
        command = ["memcached", "-u", "root", "-p", str(port), "-l", "127.0.0.1"]
        if tls:
            command += ["-Z", "-o", f"ssl_chain_cert={tls}/server_chain.pem,ssl_key={tls}/server.key"]
        return self.start(port, *command)
