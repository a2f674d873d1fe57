"""Runs programs that were written for dogpile.cache on it, and then on this package through the shim.

    python tests/third_parties.py SQLALCHEMY

The Python needs oslo.cache with its tests, ddtrace, dogpile.cache and SQLAlchemy; SQLALCHEMY is the unpacked source
distribution of the latter, which has the examples. The tests of oslo.cache must pass, each example must run as many
queries on either, and Datadog's tracer must see the same.
"""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
PACKAGE = HERE.parent / "python"
DROP_IN = os.pathsep.join([str(PACKAGE / "dogpile_rs" / "_dropin"), str(PACKAGE)])
OSLO = ("oslo_cache.tests.unit", "oslo_cache.tests.test_cache")
EXAMPLES = ("helloworld", "relationship_caching", "advanced", "local_session_caching")


def run(command: list[str], folder: str, paths: str) -> str:
    variables = dict(os.environ, PYTHONPATH=paths)
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=variables, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{command} failed with PYTHONPATH={paths}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done.stdout + done.stderr


def spans(paths: str) -> list[str]:
    """Returns the spans of a program, and its own lines. There is nobody to send them to."""
    output = run([str(HERE / "traced.py")], ".", paths)
    return [line for line in output.splitlines() if not line.startswith("failed to send")]


def prepared(examples: pathlib.Path, folder: str) -> None:
    """Puts the examples into the folder, and the data that they create at random."""
    shutil.copytree(examples, f"{folder}/examples/dogpile_caching")
    pathlib.Path(folder, "examples", "__init__.py").touch()
    os.mkdir(f"{folder}/dogpile_data")
    run(["-c", "import examples.dogpile_caching.model"], folder, "")
    for cached in pathlib.Path(folder, "dogpile_data").glob("cache*"):
        cached.unlink()


def queries(data: str, paths: str) -> list[list[int]]:
    """Returns the number of SELECTs of each example: in the first round, and in the second, which finds a cache."""
    with tempfile.TemporaryDirectory(prefix="dogpile-examples-") as folder:
        shutil.copytree(data, folder, dirs_exist_ok=True)
        rounds = []
        for _ in range(2):
            outputs = [run(["-m", f"examples.dogpile_caching.{name}"], folder, paths) for name in EXAMPLES]
            rounds.append([len(re.findall(r"Engine SELECT", output)) for output in outputs])
        return rounds


def main() -> None:
    examples = pathlib.Path(sys.argv[1]).resolve() / "examples" / "dogpile_caching"
    for name, paths in (("dogpile.cache", ""), ("dogpile_rs", DROP_IN)):
        where = run(["-c", "import dogpile.cache; print(dogpile.cache.__file__)"], ".", paths)
        assert ("dogpile_rs" in where) == (name == "dogpile_rs"), where
        summary = run(["-m", "pytest", "-q", "-p", "no:cacheprovider", "--pyargs", *OSLO], ".", paths)
        print(f"{name}: oslo.cache: {summary.strip().splitlines()[-1]}")
    with tempfile.TemporaryDirectory(prefix="dogpile-examples-") as data:
        prepared(examples, data)
        theirs, ours = queries(data, ""), queries(data, DROP_IN)
    print(f"queries of {EXAMPLES}: dogpile.cache {theirs}, dogpile_rs {ours}")
    if theirs != ours:
        sys.exit("the numbers of queries differ")
    theirs, ours = spans(""), spans(DROP_IN)
    print(f"Datadog's tracer: {len(ours)} lines, the first is {ours[0]!r}")
    if theirs != ours or not any("hit=True" in line for line in ours):
        sys.exit(f"the spans differ: {theirs} and {ours}")


if __name__ == "__main__":
    main()
