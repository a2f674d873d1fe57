"""Regions: settings, keys, expiry, invalidation, and what subclasses and late assignments change."""

from __future__ import annotations

import asyncio
import copy
import datetime
import gc
import pickle
import sys
import weakref

import pytest
from dogpile_rs.cache import CacheRegion, api, exception, make_region
from dogpile_rs.cache.api import NO_VALUE, CachedValue
from dogpile_rs.cache.proxy import ProxyBackend
from dogpile_rs.cache.region import DefaultInvalidationStrategy, RegionInvalidationStrategy
from dogpile_rs.cache.util import length_conditional_mangler, sha1_mangle_key


def never():
    raise AssertionError("the value is cached")


@pytest.fixture
def region():
    return make_region().configure("dogpile.cache.memory", expiration_time=60)


@pytest.mark.parametrize(
    "key",
    ["", "a", "ü", "a" * 10_000_000, "\ud800", "\0", 5, -1, 2**80, 1.5, None, b"bytes", ("a", 1), frozenset({1})],
    ids=lambda key: repr(key)[:12],
)
def test_anything_hashable_is_a_key_in_memory(region, key):
    calls = []
    assert region.get(key) is NO_VALUE
    assert region.get_or_create(key, lambda: calls.append(1) or "value") == "value"
    assert region.get_or_create(key, never) == region.get(key) == "value"
    assert region.get_or_create_multi([key, key], never) == ["value", "value"]
    assert region.get_multi([key]) == ["value"]
    assert not region.key_is_locked(key)
    assert list(region.backend._cache) == [key]
    region.delete(key)
    assert region.get(key) is NO_VALUE
    assert region.get_or_create_multi([key], lambda *keys: ["new" for _ in keys]) == ["new"]
    region.delete_multi([key, key])
    assert not region.backend._cache
    assert calls == [1]


def test_what_cannot_be_hashed_is_no_key(region):
    for call in (
        region.get,
        region.delete,
        lambda key: region.set(key, 1),
        lambda key: region.get_or_create(key, never),
    ):
        with pytest.raises(TypeError):
            call([])


def test_keys_of_several_kinds_together(region):
    keys = ["a", 1, None, ("t",), b"b"]
    assert region.get_or_create_multi(keys, lambda *keys: [repr(key) for key in keys]) == list(map(repr, keys))
    assert region.get_or_create_multi(reversed(keys), never) == list(map(repr, reversed(keys)))


@pytest.mark.parametrize("value", [None, False, 0, "", [], NO_VALUE])
def test_a_value_that_is_false_is_one(region, value):
    region.set("k", value)
    assert region.get_or_create("k", never) is value if value is not NO_VALUE else True


def test_expiration_by_region_call_and_never(region, clock):
    region.set("k", 1)
    clock.pass_by(60)
    assert region.get("k") == 1
    clock.pass_by(1)
    assert region.get("k") is NO_VALUE and region.get_value_metadata("k") is None
    assert region.get("k", expiration_time=100) == region.get("k", ignore_expiration=True) == 1
    assert region.get_or_create("k", never, expiration_time=-1) == 1
    assert region.get_value_metadata("k", ignore_expiration=True).age == 61
    assert region.get_or_create("k", lambda: 2) == 2
    assert region.get_or_create("k", lambda: 3, expiration_time=0) == 2
    clock.pass_by(0.001)
    assert region.get_or_create("k", lambda: 3, expiration_time=0) == 3


def test_a_time_that_is_patched_counts_wherever_it_is_asked_for(region, clock):
    region.get_or_create("single", lambda: 1)
    region.get_or_create_multi(["several"], lambda *keys: [1])
    region.set_multi({"set": 1})
    for key in ("single", "several", "set"):
        assert abs(region.get_value_metadata(key).cached_time - clock.now) < 0.001


def test_expiration_times_of_other_kinds():
    def limit(time):
        return make_region().configure("dogpile.cache.null", time).expiration_time

    assert limit(datetime.timedelta(minutes=1)) == 60
    assert limit(datetime.timedelta(milliseconds=250)) == 0.25
    assert limit(None) is None and limit(1.5) == 1.5
    with pytest.raises(exception.ValidationError, match="not a number or timedelta"):
        limit("1h")


@pytest.mark.parametrize("hard", [True, False])
def test_invalidation_with_the_usual_strategy(region, clock, hard):
    region.set("k", 1)
    clock.pass_by(1)
    region.invalidate(hard=hard)
    strategy = region.region_invalidator
    assert (strategy.was_hard_invalidated(), strategy.was_soft_invalidated()) == (hard, not hard)
    assert region.get("k") is NO_VALUE and region.get("k", ignore_expiration=True) == 1
    assert region.get_or_create("k", lambda: 2) == 2 == region.get("k")
    assert isinstance(strategy, RegionInvalidationStrategy) and type(strategy) is DefaultInvalidationStrategy


def test_a_strategy_of_a_subclass_is_asked(region):
    class Picky(DefaultInvalidationStrategy):
        def is_hard_invalidated(self, timestamp):
            return True

    region.set("k", 1)
    region.region_invalidator = Picky()
    assert region.get_or_create("k", lambda: 2) == 2
    assert region.get("k") == 2, "this question goes to another method"


def test_settings_with_a_prefix():
    region = make_region().configure_from_config(
        {
            "cache.backend": "dogpile.cache.memory",
            "cache.expiration_time": " 1.5 ",
            "cache.wrap": [ProxyBackend],
            "cache.arguments.cache_dict": {"k": 1},
            "other.backend": "nothing",
        },
        "cache.",
    )
    assert region.expiration_time == 1.5
    assert isinstance(region.backend, ProxyBackend)
    assert region.actual_backend._cache == {"k": 1}


def test_errors_of_settings():
    region = make_region()
    for call in (
        lambda: region.get("k"),
        lambda: region.set("k", 1),
        lambda: region.backend,
        lambda: region.get_multi("k"),
    ):
        with pytest.raises(exception.RegionNotConfigured, match="No backend is configured on this region"):
            call()
    with pytest.raises(exception.RegionNotConfigured):
        region.get_or_create("k", never)
    with pytest.raises(exception.PluginNotFound, match="Couldn't find cache plugin to load: nothing"):
        region.configure("nothing")
    assert not region.is_configured
    region.configure("dogpile.cache.memory")
    with pytest.raises(exception.RegionAlreadyConfigured, match="Specify replace_existing_backend=True"):
        region.configure("dogpile.cache.memory")
    with pytest.raises(exception.ValidationError, match="there is no codec"):
        make_region(serializer="yaml")
    for error in ("BackendError", "WaitTimeout", "RecursiveCreation", "NotSerializable", "PluginNotFound"):
        assert issubclass(getattr(exception, error), exception.DogpileCacheException)


def test_another_backend_takes_over_at_once(region):
    region.set("k", 1)
    region.configure("dogpile.cache.memory", replace_existing_backend=True)
    assert region.get("k") is NO_VALUE
    region.backend._cache["k"] = CachedValue(2, {"ct": 4e9, "v": 2})
    assert region.get("k") == 2
    region.backend._cache = {"k": CachedValue(3, {"ct": 4e9, "v": 2})}
    assert region.get("k") == region.get_or_create("k", never) == 3
    region.backend._cache.clear()
    assert region.get("k") is NO_VALUE


def test_attributes_that_are_assigned_late_count(region):
    region.set("k", 1)
    region.key_mangler = str.upper
    assert region.get("k") is NO_VALUE
    region.set("k", 2)
    assert set(region.backend._cache) == {"k", "K"}
    region.key_mangler = None
    region.expiration_time = 0
    assert region.get_or_create("k", lambda: 3) == 3
    region.expiration_time = None
    region.serializer, region.deserializer = pickle.dumps, pickle.loads
    region.set("bytes", [4])
    assert isinstance(region.backend._cache["bytes"], bytes) and region.get("bytes") == [4]
    assert region.get_or_create("more", lambda: [5]) == region.get_or_create("more", never) == [5]


def test_a_wrapped_backend_is_asked_from_then_on(region):
    asked = []

    class Asking(ProxyBackend):
        def get(self, key):
            asked.append(key)
            return self.proxied.get(key)

    region.set("k", 1)
    region.wrap(Asking)
    assert region.get("k") == region.get_or_create("k", never) == 1
    assert asked == ["k", "k"]


def test_mappings_that_are_no_dict_are_asked():
    class Forgetful(dict):
        def __setitem__(self, key, value):
            if len(self) < 2:
                super().__setitem__(key, value)

    region = make_region().configure("dogpile.cache.memory", arguments={"cache_dict": Forgetful()})
    for key in "abc":
        assert region.get_or_create(key, lambda: 1) == 1
    assert region.get_multi("abc") == [1, 1, NO_VALUE]


def test_values_of_another_version_or_without_metadata(region):
    cache = region.backend._cache
    cache["k"] = CachedValue("of the future", {"ct": 4e9, "v": 3})
    assert region.get("k") == "of the future", "as dogpile.cache does"
    assert region.get_or_create("k", lambda: "new") == "new"

    class Duck:
        payload, metadata, cached_time = "duck", {"ct": 4e9, "v": 2}, 4e9

    cache["d"] = Duck()
    assert region.get("d") == region.get_or_create("d", never) == "duck"


@pytest.mark.parametrize("version, is_hit", [(2, True), (3, False), (2.0, True), (True, False)])
@pytest.mark.parametrize("created, is_fresh", [(4e9, True), (4 * 10**9, True), (1.5, False), (1, False)])
@pytest.mark.parametrize("order", ["ct v", "v ct", "v ct more", "ct v more", "more ct v"])
def test_metadata_of_any_order_and_types(order, created, is_fresh, version, is_hit):
    region = make_region().configure("dogpile.cache.memory", expiration_time=60)
    # Names that are equal to those of the engine, and other objects.
    fields = {"ct": ("".join(["c", "t"]), created), "v": ("".join("v"), version), "more": ("more", None)}
    region.backend._cache["k"] = CachedValue("stored", dict(fields[name] for name in order.split()))
    assert region.get("k") == ("stored" if is_fresh else NO_VALUE)
    assert region.get_or_create("k", lambda: "new") == ("stored" if is_fresh and is_hit else "new")


def test_metadata_without_a_field_is_an_error(region):
    region.backend._cache.update(a=CachedValue(1, {"v": 2}), b=CachedValue(1, {"ct": 4e9}), c=CachedValue(1, {}))
    for key in "abc":
        with pytest.raises(KeyError):
            region.get_or_create(key, never)


def test_a_stored_value_is_no_objects_of_another(region):
    pickled = make_region().configure("dogpile.cache.memory_pickle")
    value = ["value"]
    region.set("k", value), pickled.set("k", value)
    assert region.get("k") is value
    assert pickled.get("k") == value and pickled.get("k") is not pickled.get("k")


def test_deserializers_that_cannot():
    def cannot(_):
        raise api.CantDeserializeException

    region = make_region(serializer=pickle.dumps, deserializer=cannot).configure("dogpile.cache.memory")
    region.set("k", 1)
    assert region.get("k") is NO_VALUE
    assert region.get_or_create("k", lambda: 2) == 2


@pytest.mark.parametrize("bytes_of_others", [b"no header", b"", b"[1]|2", b'{"ct": 1}|2', b"{|}"])
def test_an_entry_without_a_header_is_a_miss(bytes_of_others, caplog):
    region = make_region().configure("dogpile.cache.memory_pickle", expiration_time=60)
    for key in ("k", "l", "m"):
        region.backend.set_serialized(key, bytes_of_others)
    assert region.get("k") is NO_VALUE
    assert region.get_or_create("k", lambda: 1) == 1
    assert region.get_or_create_multi(["l"], lambda *keys: [2]) == [2]
    assert asyncio.run(region.aio.get_or_create("m", lambda: 3)) == region.get("m") == 3
    assert "no header" in caplog.text


@pytest.mark.parametrize("name", ["pickle", "json", "msgpack"])
def test_codecs_by_name(name):
    if name == "msgpack":
        pytest.importorskip("msgpack")
    region = make_region(serializer=name).configure("dogpile.cache.memory")
    region.set("k", {"a": [1, None]})
    header, _, payload = region.backend.get_serialized("k").partition(b"|")
    assert region.get("k") == region.get_or_create("k", never) == {"a": [1, None]}
    assert header.startswith(b"{") and (name != "json" or payload == b'{"a":[1,null]}')


def test_manglers():
    mangle = length_conditional_mangler(10, sha1_mangle_key)
    assert mangle("short") == "short" and len(mangle("a long key")) == 40
    region = make_region(key_mangler=mangle).configure("dogpile.cache.memory")
    assert region.get_or_create("a long key", lambda: 1) == region.get_or_create("a long key", never) == 1
    assert list(region.backend._cache) == [sha1_mangle_key(b"a long key")]
    mutex = region._mutex(mangle("a long key"))
    assert mutex.acquire(False) and not mutex.acquire(False)
    assert region.key_is_locked("a long key"), "the lock is that of the stored key"
    mutex.release()


def test_subclasses_may_have_what_they_like():
    class Own(CacheRegion):
        def __init__(self, purpose, **kw):
            super().__init__(name=purpose, **kw)
            self.purpose = purpose

        def get(self, key, **kw):
            return ("own", super().get(key, **kw))

    region = Own("tests", key_mangler=str.upper).configure("dogpile.cache.memory")
    region.set("k", 1)
    assert (region.purpose, region.name) == ("tests", "tests")
    assert region.get("k") == ("own", 1) and list(region.backend._cache) == ["K"]


def test_values_of_regions_are_collected_in_circles():
    region = make_region().configure("dogpile.cache.memory")

    class Value:
        pass

    value = Value()
    value.region, value.function = region, region.cache_on_arguments()(lambda a: a)
    region.set("k", value)
    region.get_or_create("created", lambda: value)
    region.aio, value.function(1)
    gone = weakref.ref(region), weakref.ref(value)
    del region, value
    gc.collect()
    assert [it() for it in gone] == [None, None]


def test_many_sets_and_deletes_keep_nothing(region):
    def churn(times):
        for n in range(times):
            region.set(f"k{n % 7}", object())
            region.get_or_create(f"c{n % 5}", object)
            region.delete(f"c{n % 5}")
        gc.collect()

    churn(1000)
    before = len(gc.get_objects())
    churn(20_000)
    assert len(gc.get_objects()) < before + 200


def test_cached_values_are_copied_and_pickled():
    value = CachedValue([1], {"ct": 1.5, "v": 2})
    assert copy.deepcopy(value) == pickle.loads(pickle.dumps(value)) == value
    assert value.cached_time == 1.5 and value.age > 0 and value.payload == [1]
    assert not NO_VALUE and str(NO_VALUE) == "NoValue.NO_VALUE" and copy.deepcopy(NO_VALUE) is NO_VALUE


def test_bounded_memory():
    region = make_region().configure("dogpile.cache.memory", arguments={"max_entries": 10})
    for n in range(200):
        assert region.get_or_create(str(n), lambda n=n: [n]) == [n]
    assert region.get_or_create("199", never) is region.get("199")
    kept = [found for found in region.get_multi([str(n) for n in range(200)]) if found is not NO_VALUE]
    assert 0 < len(kept) <= 10


def test_creators_that_return_another_number_of_values(region):
    for values in ([], [1], [1, 2, 3]):
        with pytest.raises(ValueError, match="values"):
            region.get_or_create_multi(["a", "b"], lambda *keys, values=values: values)
        assert region.get_multi(["a", "b"]) == [NO_VALUE, NO_VALUE]
        assert not region.key_is_locked("a") and not region.key_is_locked("b")


@pytest.mark.parametrize("take_away", [lambda region: delattr(region, "backend"), lambda region: vars(region).pop("backend")])
def test_a_region_without_its_backend_can_be_configured_again(take_away) -> None:
    region = make_region().configure("dogpile.cache.memory")
    region.set("k", 1)
    assert "backend" in vars(region)
    take_away(region)
    assert not region.is_configured
    with pytest.raises(exception.RegionNotConfigured):
        region.backend  # noqa: B018
    region.configure("dogpile.cache.memory")
    assert region.get("k") is NO_VALUE
    assert region.get_or_create("k", lambda: 2) == region.get("k") == 2


def test_each_value_has_metadata_of_its_own():
    region = make_region().configure("dogpile.cache.memory")
    region.set_multi({"a": 1, "b": 2})
    first, second = (region.get_value_metadata(key).metadata for key in "ab")
    assert list(first) == ["ct", "v"] and isinstance(first["ct"], float)
    first["ct"], first["further"] = 4e9, True
    region.set("c", 3)
    assert "further" not in second and region.get_value_metadata("b").cached_time < 4e9
    assert list(region.get_value_metadata("c").metadata) == ["ct", "v"]


def test_stored_values_have_as_many_references_as_they_are_stored():
    region, value = make_region().configure("dogpile.cache.memory"), object()
    gc.collect()
    of_value, of_class = sys.getrefcount(value), sys.getrefcount(CachedValue)
    for number in range(1_000):
        region.set(str(number), value)
    assert sys.getrefcount(value) == of_value + 1_000
    stored = region.backend.get("7")
    assert type(stored) is CachedValue and stored == (value, {"ct": stored.cached_time, "v": 2})
    stored.metadata["ct"] = 0.0
    assert region.backend.get("8").cached_time > 1e9, "each has metadata of its own"
    del stored
    for number in range(1_000):
        region.delete(str(number))
    assert (sys.getrefcount(value), sys.getrefcount(CachedValue)) == (of_value, of_class)
