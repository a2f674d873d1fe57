"""The common part of the tests: the package, a clock that is moved by hand, and servers."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator

import pytest

HERE = pathlib.Path(__file__).resolve().parent
SOURCES = HERE.parent / "python"

# The package that is installed, if it is; else the one of this folder, with an engine that was built into it.
INSTALLED = os.environ.get("DOGPILE_RS_INSTALLED", "0") == "1"
if not INSTALLED:
    sys.path.insert(0, str(SOURCES))

import dogpile_rs.cache  # noqa: E402, F401


class Clock:
    """`time.time`, moved by hand."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("time.time", clock)
    return clock


@pytest.fixture
def run_python(tmp_path: pathlib.Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a program of its own, with the package importable, and returns what it has printed."""

    def run(program: str, *arguments: str, check: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
        script = tmp_path / "program.py"
        script.write_text(textwrap.dedent(program))
        environment = dict(os.environ, **variables)
        if not INSTALLED:
            paths = [variables.get("PYTHONPATH", ""), str(SOURCES)]
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        done = subprocess.run(
            [sys.executable, *(arguments or [str(script)])],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    return run


@pytest.fixture(scope="session")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    from servers import Servers

    with Servers(tmp_path_factory.mktemp("redis"), start=False) as servers:
        yield servers.redis("redis-server")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where all that tests need is installed, one that was skipped is a failure."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter and reporter.stats.get("skipped") and os.environ.get("DOGPILE_RS_NOTHING_SKIPPED"):
        for report in reporter.stats["skipped"]:
            reporter.write_line(f"skipped: {report.longrepr}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
