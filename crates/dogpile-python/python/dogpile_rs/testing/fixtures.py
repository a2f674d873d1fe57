"""Test suites for backends, to be inherited from by classes that pytest collects.

A class that derives from `_GenericBackendTestSuite` and has `backend = "my_backend"` and `config_args =
{"arguments": {"url": "127.0.0.1"}}` runs all tests of the suite on that backend.
"""

from __future__ import annotations

import itertools
import json
import random
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import pytest

from ..cache import CacheRegion, register_backend
from ..cache.api import NO_VALUE, CacheBackend, CacheMutex, CantDeserializeException
from ..cache.backends import _backend_loader
from .assertions import assert_raises_message, eq_


def gen_some_key() -> str:
    """Returns a key that other tests probably do not use."""
    return f"some_key_{random.randint(1, 100_000)}"


def run_threads(count: int, function: Any) -> None:
    threads = [threading.Thread(target=function) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class _GenericBackendFixture:
    """Regions and backends as a test class configures them.

    A class may refine `region_args` and `config_args` of its bases, and defines `_check_backend_available` to skip its
    tests where the server is away.
    """

    backend: str
    region_args: ClassVar[Mapping[str, Any]] = {}
    config_args: ClassVar[Mapping[str, Any]] = {}
    extra_arguments: ClassVar[Mapping[str, Any]] = {}
    # Names of arguments, where `config_args` has none.
    backend_argument_names: ClassVar[Iterable[str]] = ()

    _region_inst: CacheRegion | None = None
    _backend_inst: Any = None
    # Those that were used, to be deleted when the test is over.
    _keys: ClassVar[set[Any]] = set()

    @classmethod
    def setup_class(cls) -> None:
        backend_cls = _backend_loader.load(cls.backend)
        try:
            backend = backend_cls(cls.config_args.get("arguments", {}))
        except ImportError:
            pytest.skip(f"the client of backend {cls.backend} is not installed")
        cls._check_backend_available(backend)

    @classmethod
    def _check_backend_available(cls, backend: Any) -> None:
        pass

    def teardown_method(self, method: Any) -> None:
        if self._region_inst is not None:
            for key in self._keys:
                self._region_inst.backend.delete(key)
            self._keys.clear()

    def _region(
        self,
        backend: str | None = None,
        region_args: Mapping[str, Any] = {},
        config_args: Mapping[str, Any] = {},
    ) -> CacheRegion:
        own: dict[str, Any] = {}
        for base in reversed(type(self).__mro__):
            own.update(vars(base).get("region_args", {}))
        region = self._region_inst = CacheRegion(**{**own, **region_args})
        mangler = region.key_mangler

        def noting(key: Any) -> Any:
            stored_key = key if mangler is None else mangler(key)
            self._keys.add(stored_key)
            return stored_key

        region.key_mangler = region._user_defined_key_mangler = noting
        region.configure(backend or self.backend, **{**self.config_args, **config_args})
        return region

    def _backend(self) -> Any:
        arguments = {**self.config_args.get("arguments", {}), **self.extra_arguments}
        self._backend_inst = _backend_loader.load(self.backend)(arguments)
        return self._backend_inst


class _GenericBackendTestSuite(_GenericBackendFixture):
    """A backend keeps what it is given, and regions do what they should over it."""

    def test_backend_get_nothing(self) -> None:
        eq_(self._backend().get_serialized(gen_some_key()), NO_VALUE)

    def test_backend_delete_nothing(self) -> None:
        self._backend().delete(gen_some_key())

    def test_backend_set_get_value(self) -> None:
        backend, key = self._backend(), gen_some_key()
        backend.set_serialized(key, b"a value")
        eq_(backend.get_serialized(key), b"a value")
        backend.delete(key)

    def test_backend_delete(self) -> None:
        backend, key = self._backend(), gen_some_key()
        backend.set_serialized(key, b"a value")
        backend.delete(key)
        eq_(backend.get_serialized(key), NO_VALUE)

    def test_region_is_key_locked(self) -> None:
        region, key = self._region(), str(uuid.uuid1())
        assert not region.key_is_locked(key)
        assert not region.key_is_locked(key), "to ask must not take the lock"
        mutex = region.backend.get_mutex(key)
        if mutex is not None:
            mutex.acquire()
            assert region.key_is_locked(key)
            mutex.release()
            assert not region.key_is_locked(key)

    def test_region_set_get_value(self) -> None:
        region, key = self._region(), gen_some_key()
        region.set(key, "a value")
        eq_(region.get(key), "a value")

    def test_region_set_multiple_values(self) -> None:
        region = self._region()
        region.set_multi({"key1": "one", "key2": "two", "key3": "three"})
        eq_([region.get(key) for key in ("key1", "key2", "key3")], ["one", "two", "three"])

    def test_region_get_zero_multiple_values(self) -> None:
        eq_(self._region().get_multi([]), [])

    def test_region_set_zero_multiple_values(self) -> None:
        self._region().set_multi({})

    def test_region_set_zero_multiple_values_w_decorator(self) -> None:
        eq_(self._region().get_or_create_multi([], lambda: []), [])

    def test_region_get_or_create_multi_w_should_cache_none(self) -> None:
        region = self._region()
        values = region.get_or_create_multi(
            ["key1", "key2", "key3"],
            lambda *keys: [None for _ in keys],
            should_cache_fn=lambda value: value is not None,
        )
        eq_(values, [None, None, None])
        eq_(region.get("key1"), NO_VALUE)

    def test_region_get_multiple_values(self) -> None:
        region = self._region()
        for name in ("one", "two", "three"):
            region.set(f"key {name}", name)
        eq_(region.get_multi(["key three", "key one", "key two"]), ["three", "one", "two"])

    def test_region_get_nothing_multiple(self) -> None:
        region, keys = self._region(), [f"key{n}" for n in range(6)]
        region.delete_multi(keys)
        region.set_multi({"key0": 0, "key2": 2})
        eq_(region.get_multi(keys), [0, NO_VALUE, 2, NO_VALUE, NO_VALUE, NO_VALUE])

    def test_region_get_empty_multiple(self) -> None:
        eq_(self._region().get_multi([]), [])

    def test_region_delete_multiple(self) -> None:
        region = self._region()
        region.set_multi({"key1": 1, "key2": 2, "key3": 3})
        region.delete_multi(["key2", "an absent key"])
        eq_(region.get_multi(["key1", "key2", "key3"]), [1, NO_VALUE, 3])

    def test_region_set_get_nothing(self) -> None:
        region, key = self._region(), gen_some_key()
        region.delete_multi([key])
        eq_(region.get(key), NO_VALUE)

    def test_region_creator(self) -> None:
        region, key = self._region(), gen_some_key()
        region.delete(key)
        eq_(region.get_or_create(key, lambda: "created"), "created")
        eq_(region.get_or_create(key, lambda: "not created"), "created")

    @pytest.mark.time_intensive
    def test_threaded_dogpile(self) -> None:
        region, key = self._region(config_args={"expiration_time": 0.25}), gen_some_key()
        one_at_a_time, alone = threading.Lock(), []

        def creator() -> str:
            is_alone = one_at_a_time.acquire(False)
            alone.append(is_alone)
            time.sleep(0.25)
            if is_alone:
                one_at_a_time.release()
            return "a value"

        def use() -> None:
            for _ in range(5):
                region.get_or_create(key, creator)
                time.sleep(0.5)

        run_threads(10, use)
        assert len(alone) > 2
        if not region.backend.has_lock_timeout():
            assert all(alone)

    @pytest.mark.time_intensive
    def test_threaded_get_multi(self) -> None:
        region = self._region(config_args={"expiration_time": 0.25})
        # A lock of the backend's own may let two creators run where a value has just expired.
        is_of_process = region.backend.get_mutex(gen_some_key()) is None
        one_at_a_time = {str(n): threading.Lock() for n in range(11)}
        alone: defaultdict[str, list[bool]] = defaultdict(list)

        def creator(*keys: str) -> list[str]:
            assert keys
            taken = {key: one_at_a_time[key].acquire(False) for key in keys}
            for key, is_alone in taken.items():
                alone[key].append(is_alone)
            time.sleep(0.5)
            for key, is_alone in taken.items():
                if is_alone:
                    one_at_a_time[key].release()
            return [f"value {key}" for key in keys]

        def use() -> None:
            for _ in range(5):
                keys = [str(random.randint(1, 10)) for _ in range(random.randint(1, 5))]
                eq_(region.get_or_create_multi(keys, creator), [f"value {key}" for key in keys])
                time.sleep(0.5)

        run_threads(5, use)
        assert sum(map(len, alone.values())) > 10
        if is_of_process:
            assert all(all(each) for each in alone.values())

    def test_region_delete(self) -> None:
        region, key = self._region(), gen_some_key()
        region.set(key, "a value")
        region.delete(key)
        region.delete(key)
        eq_(region.get(key), NO_VALUE)

    @pytest.mark.time_intensive
    def test_region_expire(self) -> None:
        region, key = self._region(config_args={"expiration_time": 1}), gen_some_key()
        region.delete(key)
        count = itertools.count(1)
        eq_(region.get_or_create(key, lambda: next(count)), 1)
        time.sleep(1.2)
        eq_(region.get(key), NO_VALUE)
        # The backend may have forgotten it.
        assert region.get(key, ignore_expiration=True) in (1, NO_VALUE)
        eq_(region.get_or_create(key, lambda: next(count)), 2)
        eq_(region.get(key), 2)

    def test_decorated_fn_functionality(self) -> None:
        region, count = self._region(), itertools.count(1)

        @region.cache_on_arguments()
        def my_function(x: int, y: int) -> tuple[int, int, int]:
            return next(count), x, y

        for arguments in ((3, 4), (5, 6), (4, 3)):
            my_function.invalidate(*arguments)
        eq_(tuple(my_function(3, 4)), (1, 3, 4))
        eq_(tuple(my_function(5, 6)), (2, 5, 6))
        eq_(tuple(my_function(3, 4)), (1, 3, 4))
        my_function.invalidate(3, 4)
        eq_(tuple(my_function(3, 4)), (3, 3, 4))

    def test_exploding_value_fn(self) -> None:
        def boom() -> None:
            raise Exception("boom")

        assert_raises_message(Exception, "boom", self._region().get_or_create, gen_some_key(), boom)

    def test_argument_dictionary_unmodified(self) -> None:
        given = {name: "some value" for name in self.backend_argument_names} or dict(self.config_args["arguments"])
        given |= {"arbitrary_arg_one": "a", "arbitrary_arg_two": "b"}
        before = dict(given)
        CacheRegion().configure(self.backend, arguments=given)
        eq_(given, before)


def raise_cant_deserialize_exception(v: Any) -> Any:
    raise CantDeserializeException()


class _GenericSerializerTestSuite:
    """A region's own serializer is used over the backend. It comes before the backend's suite among the bases."""

    region_args: ClassVar[Mapping[str, Any]] = {
        "serializer": lambda value: json.dumps(value).encode("ascii"),
        "deserializer": json.loads,
    }
    _region: Any

    def test_serializer_cant_deserialize(self) -> None:
        region = self._region(region_args={"deserializer": raise_cant_deserialize_exception})
        region.set("k", {"foo": ["bar", 1, False, None]})
        eq_(region.get("k"), NO_VALUE)

    def test_uses_serializer(self) -> None:
        region, value = self._region(), {"foo": ["bar", 1, False, None]}
        region.set("k", value)
        stored = region.backend.get_serialized("k")
        eq_(stored.partition(b"|")[2], json.dumps(value).encode("ascii"))
        eq_(region._parse_serialized_from_backend(stored).payload, value)

    def test_uses_deserializer(self) -> None:
        region, value = self._region(), {"foo": ["bar", 1, False, None]}
        region.set("k", value)
        eq_(region.get("k"), value)


class _GenericMutexTestSuite(_GenericBackendFixture):
    """The locks of a backend that has its own."""

    def test_mutex(self) -> None:
        mutex = self._backend().get_mutex("foo")
        assert not mutex.locked()
        assert mutex.acquire()
        assert not mutex.acquire(False)
        assert mutex.locked()
        mutex.release()
        assert not mutex.locked()
        assert mutex.acquire()
        mutex.release()

    def test_subclass_match(self) -> None:
        assert isinstance(self._backend().get_mutex("foo"), CacheMutex)

    @pytest.mark.time_intensive
    def test_mutex_threaded(self) -> None:
        backend, one_at_a_time = self._backend(), threading.Lock()
        alone: list[bool] = []

        def use() -> None:
            for _ in range(5):
                mutex = backend.get_mutex("foo")
                mutex.acquire()
                for _ in range(5):
                    is_alone = one_at_a_time.acquire(False)
                    alone.append(is_alone)
                    time.sleep(0.002)
                    if is_alone:
                        one_at_a_time.release()
                mutex.release()
                time.sleep(0.02)

        run_threads(5, use)
        assert all(alone)

    def test_mutex_reentrant_across_keys(self) -> None:
        backend = self._backend()
        for _ in range(3):
            first, second = backend.get_mutex("foo"), backend.get_mutex("bar")
            first.acquire()
            try:
                for _ in range(2):
                    assert second.acquire(False)
                    assert not second.acquire(False)
                    second.release()
            finally:
                first.release()

    def test_reentrant_dogpile(self) -> None:
        region = self._region()

        def create_foo() -> str:
            return f"foo{region.get_or_create('bar', lambda: 'bar')}"

        eq_(region.get_or_create("foo", create_foo), "foobar")
        eq_(region.get_or_create("foo", create_foo), "foobar")


class MockMutex:
    """A lock that everybody gets."""

    def __init__(self, key: str) -> None:
        self.key = key

    def acquire(self, blocking: bool = True) -> bool:
        return True

    def release(self) -> None:
        pass

    def locked(self) -> bool:
        return False


class MockBackend(CacheBackend):
    """Keeps objects in a dict, with locks that do not lock; its name is "mock"."""

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self.arguments = arguments
        self._cache: dict[Any, Any] = {}

    def get_mutex(self, key: str) -> Any:
        return MockMutex(key)

    def get(self, key: str) -> Any:
        return self._cache.get(key, NO_VALUE)

    def get_multi(self, keys: Iterable[str]) -> list[Any]:
        return [self.get(key) for key in keys]

    def set(self, key: str, value: Any) -> None:
        self._cache[key] = value

    def set_multi(self, mapping: Mapping[str, Any]) -> None:
        for key, value in mapping.items():
            self.set(key, value)

    def delete(self, key: str) -> None:
        self._cache.pop(key, None)

    def delete_multi(self, keys: Iterable[str]) -> None:
        for key in keys:
            self.delete(key)


register_backend("mock", __name__, "MockBackend")
