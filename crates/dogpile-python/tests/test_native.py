"""Native backends, and one fleet with processes that have dogpile.cache."""

from __future__ import annotations

import asyncio
import json
import pickle
import socket
import threading
import time
import warnings

import pytest
from dogpile_rs.cache import exception, make_region
from dogpile_rs.cache.api import NO_VALUE
from dogpile_rs.cache.backends.native import NativeBackend
from dogpile_rs.cache.proxy import ProxyBackend


def never():
    raise AssertionError("the value is cached")


@pytest.fixture
def port(redis_port):
    with socket.create_connection(("127.0.0.1", redis_port)) as server:
        server.sendall(b"FLUSHALL\r\n")
        assert server.recv(5) == b"+OK\r\n"
    return redis_port


@pytest.fixture(params=["redis", "file"])
def arguments(request, tmp_path, port):
    if request.param == "file":
        return "file", {"filename": str(tmp_path / "cache.db")}
    return "redis", {"host": "127.0.0.1", "port": port, "db": 0}


@pytest.fixture
def region(arguments):
    name, given = arguments
    return make_region().configure(name, expiration_time=60, arguments=given)


def test_all_calls_of_a_region(region):
    assert isinstance(region.backend, NativeBackend) and region.backend is region.actual_backend
    assert region.get("k") is NO_VALUE and region.get_value_metadata("k") is None
    assert region.get_or_create("k", lambda: [1]) == region.get_or_create("k", never) == region.get("k") == [1]
    assert abs(region.get_value_metadata("k").age) < 60
    region.set_multi({"a": 1, "b": None})
    assert region.get_multi(["b", "x", "a"]) == [None, NO_VALUE, 1]
    assert region.get_or_create_multi(["a", "c", "a"], lambda *keys: list(keys)) == [1, "c", 1]
    region.delete("k"), region.delete_multi(["a", "b", "absent"])
    assert region.get_multi(["k", "a", "b", "c"]) == [NO_VALUE, NO_VALUE, NO_VALUE, "c"]
    assert region.get_or_create("no", lambda: 5, should_cache_fn=lambda value: value != 5) == 5
    assert region.get("no") is NO_VALUE
    with pytest.raises(LookupError, match="no value today"):
        region.get_or_create("k", lambda: (_ for _ in ()).throw(LookupError("no value today")))
    region.invalidate()
    assert region.get("c") is NO_VALUE
    assert region.cache_on_arguments()(lambda a: [a])(1) == [1]


def test_expired_values_are_served_while_one_creates(region, clock):
    region.set("k", "former")
    clock.pass_by(61)
    going, may_end = threading.Event(), threading.Event()

    def creator():
        going.set()
        assert may_end.wait(20)
        return "next"

    thread = threading.Thread(target=region.get_or_create, args=("k", creator))
    thread.start()
    assert going.wait(20)
    assert region.get_or_create("k", never) == "former" and region.key_is_locked("k")
    may_end.set()
    thread.join(20)
    assert region.get_or_create("k", never) == "next"


def test_values_from_a_clock_that_is_far_ahead_are_created_again(region, clock):
    assert region.get_or_create("key", lambda: 1) == 1
    clock.pass_by(-59)
    assert region.get_or_create("key", lambda: 2) == region.get("key") == 1
    clock.pass_by(-2)
    assert region.get("key") is NO_VALUE
    assert region.get_or_create("key", lambda: 3) == region.get("key") == 3


def test_values_that_cannot_be_pickled_are_returned(region, caplog):
    assert callable(region.get_or_create("k", lambda: lambda: 1))
    assert region.get("k") is NO_VALUE


def test_frames_that_nobody_can_read_are_created_again(region):
    for frame in (b"no frame", b'{"ct": 1.0, "v": 2}|no pickle', b'{"ct": 4e9, "v": 7}|' + pickle.dumps(1)):
        region.backend.set_serialized("k", frame)
        assert region.get_or_create("k", lambda: "new") == region.get_or_create("k", never) == "new"


@pytest.mark.parametrize("codec", ["json", "msgpack", "pickle"])
def test_payloads_that_nobody_can_read_are_misses_and_logged(arguments, codec, caplog):
    name, given = arguments
    region = make_region().configure(name, expiration_time=60, arguments={**given, "codec": codec})
    frame = b'{"ct": %f, "v": 2}|\xc1 neither' % time.time()
    for key in ("k", "a", "b"):
        region.backend.set_serialized(key, frame)
    assert region.get("k") is NO_VALUE and region.get_multi(["k", "absent"]) == [NO_VALUE, NO_VALUE]
    assert "cannot be deserialized" in caplog.text
    assert region.get_or_create("k", lambda: "new") == region.get_or_create("k", never) == region.get("k") == "new"
    assert region.get_or_create_multi(["a", "k"], lambda *keys: list(keys)) == ["a", "new"]
    assert asyncio.run(region.aio.get_or_create("b", lambda: "task")) == region.get("b") == "task"


def test_threads_tasks_and_locks(region):
    calls = []

    async def creator():
        calls.append(1)
        await asyncio.sleep(0.02)
        return ["value"]

    async def use():
        threads = [asyncio.to_thread(region.get_or_create, "k", lambda: calls.append(1) or ["value"]) for _ in range(4)]
        tasks = [region.aio.get_or_create("k", creator) for _ in range(50)]
        values = await asyncio.gather(*tasks, *threads)
        assert values == [["value"]] * 54 and len(calls) == 1
        assert await region.aio.get_or_create_multi(["k", "a"], lambda *keys: list(keys)) == [["value"], "a"]
        assert await region.aio.get("a") == "a"

    asyncio.run(use())
    mutex = region.backend.get_mutex("k")
    assert mutex.acquire(False) and mutex.locked() and not region.backend.get_mutex("k").acquire(False)
    mutex.release()
    assert not mutex.locked()


def test_two_regions_as_two_processes_have_one_creation(arguments):
    name, given = arguments
    one, other = (make_region().configure(name, expiration_time=60, arguments=given) for _ in range(2))
    going, may_end, results = threading.Event(), threading.Event(), []

    def creator():
        going.set()
        assert may_end.wait(20)
        return "value"

    first = threading.Thread(target=one.get_or_create, args=("k", creator))
    first.start()
    assert going.wait(20)
    second = threading.Thread(target=lambda: results.append(other.get_or_create("k", never)))
    second.start()
    second.join(0.1)
    assert other.key_is_locked("k") and not results
    may_end.set()
    first.join(20), second.join(20)
    assert results == ["value"]


@pytest.fixture
def no_threads(monkeypatch):
    def refuse(*_):
        raise AssertionError("a thread for a call")

    monkeypatch.setattr(asyncio, "to_thread", refuse)


def test_tasks_need_no_threads(region, no_threads):
    async def use():
        aio = region.aio
        assert await aio.get("k") is NO_VALUE and await aio.get_value_metadata("k") is None
        await aio.set("k", [1])
        assert await aio.get("k") == [1] and (await aio.get_value_metadata("k")).payload == [1]
        await aio.set_multi({"a": 1, "b": None}), await aio.set_multi({})
        assert await aio.get_multi(["b", "x", "a"]) == [None, NO_VALUE, 1]
        await aio.delete("k"), await aio.delete_multi(key for key in ("a", "absent"))
        assert await aio.get_multi(["k", "a", "b"]) == [NO_VALUE, NO_VALUE, None]
        assert not await aio.key_is_locked("b")
        await asyncio.gather(*(aio.set(f"many{number}", number) for number in range(200)))
        assert await asyncio.gather(*(aio.get(f"many{number}") for number in range(200))) == list(range(200))
        with pytest.raises(AttributeError, match="lambda|local"):
            await aio.set("k", lambda: 1)

    asyncio.run(use())
    assert region.get("b") is None and region.get("many7") == 7


def test_tasks_have_the_ages_and_invalidations_of_threads(region, no_threads, clock):
    async def use():
        await region.aio.set("k", 1)
        clock.pass_by(61)
        assert await region.aio.get("k") is NO_VALUE and await region.aio.get("k", expiration_time=100) == 1
        assert await region.aio.get("k", ignore_expiration=True) == 1
        assert await region.aio.get_multi(["k"]) == [NO_VALUE]
        assert await region.aio.get_multi(["k"], ignore_expiration=True) == [1]
        region.invalidate()
        assert await region.aio.get("k", expiration_time=100) is NO_VALUE

    asyncio.run(use())


def test_a_task_that_is_cancelled_while_it_reads_leaves_nothing_behind(region, no_threads):
    async def use():
        tasks = [asyncio.create_task(region.aio.get("k")) for _ in range(20)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await region.aio.set("k", 1)
        assert await region.aio.get("k") == 1

    asyncio.run(use())


def test_objects_that_the_engine_keeps_in_memory_need_no_threads(no_threads):
    region = make_region().configure("dogpile.cache.memory", arguments={"max_entries": 10})

    async def use():
        value = object()
        await region.aio.set("k", value)
        assert await region.aio.get("k") is value is (await region.aio.get_multi(["k"]))[0]

    asyncio.run(use())


def test_a_server_that_is_away_is_an_error_of_a_task_too(no_threads):
    region = make_region("prices").configure("redis", arguments={"host": "127.0.0.1", "port": closed_port()})
    with pytest.raises(exception.BackendError, match="`prices`"):
        asyncio.run(region.aio.get("k"))


def failing(kind):
    """A region whose stale values stand in for a creator that fails, and how it is called."""

    def of_threads(region, creator):
        return region.get_or_create("k", creator)

    def of_threads_multi(region, creator):
        return region.get_or_create_multi(["k"], lambda *keys: [creator()])[0]

    def of_tasks(region, creator):
        async def create():
            await asyncio.sleep(0)
            return creator()

        return asyncio.run(region.aio.get_or_create("k", create))

    def of_tasks_multi(region, creator):
        async def create(*keys):
            await asyncio.sleep(0)
            return [creator()]

        return asyncio.run(region.aio.get_or_create_multi(["k"], create))[0]

    return locals()[kind]


@pytest.mark.parametrize("kind", ["of_threads", "of_threads_multi", "of_tasks", "of_tasks_multi"])
def test_stale_values_stand_in_for_failures(arguments, clock, kind):
    name, given = arguments
    call = failing(kind)
    region = make_region().configure(name, expiration_time=60, arguments=given)

    def creator():
        raise LookupError("no value today")

    region.set("k", "former")
    clock.pass_by(61)
    with pytest.raises(LookupError, match="no value today"):
        call(region, creator)
    region._options = {"stale_if_error": "1h", "retry_after": "10s"}
    assert call(region, creator) == "former"
    # For ten seconds, nobody tries again.
    assert call(region, never) == "former"
    clock.pass_by(11)
    assert call(region, lambda: "next") == "next"
    region.delete("k")
    with pytest.raises(LookupError, match="no value today"):
        call(region, creator)


def test_nothing_stands_in_for_a_task_that_is_cancelled(arguments, clock):
    name, given = arguments
    region = make_region().configure(name, expiration_time=60, arguments=given)
    region._options = {"stale_if_error": "1h"}
    region.set("k", "former")
    clock.pass_by(61)

    async def creator():
        raise asyncio.CancelledError

    async def use():
        with pytest.raises(asyncio.CancelledError):
            await region.aio.get_or_create("k", creator)
        # The server is told after the task has gone; until then it has the former value for others.
        while await region.aio.key_is_locked("k"):
            await asyncio.sleep(0.01)
        return await region.aio.get_or_create("k", lambda: "next")

    assert asyncio.run(use()) == "next"


def test_codecs_of_a_backend(arguments):
    name, given = arguments
    region = make_region().configure(name, arguments={**given, "codec": "json"})
    region.set("k", {"a": 1})
    assert json.loads(region.backend.get_serialized("k").partition(b"|")[2]) == {"a": 1} == region.get("k")


def test_a_creator_may_not_ask_for_its_own_key(region):
    from test_asyncio import blocking_creators

    for creator in blocking_creators(region, "k"):
        with pytest.raises(exception.RecursiveCreation):
            asyncio.run(region.aio.get_or_create("k", creator))
    with pytest.raises(exception.RecursiveCreation):
        region.get_or_create("k", lambda: asyncio.run(region.aio.get_or_create("k", lambda: 1)))
    assert region.get_or_create("k", lambda: 2) == 2


@pytest.mark.parametrize("key", [None, True, ("a",), b"\xff"])
def test_keys_that_servers_cannot_tell_apart_are_refused(region, key):
    for call in (
        lambda: region.get(key),
        lambda: region.set(key, 1),
        lambda: region.set_multi({key: 1}),
        lambda: region.delete(key),
        lambda: region.get_or_create(key, never),
        lambda: asyncio.run(region.aio.get_or_create(key, never)),
    ):
        with pytest.raises(TypeError, match="key_mangler"):
            call()


def test_numbers_and_bytes_are_keys_as_of_clients(region):
    for key in (1, "1", b"1"):
        assert region.get_or_create(key, lambda: "of 1") == "of 1"
        region.set(key, "of 1")
    assert region.get_multi([1, "1", b"1"]) == ["of 1"] * 3


def test_a_bounded_memory_has_texts_as_keys():
    region = make_region().configure("dogpile.cache.memory", arguments={"max_entries": 10})
    region.set("1", "text")
    for key in (1, b"1", None):
        with pytest.raises(TypeError, match="key_mangler"):
            region.get_or_create(key, never)
    mangled = make_region(key_mangler=repr)
    mangled.configure("dogpile.cache.memory", arguments={"max_entries": 10})
    assert [mangled.get_or_create(key, lambda key=key: repr(key)) for key in (1, "1")] == ["1", "'1'"]


def test_msgpack_keeps_dicts_whose_keys_are_numbers(arguments):
    name, given = arguments
    region = make_region().configure(name, arguments={**given, "codec": "msgpack"})
    region.set("k", {1: {2.5: "b"}, None: 3})
    assert region.get("k") == {1: {2.5: "b"}, None: 3}


def test_proxies_and_strategies_of_pythons_over_them(arguments):
    name, given = arguments
    asked = []

    class Asking(ProxyBackend):
        def get_serialized(self, key):
            asked.append(key)
            return self.proxied.get_serialized(key)

    region = make_region().configure(name, expiration_time=60, arguments=given, wrap=[Asking])
    assert region.get_or_create("k", lambda: 1) == region.get_or_create("k", never) == 1
    assert len(asked) >= 2


def closed_port():
    """A port that nobody listens on: it was given out a moment ago."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return unused.getsockname()[1]


def test_a_server_that_is_away():
    region = make_region().configure("redis", arguments={"host": "127.0.0.1", "port": closed_port()})
    with pytest.raises(exception.BackendError) as caught:
        region.get("k")
    assert isinstance(caught.value, ConnectionError) and isinstance(caught.value, exception.DogpileCacheException)
    assert region.get_or_create("k", lambda: "created") == "created"


@pytest.mark.parametrize("name", ["prices", None])
def test_messages_have_the_name_of_the_region(name, caplog):
    region = make_region(name).configure("redis", arguments={"host": "127.0.0.1", "port": closed_port()})
    shown = name or "unnamed"
    with pytest.raises(exception.BackendError, match=f"`{shown}`"):
        region.get("k")
    region.get_or_create("k", lambda: "created")
    assert f'region: "{shown}"' in caplog.text
    region.name = "rates"
    with pytest.raises(exception.BackendError, match="`rates`"):
        region.get("k")


def test_arguments_that_nobody_knows_are_warned_of(port):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        make_region().configure("redis", arguments={"host": "127.0.0.1", "port": port, "foo": "bar"})
    assert len(caught) == 1 and "foo" in str(caught[0].message)
    with pytest.raises(ValueError, match="URL"):
        make_region().configure("redis", arguments={"url": "no url"})


def stored_in_three_ways(region, key):
    region.set(f"{key} set", 1)
    region.get_or_create(f"{key} created", lambda: 1)
    asyncio.run(region.aio.set_multi({f"{key} of a task": 1, f"{key} too": 1}))


@pytest.mark.parametrize("name", ["redis", "valkey"])
def test_how_long_the_server_keeps_a_value(port, name):
    given, argument = {"host": "127.0.0.1", "port": port}, f"{name}_expiration_time"
    day = 86_400
    for limit, arguments, seconds in (
        (60, {}, day),
        (36_000, {}, 360_000),
        (None, {}, -1),
        (60, {argument: 7200}, 7200),
        (None, {argument: 7200}, 7200),
        (60, {argument: 0}, -1),
    ):
        region = make_region().configure(name, expiration_time=limit, arguments={**given, **arguments})
        stored_in_three_ways(region, "k")
        left = [seconds_to_live(port, f"k {what}") for what in ("set", "created", "of a task", "too")]
        assert left == [pytest.approx(seconds, abs=60)] * 4, (limit, arguments)
        region.delete_multi(["k created"])


def seconds_to_live(port, key):
    with socket.create_connection(("127.0.0.1", port)) as server:
        server.sendall(f'TTL "{key}"\r\n'.encode())
        return int(server.recv(100).strip(b":\r\n"))


def test_proxies_see_what_a_serializer_makes(port):
    """As those of dogpile.cache's Redis: `get` and `set` are for backends that keep objects."""
    seen = []

    class Watching(ProxyBackend):
        def set(self, key, value):
            raise AssertionError("it keeps bytes")

        def set_serialized(self, key, value):
            seen.append(value.split(b"|", 1)[1])
            self.proxied.set_serialized(key, value)

    given = {"host": "127.0.0.1", "port": port, "codec": "json"}
    region = make_region().configure("redis", arguments=given, wrap=[Watching])
    region.set("k", [1])
    assert region.get_or_create("l", lambda: [2]) == [2]
    assert seen == [b"[1]", b"[2]"] and region.get("k") == [1]


# --- One fleet with dogpile.cache ---


@pytest.fixture
def fleet(port):
    """A region of dogpile.cache with its Python client, and a native one, over one server."""
    dogpile = pytest.importorskip("dogpile.cache", reason="dogpile.cache is not installed")
    pytest.importorskip("redis")
    given = {"host": "127.0.0.1", "port": port, "distributed_lock": True}
    theirs = dogpile.make_region().configure(
        "dogpile.cache.redis", expiration_time=60, arguments={**given, "thread_local_lock": False, "lock_sleep": 0.01}
    )
    return theirs, make_region().configure("redis", expiration_time=60, arguments=given)


def test_a_fleet_has_the_same_values(fleet):
    theirs, ours = fleet
    value = {"id": 7, "tags": ("a", None), "when": 1.5}
    theirs.set("of theirs", value), ours.set("of ours", value)
    assert ours.get("of theirs") == theirs.get("of ours") == value
    ours.set_multi({"a": 1}), theirs.set_multi({"b": 2})
    assert ours.get_multi(["a", "b"]) == theirs.get_multi(["a", "b"]) == [1, 2]
    assert theirs.get_or_create("created", lambda: [1]) == ours.get_or_create("created", never) == [1]
    assert ours.get_or_create("also", lambda: [2]) == theirs.get_or_create("also", never) == [2]
    ours.delete("a")
    assert theirs.get("a").name == "NO_VALUE"


@pytest.mark.parametrize("first", [0, 1])
def test_a_fleet_has_one_creation(fleet, first):
    creating, waiting = fleet[first], fleet[1 - first]
    going, may_end, results = threading.Event(), threading.Event(), []

    def creator():
        going.set()
        assert may_end.wait(20)
        return "value"

    one = threading.Thread(target=creating.get_or_create, args=("k", creator))
    one.start()
    assert going.wait(20)
    assert waiting.key_is_locked("k")
    other = threading.Thread(target=lambda: results.append(waiting.get_or_create("k", never)))
    other.start()
    other.join(0.1)
    assert not results
    may_end.set()
    one.join(20), other.join(20)
    assert results == ["value"]


def test_a_fleet_of_threads_on_both_sides(fleet):
    created, lock = [], threading.Lock()

    def creator():
        with lock:
            created.append(1)
        time.sleep(0.02)
        return "value"

    results = []
    threads = [
        threading.Thread(target=lambda region=region: results.append(region.get_or_create("k", creator)))
        for region in fleet * 8
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert results == ["value"] * 16 and len(created) == 1


def test_the_name_of_a_file_may_be_bytes_or_a_path(tmp_path):
    regions = [
        make_region().configure("file", arguments={"filename": name})
        for name in (tmp_path / "cache.db", bytes(tmp_path / "cache.db"), str(tmp_path / "cache.db"))
    ]
    regions[0].set("k", "value")
    assert [region.get("k") for region in regions] == ["value"] * 3


def test_arguments_that_only_a_client_knows_keep_it(port, run_python):
    run_python(
        f"""
        import warnings
        import dogpile_rs
        dogpile_rs.install()
        from dogpile.cache import make_region
        url = "redis://127.0.0.1:{port}/0"
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for query, kind in (("", "NativeRedisBackend"), ("?socket_timeout=1&health_check_interval=30", "RedisBackend")):
                region = make_region().configure("dogpile.cache.redis", arguments={{"url": url + query}})
                assert type(region.actual_backend).__name__ == kind, region.actual_backend
                region.set("k", 1)
                assert region.get("k") == 1
        assert len(caught) == 1 and "keeps its Python client" in str(caught[0].message), caught
        """,
        DOGPILE_NATIVE="1",
    )
    run_python(
        """
        from dogpile_rs.cache.backends import _backend_loader
        assert not _backend_loader.is_native
        """,
        DOGPILE_NATIVE="false",
    )
