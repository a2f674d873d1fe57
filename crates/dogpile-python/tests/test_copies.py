"""Copies of regions and of strategies, as dogpile.cache's can be copied and pickled."""

import copy
import gc
import importlib
import pickle
import weakref

import pytest

import dogpile_rs.cache.region
from dogpile_rs.cache import make_region
from dogpile_rs.cache.api import NO_VALUE
from dogpile_rs.cache.proxy import ProxyBackend

HOW = {"copy": copy.copy, "deepcopy": copy.deepcopy, "pickle": lambda region: pickle.loads(pickle.dumps(region))}


def never():
    raise AssertionError("it is there")


@pytest.fixture(params=["dogpile_rs.cache.region", "dogpile.cache.region"])
def library(request):
    return importlib.import_module(request.param)


class Region(dogpile_rs.cache.region.CacheRegion):
    def __init__(self, number):
        super().__init__(name="mine")
        self.number = number


@pytest.mark.parametrize("how", HOW)
def test_a_region_that_is_not_configured_is_copied_in_every_way(library, how):
    region = library.make_region(name="people", key_mangler=repr)
    region.region_invalidator.invalidate(hard=False)
    copied = HOW[how](region)
    assert type(copied) is type(region) and copied is not region
    assert (copied.name, copied.key_mangler, copied.is_configured) == ("people", repr, False)
    assert copied.region_invalidator.was_soft_invalidated()
    assert (copied.region_invalidator is region.region_invalidator) == (how == "copy")
    copied.configure("dogpile.cache.memory", expiration_time=60)
    copied.set("k", 1)
    assert list(copied.backend._cache) == ["'k'"]
    assert not region.is_configured and copied.cache_on_arguments()(lambda x: x)(3) == 3


def test_a_copy_of_a_configured_region_is_another_over_the_same_backend(library):
    region = library.make_region().configure("dogpile.cache.memory", expiration_time=60)
    region.set("k", 1)
    copied = copy.copy(region)
    assert copied.backend is region.backend and copied.expiration_time == 60
    assert copied.get_or_create("k", never) == 1
    copied.expiration_time = -1
    copied.set("l", 2)
    assert (region.get("l"), region.expiration_time) == (2, 60)
    copied.region_invalidator.invalidate()
    assert region.get("k") is library.NO_VALUE, "they share the strategy"
    copied.configure("dogpile.cache.null", replace_existing_backend=True)
    region.set("k", 3)
    assert (region.get("k"), copied.get("k")) == (3, library.NO_VALUE)


@pytest.mark.parametrize("arguments", [{}, {"max_entries": 10}])
@pytest.mark.parametrize("change", ["delete", "set", "delete_multi", "set_multi", "invalidate"])
def test_a_change_by_a_copy_ends_the_creations_of_both(arguments, change):
    region = make_region().configure("dogpile.cache.memory", arguments=arguments)
    copied, truth = copy.copy(region), ["old"]
    expected = "new" if change.startswith("set") else NO_VALUE

    def changed_meanwhile():
        value, truth[0] = truth[0], "new"
        given = {"delete": "k", "set": ("k", "new"), "delete_multi": ["k"], "set_multi": {"k": "new"}, "invalidate": True}
        call, it = getattr(copied, change), given[change]
        call(*it) if isinstance(it, tuple) else call(it)
        return value

    assert region.get_or_create("k", changed_meanwhile) == "old"
    assert region.get("k") == copied.get("k") == expected
    assert not region.key_is_locked("k")
    assert copied.get_or_create("k", lambda: truth[0]) == region.get_or_create("k", never) == "new"


@pytest.mark.parametrize("left", ["both", "first", "second"])
def test_regions_over_one_dict_are_collected_with_it(left):
    class Value:
        pass

    values, value = {}, Value()
    regions = [make_region().configure("dogpile.cache.memory", arguments={"cache_dict": values}) for _ in "ab"]
    value.regions = regions
    regions[0].set("k", value)
    gone = [weakref.ref(value), *map(weakref.ref, regions)]
    gc.collect()
    assert regions[1].get("k") is value
    regions[0].serializer = None
    if left != "both":
        regions[left == "first"].configure("dogpile.cache.null", replace_existing_backend=True)
    del values, regions, value
    gc.collect()
    assert [ref() for ref in gone] == [None, None, None]


@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
def test_a_configured_region_is_not_pickled(library, how):
    region = library.make_region().configure("dogpile.cache.memory")
    region.get_or_create("k", lambda: 1)
    with pytest.raises((TypeError, AttributeError), match="pickle"):
        HOW[how](region)


@pytest.mark.parametrize("how", HOW)
def test_a_subclass_keeps_what_is_its_own(how):
    copied = HOW[how](Region(7))
    assert (type(copied), copied.number, copied.name) == (Region, 7, "mine")


def test_a_copy_has_functions_tasks_and_locks_of_its_own(tmp_path):
    class Proxy(ProxyBackend):
        pass

    for backend, arguments, wrap in (
        ("dogpile.cache.memory", {"max_entries": 10}, []),
        ("dogpile.cache.memory_pickle", {}, []),
        ("dogpile.cache.memory", {}, [Proxy]),
        ("file", {"filename": str(tmp_path / "cache.db")}, []),
    ):
        region = make_region().configure(backend, arguments=arguments, wrap=wrap)
        aio, decorated = region.aio, region.cache_on_arguments()(lambda x: x)
        copied = copy.copy(region)
        assert copied.aio is not aio and copied.aio.region is copied
        copied.get_or_create = lambda *args, **kw: "patched"
        assert decorated(1) == 1, "the copy has its own"
        region.set("k", [1])
        assert copied.get("k") == [1]
        assert copied.statistics() is None or copied.statistics()["creations"] == 0
        assert copied._mutex("k") is not region._mutex("k")


def test_a_strategy_of_a_subclass_is_copied_with_its_attributes():
    copied = copy.deepcopy(Noting("mine"))
    assert copied.note == "mine" and not copied.was_hard_invalidated()
    copied.invalidate()
    again = pickle.loads(pickle.dumps(copied))
    copied.invalidate(hard=False)
    assert again.was_hard_invalidated() and again.is_invalidated(1.0)


class Noting(dogpile_rs.cache.region.DefaultInvalidationStrategy):
    def __init__(self, note):
        self.note = note


def test_a_copy_of_a_region_without_values_has_none():
    assert copy.copy(make_region()).configure("dogpile.cache.memory").get("k") is NO_VALUE
