"""Programs of random calls do the same here as on dogpile.cache: results, exceptions, calls of the backend, log."""

from __future__ import annotations

import pytest

pytest.importorskip("dogpile.cache", reason="dogpile.cache is not installed")

import model  # noqa: E402
from conftest import Clock  # noqa: E402

KINDS = [
    "memory",
    "memory mangler",
    "memory json",
    "memory proxy",
    "memory strategy",
    "memory runner",
    "memory proxy mangler strategy",
    "pickle",
    "pickle proxy",
    "json proxy runner",
]


@pytest.mark.parametrize("kind", KINDS)
def test_random_programs_do_the_same_on_both(kind: str, clock: Clock) -> None:
    theirs, ours = model.Library("dogpile"), model.Library("dogpile_rs")
    assert theirs.cache is not ours.cache
    for seed in range(150):
        expected = model.run(theirs, kind, seed, clock)
        got = model.run(ours, kind, seed, clock)
        for what, e, g in zip(("results", "calls", "log"), expected, got):
            differing = [(n, a, b) for n, (a, b) in enumerate(zip(e, g)) if a != b]
            context = e[max(0, differing[0][0] - 6) : differing[0][0]] if differing else e[-6:]
            assert e == g, f"seed {seed}: {what} differ at {differing[:1] or (len(e), len(g))} after {context}"
