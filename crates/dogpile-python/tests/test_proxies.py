"""Backends and proxies in Python, which the engine reads through a generator that stays between calls."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest
from dogpile_rs.cache import make_region
from dogpile_rs.cache.api import NO_VALUE
from dogpile_rs.cache.proxy import ProxyBackend


def never():
    raise AssertionError("it is there")


class Watching(ProxyBackend):
    """Says what it is asked for, and lets a test do something at that moment."""

    def __init__(self):
        self.asked = []
        self.meanwhile = lambda key: None

    def get(self, key):
        self.asked.append(key)
        self.meanwhile(key)
        return self.proxied.get(key)

    def get_serialized(self, key):
        self.asked.append(key)
        self.meanwhile(key)
        return self.proxied.get_serialized(key)


@pytest.fixture(params=["memory", "memory_pickle"])
def region(request):
    region = make_region().configure(f"dogpile.cache.{request.param}", expiration_time=60, wrap=[Watching])
    region.set_multi({"a": 1, "b": 2})
    return region


def test_every_hit_asks_the_proxy_once(region):
    assert region.get("a") == region.get_or_create("b", never) - 1 == region.get_value_metadata("a").payload == 1
    cached = region.cache_on_arguments(function_key_generator=lambda *_: lambda key: key)
    assert cached(lambda key: never())("a") == 1
    assert region.backend.asked == ["a", "b", "a", "a"]


def test_an_exception_of_a_proxy_reaches_the_caller_every_time(region):
    def fail(key):
        if key == "a":
            raise LookupError(key)

    region.backend.meanwhile = fail
    for _ in range(3):
        with pytest.raises(LookupError, match="a"):
            region.get("a")
        with pytest.raises(LookupError, match="a"):
            region.get_or_create("a", never)
        assert region.get("b") == 2


def test_a_proxy_may_read_other_keys_of_its_region(region):
    found = []
    region.backend.meanwhile = lambda key: key == "a" and found.append((region.get("b"), region.get("absent")))
    assert region.get("a") == region.get_or_create("a", never) == 1
    assert found == [(2, NO_VALUE)] * 2


def test_threads_read_while_one_is_within_a_proxy(region):
    going, may_end, results = threading.Event(), threading.Event(), []

    def wait(key):
        if key == "a":
            going.set()
            assert may_end.wait(20)

    region.backend.meanwhile = wait
    first = threading.Thread(target=lambda: results.append(region.get("a")))
    first.start()
    assert going.wait(20)
    assert region.get("b") == region.get_or_create("b", never) == 2 and not results
    may_end.set()
    first.join(20)
    assert results == [1]


def test_a_method_that_is_replaced_later_is_called(region, monkeypatch):
    assert region.get("a") == 1
    name = "get" if region.deserializer is None else "get_serialized"
    monkeypatch.setattr(region.backend, name, lambda key: NO_VALUE)
    assert region.get("a") is NO_VALUE
    monkeypatch.undo()
    assert region.get("a") == 1
    monkeypatch.setattr(Watching, name, lambda self, key: NO_VALUE)
    assert region.get("a") is NO_VALUE


def test_another_backend_and_another_codec_are_asked_from_then_on(region):
    assert region.get("a") == 1
    region.wrap(Watching)
    assert region.get("a") == 1 and region.backend.asked == ["a"]
    region.configure("dogpile.cache.memory", replace_existing_backend=True)
    assert region.get("a") is NO_VALUE


def test_a_region_and_its_values_are_collected():
    class Value:
        pass

    value = Value()
    region = make_region().configure("dogpile.cache.memory", wrap=[Watching])
    region.backend.region = region
    region.set("k", value)
    assert region.get("k") is value
    told, gone = weakref.ref(value), weakref.ref(region)
    region.delete("k")
    del value
    assert told() is None
    del region
    gc.collect()
    assert gone() is None
