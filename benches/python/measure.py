"""Measuring the same statement with two libraries, in turn, in one process."""

from __future__ import annotations

import gc
import os
import timeit
from collections.abc import Mapping
from typing import Any

ROUNDS = int(os.environ.get("ROUNDS", "15"))
# The turns of a round, and the seconds that one takes.
TURNS, TURN = 8, 0.0025


class Pair:
    """One statement with upstream's names and with ours."""

    def __init__(self, statement: str, upstream: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
        self._timers = [timeit.Timer(statement, globals=dict(names)) for names in (upstream, ours)]

    def nanoseconds(self) -> tuple[float, float]:
        """The best of many short turns, in which the two alternate: on a busy machine, some of them are not interrupted."""
        numbers = []
        for timer in self._timers:
            number, took = timer.autorange()
            numbers.append(max(1, int(number * TURN / took)))
        best = [float("inf"), float("inf")]
        gc.disable()
        try:
            for _ in range(TURNS * ROUNDS):
                for place, (timer, number) in enumerate(zip(self._timers, numbers)):
                    best[place] = min(best[place], timer.timeit(number) / number * 1e9)
        finally:
            gc.enable()
        return best[0], best[1]


def best_of(statement: str, names: Mapping[str, Any], seconds: float = 0.02) -> float:
    """The best time of one statement, in nanoseconds."""
    timer = timeit.Timer(statement, globals=dict(names))
    number, took = timer.autorange()
    number = max(1, int(number * seconds / took))
    return min(timer.repeat(ROUNDS, number)) / number * 1e9


def title(text: str) -> None:
    print(f"\n{text}\n{'':34}{'upstream':>12}{'dogpile_rs':>12}{'ratio':>9}", flush=True)


def row(name: str, upstream: float, ours: float, target: float | None = None, unit: str = "ns") -> None:
    ratio = upstream / ours
    says = "" if target is None else f"  (target {target:g}){'' if ratio >= target else ' MISSED'}"
    print(f"  {name:32}{shown(upstream, unit):>12}{shown(ours, unit):>12}{ratio:8.1f} x{says}", flush=True)


def shown(value: float, unit: str) -> str:
    return f"{value:.0f} {unit}" if value >= 10 else f"{value:.2f} {unit}"
