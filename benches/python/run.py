"""Benchmarks of dogpile_rs beside dogpile.cache, in one process: `run.py [hits] [threads] [aio] [remote] [fleet]`."""

from __future__ import annotations

import sys

import dogpile.cache.proxy
import dogpile.cache.region

import dogpile_rs.cache.proxy
import dogpile_rs.cache.region

PARTS = ["hits", "threads", "aio", "remote", "fleet"]


def main(chosen: list[str]) -> None:
    print(f"dogpile.cache {dogpile.__version__}, dogpile_rs {dogpile_rs.__version__}, Python {sys.version.split()[0]}")
    for part in chosen or PARTS:
        __import__(part).run(dogpile.cache, dogpile_rs.cache)


if __name__ == "__main__":
    main(sys.argv[1:])
