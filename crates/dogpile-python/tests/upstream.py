"""Runs dogpile.cache's own tests, from its source distribution, on this package.

    python tests/upstream.py FOLDER [--theirs] [--native] [--whole] [--our-fixtures] [-n 4] [pytest arguments]

FOLDER is the unpacked source distribution. Its `tests` folder is copied away from the library beside it, and `dogpile`
is then found through the shim; `dogpile.testing`, which has most of the tests of backends, stays that of FOLDER, unless
`--our-fixtures` is given. With `--theirs` the tests run on the library in FOLDER instead, which shows that the servers
and clients are in order. Servers run on free ports and end with the tests.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from servers import Servers  # noqa: E402

PACKAGE = HERE.parent / "python"

# Puts the test suites of FOLDER in place of ours, before anything imports either.
THEIR_FIXTURES = """
import importlib.util, sys
import dogpile

def load(name, path, folders=None):
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=folders)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

load("dogpile.testing.assertions", {folder!r} + "/assertions.py")
load("dogpile.testing", {folder!r} + "/__init__.py", [{folder!r}])
load("dogpile.testing.fixtures", {folder!r} + "/fixtures.py")
"""

# The suites draw keys from 100,000, and what a test leaves on a server is not always what another can read: of the
# thousand tests of a run, two had the same key now and then. So no key is drawn twice.
KEYS = """
import importlib, itertools, os

fixtures = importlib.import_module("dogpile.testing.fixtures")
numbers = itertools.count(1)
worker = os.environ.get("PYTEST_XDIST_WORKER", "alone")
fixtures.gen_some_key = lambda: f"some_key_{worker}_{next(numbers)}"
"""

# Tests of what native backends do not have, with the reason; one that passes is an error too.
NATIVE_CANNOT = """
import re
import pytest

REASONS = {
    r"ConnectionTest::test_connect_with_(?!connection_pool|socket_keepalive_options)": "asks for calls of a client",
    r"DBMMutex.*::test_release_assertion_": "any thread may release a native lock",
}

def pytest_collection_modifyitems(items):
    for item in items:
        for pattern, reason in REASONS.items():
            if re.search(pattern, item.nodeid):
                item.add_marker(pytest.mark.xfail(strict=True, reason=reason))
"""


def ours() -> list[pathlib.Path]:
    """Returns the folders that make `dogpile` this package: as it is installed, or with an engine in this folder."""
    if os.environ.get("DOGPILE_RS_INSTALLED", "0") != "1":
        return [PACKAGE / "dogpile_rs" / "_dropin", PACKAGE]
    found = subprocess.run([sys.executable, "-m", "dogpile_rs", "--path"], capture_output=True, text=True, check=True)
    return [pathlib.Path(found.stdout.strip())]


def environment(folder: pathlib.Path, theirs: bool, native: bool) -> dict[str, str]:
    paths = [folder] if theirs else ours()
    variables = dict(os.environ, PYTHONPATH=os.pathsep.join(map(str, paths)))
    if native:
        variables["DOGPILE_NATIVE"] = "1"
    return variables


def conftest(options: argparse.Namespace, folder: pathlib.Path) -> str:
    parts = []
    if not options.theirs and not options.our_fixtures:
        parts.append(THEIR_FIXTURES.format(folder=str(folder / "dogpile" / "testing")))
    parts.append(KEYS)
    if options.native:
        parts.append(NATIVE_CANNOT)
    return "".join(parts)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--theirs", action="store_true", help="on the library in FOLDER")
    parser.add_argument("--native", action="store_true", help="the old names of backends are native")
    parser.add_argument("--whole", action="store_true", help="with the tests that take long")
    parser.add_argument("--our-fixtures", action="store_true", help="with this package's test suites for backends")
    options, further = parser.parse_known_args()
    folder = options.folder.resolve()
    if "-n" in further:
        # The tests of dbm share a file.
        further = ["--dist", "loadfile", *further]
    if not options.whole:
        further = ["-m", "not time_intensive", *further]
    with tempfile.TemporaryDirectory(prefix="dogpile-upstream-") as work:
        shutil.copytree(folder / "tests", f"{work}/tests")
        shutil.copy(folder / "pyproject.toml", work)
        pathlib.Path(work, "conftest.py").write_text(conftest(options, folder))
        with Servers(pathlib.Path(work), folder / "tests" / "tls") as servers:
            variables = environment(folder, options.theirs, options.native) | servers.variables
            return subprocess.run(
                [sys.executable, "-m", "pytest", *further], cwd=work, env=variables, check=False
            ).returncode


if __name__ == "__main__":
    sys.exit(main())
