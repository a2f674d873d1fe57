"""Options of the engine over native backends, and its counters."""

from __future__ import annotations

import datetime
import threading

import pytest
from dogpile_rs.cache import CacheRegion, exception, make_region
from dogpile_rs.cache.options import NAMES
from dogpile_rs.cache.proxy import ProxyBackend

VALUES = {"early": "adaptive", "on_wait_timeout": "stale", "resilient": True, "near.broadcast": True, "jitter": 0.1}


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(params=["redis", "file"])
def configured(request, tmp_path, redis_port):
    """Makes regions over the same backend, with options."""
    arguments = {"filename": str(tmp_path / "cache.db")}
    if request.param == "redis":
        arguments = {"host": "127.0.0.1", "port": redis_port, "db": 0}

    def configure(**given):
        return make_region().configure(request.param, expiration_time=60, arguments=arguments, **given)

    configure().delete_multi(["k", "l"])
    return configure


@pytest.mark.parametrize("name", sorted(NAMES))
def test_each_option_is_taken(configured, name):
    needed = {"near.max_entries": 10} if name.startswith("near.") else {}
    region = configured(options={**needed, name: VALUES.get(name, 10)})
    assert region.get_or_create("k", lambda: "created") == "created"
    assert region.get("k") == "created"


def test_a_near_tier_answers_from_memory_and_sees_changes(configured):
    region = configured(options={"near.max_entries": 100, "near.max_staleness": datetime.timedelta(seconds=30)})
    region.set("k", 1)
    while region.statistics()["near_hits"] < 3:
        assert region.get("k") == 1
    configured().set("k", 2)
    while region.get("k") != 2:
        pass
    region.set("k", 3)
    assert region.get("k") == 3


def test_whoever_has_waited_long_enough_creates(configured):
    created, go = threading.Event(), threading.Event()

    def slow():
        created.set()
        go.wait(60)
        return "slow"

    holder = threading.Thread(target=configured().get_or_create, args=("k", slow))
    holder.start()
    created.wait(60)
    impatient = configured(options={"wait_timeout": 0.05})
    assert impatient.get_or_create("k", lambda: "own") == "own"
    assert impatient.statistics()["uncached"] == 1
    go.set()
    holder.join()


def test_stale_values_have_a_limit(configured, clock):
    for limit, given in ((None, "former"), (10, "next")):
        region = configured(options={} if limit is None else {"stale_while_revalidate": limit})
        region.set("k", "former")
        clock.pass_by(75)
        created, go = threading.Event(), threading.Event()

        def slow(created=created, go=go):
            created.set()
            go.wait(60)
            return "next"

        creating = threading.Thread(target=region.get_or_create, args=("k", slow))
        creating.start()
        created.wait(60)
        if limit is not None:
            go.set()
        assert region.get_or_create("k", lambda: "next") == given
        go.set()
        creating.join()


def test_a_resilient_region_bridges_failures(configured, clock):
    region = configured(options={"resilient": True})
    region.set("k", "former")
    clock.pass_by(100)

    def fails():
        raise LookupError("no value today")

    assert region.get_or_create("k", fails) == "former"
    with pytest.raises(LookupError):
        region.get_or_create("l", fails)


def test_options_are_settings_too():
    settings = {"cache.backend": "file", "cache.arguments.filename": "cache.db", "cache.options.stale_if_error": "1h"}
    region = make_region().configure_from_config(settings, "cache.")
    assert region._options == {"stale_if_error": "1h"}


def test_a_subclass_need_not_know_options():
    class Own(CacheRegion):
        def configure(self, backend, expiration_time=None, arguments=None, _config_argument_dict=None, **given):
            assert "options" not in given
            return super().configure(backend, expiration_time, arguments, _config_argument_dict, **given)

    region = Own().configure_from_config({"cache.backend": "dogpile.cache.memory"}, "cache.")
    assert region.get_or_create("k", lambda: 1) == 1


@pytest.mark.parametrize("options", [{"near": 1}, {"expiration_time": 1}, {"wait_timeout": "soon"}, {"jitter": None}])
def test_a_wrong_option_is_an_error_that_says_why(options):
    region = make_region()
    (name,) = options
    with pytest.raises(exception.ValidationError, match=name):
        region.configure("file", arguments={"filename": "cache.db"}, options=options)
    assert not region.is_configured
    region.configure("dogpile.cache.memory")
    assert region.get_or_create("k", lambda: 1) == 1


def test_a_backend_in_python_has_no_options():
    with pytest.raises(exception.ValidationError, match="native"):
        make_region().configure("dogpile.cache.memory", options={"resilient": True})


def test_options_end_with_their_configuration(configured):
    region = configured(options={"near.max_entries": 100})
    region.configure("dogpile.cache.memory", replace_existing_backend=True, arguments={"max_entries": 10})
    region.set("k", 1)
    assert region.get("k") == 1 and region._options == {}


def test_statistics_count_what_the_engine_does(configured):
    region = configured()
    for _ in range(3):
        region.get_or_create("k", lambda: 1)
    counted = region.statistics()
    assert (counted["hits"], counted["misses"], counted["creations"]) == (2, 1, 1)


def test_a_dict_has_no_statistics_of_reads():
    region = make_region().configure("dogpile.cache.memory")
    region.get_or_create("k", lambda: 1)
    assert region.get("k") == 1
    counted = region.statistics()
    assert counted["creations"] == 1 and "hits" not in counted and "misses" not in counted
    region.wrap(ProxyBackend)
    assert region.statistics() is None
