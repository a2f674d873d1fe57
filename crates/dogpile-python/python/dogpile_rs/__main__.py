"""Runs a program with `dogpile` found in this package, or prints the folder that does the same from PYTHONPATH."""

from __future__ import annotations

import os
import runpy
import sys

from ._shim import DROP_IN, install

USAGE = """\
usage: python -m dogpile_rs [-m MODULE | SCRIPT] [ARGUMENT ...]
       PYTHONPATH=$(python -m dogpile_rs --path) python ...
"""


def main() -> int:
    arguments = sys.argv[1:]
    if arguments == ["--path"]:
        print(DROP_IN)
        return 0
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0 if arguments else 2
    install()
    if arguments[0] == "-m":
        if len(arguments) < 2:
            print(USAGE, end="", file=sys.stderr)
            return 2
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        # As `python SCRIPT` does; with `-m` it was the working folder.
        sys.path[0] = os.path.dirname(os.path.abspath(arguments[0]))
        runpy.run_path(arguments[0], run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main())
