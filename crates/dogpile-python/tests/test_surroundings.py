"""Events around a call: exceptions of signal handlers, logging, loops that are closed, and time that others move."""

from __future__ import annotations

import asyncio
import datetime
import gc
import logging
import socket
import sys
import time

import pytest
from dogpile_rs.cache import make_region
from dogpile_rs.cache.api import NO_VALUE


class Interrupted(Exception):
    """As a handler of SIGALRM raises it, or a queue of tasks that limits their time."""


@pytest.fixture(params=["redis", "file"])
def arguments(request, tmp_path):
    if request.param == "file":
        return "file", {"filename": str(tmp_path / "cache.db")}
    return "redis", {"port": request.getfixturevalue("redis_port"), "key_prefix": f"{tmp_path.name}:"}


class Codec:
    """It is interrupted while it writes or reads, if it is told so."""

    def __init__(self):
        self.raises = None

    def write(self, value):
        if self.raises:
            raise self.raises
        return value.encode()

    def read(self, payload):
        if self.raises:
            raise self.raises
        return bytes(payload).decode()


@pytest.mark.parametrize("kind", [Interrupted, TimeoutError, KeyboardInterrupt, SystemExit])
def test_exceptions_that_are_not_of_a_codec_reach_the_caller(arguments, kind):
    codec, created = Codec(), []
    name, given = arguments
    region = make_region(serializer=codec.write, deserializer=codec.read).configure(name, arguments=given)

    def create(*keys):
        created.append(keys)
        return [f"value of {key}" for key in keys] if keys else "value"

    codec.raises = kind()
    with pytest.raises(kind):
        region.get_or_create("k", create)
    assert region.backend.get_serialized("k") is NO_VALUE and len(created) == 1
    with pytest.raises(kind):
        region.set("k", "value")
    codec.raises = None
    # Nobody has the key.
    assert region.get_or_create("k", create) == "value" and len(created) == 2
    codec.raises = kind()
    for call in (
        lambda: region.get("k"),
        lambda: region.get_multi(["k"]),
        lambda: region.get_or_create("k", create),
        lambda: region.get_or_create_multi(["k"], create),
    ):
        with pytest.raises(kind):
            call()
    codec.raises = None
    assert region.get("k") == "value" and len(created) == 2


def test_an_interrupted_task_leaves_the_key_to_others(arguments):
    codec = Codec()
    name, given = arguments
    region = make_region(serializer=codec.write, deserializer=codec.read).configure(name, arguments=given)

    async def create():
        return "value"

    async def main():
        codec.raises = Interrupted()
        with pytest.raises(Interrupted):
            await region.aio.get_or_create("k", create)
        codec.raises = None
        return await asyncio.wait_for(region.aio.get_or_create("k", create), 10)

    assert asyncio.run(main()) == "value"


@pytest.mark.parametrize("made", [bytearray, memoryview])
def test_a_serializer_may_return_what_is_like_bytes(arguments, made):
    name, given = arguments
    region = make_region(serializer=lambda value: made(value.encode()), deserializer=lambda it: bytes(it).decode())
    region.configure(name, arguments=given)
    created = []
    assert [region.get_or_create("k", lambda: created.append(1) or "value") for _ in range(2)] == ["value"] * 2
    region.set("l", "other")
    region.set_multi({"m": "third"})
    assert region.get_multi(["k", "l", "m"]) == ["value", "other", "third"] and created == [1]


@pytest.mark.parametrize("written", [None, 5, [1], "text"])
def test_a_serializer_that_returns_something_else_is_told_so(arguments, written, caplog):
    name, given = arguments
    region = make_region(serializer=lambda value: written, deserializer=bytes).configure(name, arguments=given)
    assert region.get_or_create("k", lambda: "value") == "value"
    assert f"a serializer returns bytes, and not <class '{type(written).__name__}'>" in caplog.text
    assert region.get("k") is NO_VALUE


@pytest.fixture
def unraisable(monkeypatch):
    seen = []
    monkeypatch.setattr(sys, "unraisablehook", lambda it: seen.append(repr(it.exc_value)))
    return seen


def test_an_exception_of_a_log_handler_reaches_the_caller_and_the_other_messages_come_later(unraisable, monkeypatch):
    shown = []

    def interrupt(record):
        shown.append(record.getMessage())
        if len(shown) == 1:
            raise Interrupted()
        return True

    log = logging.getLogger("dogpile.cache.engine")
    monkeypatch.setattr(log, "filters", [interrupt])
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    region = make_region().configure("redis", arguments={"host": "127.0.0.1", "port": port})
    with pytest.raises(Interrupted):
        region.get_or_create("k", lambda: "value")
    assert region.get_or_create("k", lambda: "value") == "value"
    assert len(shown) > 1 and not unraisable


@pytest.mark.parametrize("name", ["dogpile.cache.memory", "dogpile.cache.memory_pickle"])
def test_a_loop_that_is_closed_in_a_creation_is_quiet(name, unraisable):
    region = make_region().configure(name)

    async def keep():
        await region.aio.get_or_create("k", lambda: asyncio.sleep(30))

    loop = asyncio.new_event_loop()
    task = loop.create_task(keep())
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    del loop, task
    gc.collect()
    assert not unraisable
    assert region.get_or_create("k", lambda: "value") == "value"


def test_a_recursion_that_is_too_deep_is_quiet(unraisable):
    region = make_region().configure("dogpile.cache.memory")

    @region.cache_on_arguments()
    def deep(number):
        return 1 + deep(number + 1)

    with pytest.raises(RecursionError):
        deep(0)
    assert not unraisable


@pytest.mark.parametrize("name", ["dogpile.cache.memory", "memory", "redis", "file"])
def test_time_machine_moves_the_time(name, redis_port, tmp_path):
    time_machine = pytest.importorskip("time_machine")
    given = {"file": {"filename": str(tmp_path / "cache.db")}, "redis": {"port": redis_port, "key_prefix": f"{tmp_path.name}:"}}
    region = make_region().configure(name, expiration_time=60, arguments=given.get(name))
    created = []

    def value():
        return region.get_or_create("k", lambda: created.append(1) or len(created))

    with time_machine.travel(datetime.datetime(2030, 1, 1, tzinfo=datetime.timezone.utc), tick=False) as traveller:
        assert [value(), value()] == [1, 1]
        assert region.get_value_metadata("k").cached_time == time.time()
        traveller.shift(59)
        assert value() == 1 and region.get_value_metadata("k").age == 59
        traveller.shift(2)
        assert value() == 2
    region.delete("k")
    assert value() == 3 and abs(region.get_value_metadata("k").cached_time - time.time()) < 60


def test_a_package_that_is_imported_within_a_travel_has_the_time_of_both(run_python):
    pytest.importorskip("time_machine")
    ended = run_python(
        """
        import datetime
        import time

        import time_machine

        with time_machine.travel(datetime.datetime(2030, 1, 1, tzinfo=datetime.timezone.utc), tick=False) as traveller:
            from dogpile_rs.cache import make_region

            region = make_region().configure("memory", expiration_time=60)
            region.set("k", 1)
            traveller.shift(61)
            print(region.get("k") or "none", region.get_or_create("k", lambda: 2), region.get_value_metadata("k").age)
        region.set("l", 3)
        print(region.get("l"), abs(region.get_value_metadata("l").cached_time - time.time()) < 60)
        """
    )
    assert ended.stdout.splitlines() == ["none 2 0.0", "3 True"]
