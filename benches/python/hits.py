"""Calls of one thread in memory."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from measure import Pair, row, title

VALUE = {"id": 17, "name": "alice", "tags": ["a", "b", "c"], "score": 3.5, "active": True}


def never() -> Any:
    raise AssertionError("it is a hit")


def one(x):
    return VALUE


def three(x, y=5, z=None):
    return VALUE


def names(library: ModuleType, backend: str, expiration: float | None, proxied: bool, mangler: Any) -> dict[str, Any]:
    """A region with values, and what the statements call."""

    class Proxy(library.proxy.ProxyBackend):
        def get(self, key):
            return self.proxied.get(key)

    region = library.region.make_region(key_mangler=mangler)
    region.configure(backend, expiration_time=expiration, wrap=[Proxy] if proxied else [])
    decorated = region.cache_on_arguments()

    class Holder:
        @region.cache_on_arguments(namespace="holder")
        def method(self, x):
            return VALUE

    keys = [f"key{number}" for number in range(100)]
    region.set_multi(dict.fromkeys(keys, VALUE))
    region.set("k", VALUE)
    found = dict(region=region, f=decorated(one), g=decorated(three), holder=Holder(), keys=keys, never=never, VALUE=VALUE)
    found["f"](42), found["g"](42), found["g"](42, 7, 8), found["holder"].method(42)
    return found


MEMORY = [
    ("get", "region.get('k')", 6),
    ("get_or_create", "region.get_or_create('k', never)", 30),
    ("f(int)", "f(42)", 40),
    ("f(int, y=, z=)", "g(42, y=7, z=8)", 40),
    ("f(int) with defaults", "g(42)", 40),
    ("method(int)", "holder.method(42)", 40),
    ("set", "region.set('k', VALUE)", 2),
    ("delete, miss", "region.delete('k'); region.get_or_create('k', lambda: VALUE)", 3),
    ("get_multi of 100", "region.get_multi(keys)", 3),
    ("get_or_create_multi of 100", "region.get_or_create_multi(keys, never)", 20),
]
SHORT = [("get", "region.get('k')", None), ("get_or_create", "region.get_or_create('k', never)", None)]


def run(upstream: ModuleType, ours: ModuleType) -> None:
    table("in memory, with an expiration", upstream, ours, MEMORY)
    table("in memory, without an expiration", upstream, ours, MEMORY[:7], expiration=None)
    table("with a key mangler in Python", upstream, ours, SHORT, mangler=lambda key: key)
    proxied = [("get", "region.get('k')", None), ("get_or_create", "region.get_or_create('k', never)", 20)]
    table("behind a proxy in Python", upstream, ours, proxied, proxied=True)
    pickled = [("get_or_create", "region.get_or_create('k', never)", 4.5)]
    table("memory_pickle", upstream, ours, pickled, backend="dogpile.cache.memory_pickle")


def table(
    name: str,
    upstream: ModuleType,
    ours: ModuleType,
    statements: list[tuple[str, str, float | None]],
    *,
    backend: str = "dogpile.cache.memory",
    expiration: float | None = 3600,
    proxied: bool = False,
    mangler: Any = None,
) -> None:
    title(name)
    both = [names(library, backend, expiration, proxied, mangler) for library in (upstream, ours)]
    for what, statement, target in statements:
        row(what, *Pair(statement, *both).nanoseconds(), target)
