"""Decorated functions are real functions, and they notice who replaces `get_or_create`."""

from __future__ import annotations

import asyncio
import functools
import inspect
import itertools
import pickle
import traceback
import typing
from unittest import mock

import pytest
from dogpile_rs.cache import CacheRegion, make_region
from dogpile_rs.cache.api import NO_VALUE
from dogpile_rs.cache.util import kwarg_function_key_generator

REGION = make_region().configure("dogpile.cache.memory", expiration_time=60)


@REGION.cache_on_arguments()
def at_module_level(a: int, b: str = "x") -> tuple[int, str]:
    """Has a documentation."""
    return a, b


@pytest.fixture
def region() -> CacheRegion:
    return make_region().configure("dogpile.cache.memory", expiration_time=60)


def test_it_is_a_function_with_the_name_and_signature_of_the_other() -> None:
    assert inspect.isfunction(at_module_level)
    assert at_module_level.__name__ == "at_module_level" and at_module_level.__module__ == __name__
    assert at_module_level.__doc__ == "Has a documentation."
    assert str(inspect.signature(at_module_level)) == "(a: 'int', b: 'str' = 'x') -> 'tuple[int, str]'"
    assert typing.get_type_hints(at_module_level)["a"] is int
    assert at_module_level.original(1) == (1, "x")


def test_it_is_pickled_by_name() -> None:
    assert pickle.loads(pickle.dumps(at_module_level)) is at_module_level


SIGNATURES = [
    (lambda: 0, (), {}),
    (lambda a: a, (1,), {}),
    (lambda a: a, (), {"a": 1}),
    (lambda a, b=2: (a, b), (1,), {}),
    (lambda a, b=2: (a, b), (), {"b": 5, "a": 1}),
    (lambda a, b, c: (a, b, c), (1, 2, 3), {}),
    (lambda a, b, c, d=4, e=None: (a, b, c, d, e), (1, 2, 3), {"e": 9}),
    (lambda *c: c, (1, 2), {}),
    (lambda a, *c: (a, c), (1, 2, 3), {}),
    (lambda a, /, b=1: (a, b), (3,), {"b": 2}),
    (lambda call, key="k", value=1, peek=2: (call, key, value, peek), (5,), {"value": 6}),
]


@pytest.mark.parametrize(("function", "args", "kw"), SIGNATURES)
def test_arguments_arrive_as_they_would_without_a_cache(region: CacheRegion, function, args, kw) -> None:
    calls = mock.Mock(side_effect=function)
    # The decorator reads the signature of the function itself.
    counted = functools.wraps(function)(lambda *a, **k: calls(*a, **k))
    cached = region.cache_on_arguments()(counted)
    assert cached(*args, **kw) == function(*args, **kw)
    assert cached(*args, **kw) == function(*args, **kw)
    assert calls.call_count == 1
    assert cached.get(*args, **kw) == function(*args, **kw), "the same key as that of the call"
    cached.invalidate(*args, **kw)
    assert cached.get(*args, **kw) is NO_VALUE


@pytest.mark.parametrize(("args", "kw"), [((), {}), ((1, 2, 3), {}), ((1,), {"c": 2}), ((1,), {"a": 2})])
def test_wrong_arguments_are_a_type_error_of_that_function(region: CacheRegion, args, kw) -> None:
    @region.cache_on_arguments()
    def wanted(a, b=1):
        raise AssertionError

    with pytest.raises(TypeError):
        wanted(*args, **kw)


@pytest.mark.parametrize("declared", ["*, k=1", "a, *, k", "**kw"])
def test_the_usual_keys_have_no_keyword_arguments(region: CacheRegion, declared: str) -> None:
    names: dict[str, object] = {}
    exec(f"def function({declared}): return 0", {"__name__": __name__}, names)
    cached = region.cache_on_arguments()(names["function"])
    assert inspect.getfullargspec(cached) == inspect.getfullargspec(names["function"])
    with pytest.raises(ValueError, match="does not accept keyword arguments"):
        cached(**({"a": 1} if "a" in declared.split(",")[0] else {}), k=3)


def test_the_generator_for_keywords_takes_them(region: CacheRegion) -> None:
    count = itertools.count()

    @region.cache_on_arguments(function_key_generator=kwarg_function_key_generator)
    def numbered(a, *, k=1):
        return next(count), a, k

    assert numbered(1) == numbered(a=1, k=1) == (0, 1, 1)
    assert numbered(1, k=2) == (1, 1, 2)


def test_methods_of_all_kinds_leave_the_object_out(region: CacheRegion) -> None:
    class Shop:
        @region.cache_on_arguments()
        def price(self, item):
            return "price", item

        @classmethod
        @region.cache_on_arguments()
        def name(cls, item):
            return cls.__name__, item

        @staticmethod
        @region.cache_on_arguments()
        def rate(item):
            return "rate", item

        @region.cache_multi_on_arguments()
        def many(self, *items):
            return [("many", item) for item in items]

    assert Shop().price(1) == ("price", 1) and Shop.name(1) == ("Shop", 1) and Shop.rate(1) == ("rate", 1)
    assert Shop().many(1, 2) == [("many", 1), ("many", 2)]
    keys = {f"{__name__}:{name}|1" for name in ("price", "name", "rate", "many")}
    assert keys <= set(region.backend._cache)
    Shop().price.invalidate(None, 1)
    assert f"{__name__}:price|1" not in region.backend._cache


def test_companions_fill_in_defaults(region: CacheRegion) -> None:
    @region.cache_on_arguments()
    def added(a, b=2):
        return a + b

    assert added(1) == 3 and added.get(1) == added.get(1, 2) == added.get(a=1) == 3
    assert added.key(1) == added.key(b=2, a=1) == f"{__name__}:added|1 2"
    added.set(10, b=2, a=1)
    assert added(1) == 10
    assert added.refresh(1) == 3 and added(1) == 3
    added.invalidate(1)
    assert added.get(1, 2) is NO_VALUE


def test_errors_have_the_name_of_the_function_in_their_traceback(region: CacheRegion) -> None:
    @region.cache_on_arguments()
    def unlucky():
        raise LookupError

    with pytest.raises(LookupError) as caught:
        unlucky()
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert names.count("unlucky") == 2


def test_to_str_and_namespace_are_part_of_the_key(region: CacheRegion) -> None:
    @region.cache_on_arguments(namespace="ns", to_str=lambda value: f"<{value}>")
    def shown(a, b):
        return a

    shown(1, 2)
    assert list(region.backend._cache) == [f"{__name__}:shown|ns|<1> <2>"]


def test_expiration_and_veto_of_a_function(region: CacheRegion, clock) -> None:
    count = itertools.count(1)

    @region.cache_on_arguments(expiration_time=lambda: 5, should_cache_fn=lambda value: value != 2)
    def numbered():
        return next(count)

    assert [numbered(), numbered()] == [1, 1]
    clock.pass_by(6)
    assert [numbered(), numbered(), numbered()] == [2, 3, 3]


def test_get_or_create_of_a_subclass_is_called() -> None:
    seen = []

    class Traced(CacheRegion):
        def get_or_create(self, key, *args, **kw):
            seen.append(key)
            return super().get_or_create(key, *args, **kw)

    region = Traced().configure("dogpile.cache.memory")
    function = region.cache_on_arguments()(lambda a: a)
    function(1), function(1)
    assert len(seen) == 2


def test_get_or_create_that_is_replaced_afterwards_is_called(region: CacheRegion) -> None:
    function = region.cache_on_arguments()(lambda a: a)
    assert function(1) == 1
    with mock.patch.object(region, "get_or_create", return_value="mocked"):
        assert function(1) == "mocked"
    assert function(1) == 1


def test_get_or_create_that_is_replaced_in_the_class_is_called(run_python) -> None:
    run_python("""
        from unittest import mock
        from dogpile_rs.cache import make_region, CacheRegion
        region = make_region().configure("dogpile.cache.memory")
        function = region.cache_on_arguments()(lambda a: a)
        assert function(1) == 1
        with mock.patch.object(CacheRegion, "get_or_create", return_value="mocked"):
            assert function(1) == "mocked"
        assert function(1) == 1
    """)


def test_a_lock_that_is_replaced_is_used(run_python) -> None:
    run_python("""
        import dogpile_rs.lock
        from dogpile_rs.cache import make_region
        calls, original = [], dogpile_rs.lock.Lock.__init__
        def traced(self, *args, **kw):
            calls.append(1)
            original(self, *args, **kw)
        region = make_region().configure("dogpile.cache.memory")
        function = region.cache_on_arguments()(lambda a: a)
        function(1)
        assert not calls, "values in memory need no lock of Python's"
        dogpile_rs.lock.Lock.__init__ = traced
        assert (function(1), region.get_or_create("k", lambda: 2)) == (1, 2)
        assert len(calls) == 2
    """)


def test_coroutine_functions_stay_some(region: CacheRegion) -> None:
    count = itertools.count()

    @region.cache_on_arguments()
    async def numbered(key, value=0):
        return next(count), key, value

    @region.cache_multi_on_arguments(asdict=True)
    async def many(*keys):
        return {key: next(count) for key in keys if key != "left out"}

    async def use() -> None:
        assert await numbered(1) == await numbered(key=1, value=0) == (0, 1, 0)
        assert await numbered.get(1) == (0, 1, 0)
        assert await numbered.refresh(1) == await numbered(1) == (1, 1, 0)
        await numbered.set("set", 1)
        assert await numbered(1) == "set"
        await numbered.invalidate(1)
        assert await numbered.get(1) is NO_VALUE
        assert await many("a", "b", "left out") == {"a": 2, "b": 3}
        assert await many("b", "c") == {"b": 3, "c": 4}

    assert inspect.iscoroutinefunction(numbered) and inspect.iscoroutinefunction(many)
    asyncio.run(use())
