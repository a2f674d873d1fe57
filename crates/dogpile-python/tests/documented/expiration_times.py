"""Expiration times that a function tells, and values that are not worth keeping."""

import time

from dogpile.cache import make_region

now = [1_700_000_000.0]
time.time = lambda: now[0]
limit, runs = [10], []
region = make_region().configure("dogpile.cache.memory", expiration_time=100)


@region.cache_on_arguments(expiration_time=lambda: limit[0])
def rates():
    runs.append("rates")
    return len(runs)


@region.cache_on_arguments(expiration_time=-1)
def constant():
    runs.append("constant")
    return len(runs)


@region.cache_on_arguments(should_cache_fn=lambda row: row is not None)
def row(number):
    runs.append(number)
    return {1: "one"}.get(number)


print(rates(), constant(), row(1), row(2))
now[0] += 11
print(rates(), constant(), row(1), row(2), runs)
limit[0] = 1000
now[0] += 500
print(rates(), constant(), row(1), runs)
