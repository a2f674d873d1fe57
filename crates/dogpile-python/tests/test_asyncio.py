"""Regions for asyncio: tasks and threads share creations, and a loop is never blocked by them."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import weakref

import pytest
from dogpile_rs.cache import make_region
from dogpile_rs.cache.api import NO_VALUE
from dogpile_rs.cache.exception import DogpileCacheException, RecursiveCreation
from dogpile_rs.cache.proxy import ProxyBackend

KINDS = ["memory", "memory_pickle", "memory proxy", "memory strategy"]


def new_region(kind="memory", **settings):
    name, _, what = kind.partition(" ")
    if what == "proxy":
        settings["wrap"] = [ProxyBackend]
    if what == "strategy":
        from dogpile_rs.cache.region import DefaultInvalidationStrategy

        settings["region_invalidator"] = type("Own", (DefaultInvalidationStrategy,), {})()
    return make_region().configure(f"dogpile.cache.{name}", **{"expiration_time": 60, **settings})


@pytest.fixture(params=KINDS)
def region(request):
    return new_region(request.param)


class Slow:
    """A creator that goes on when the test says so."""

    def __init__(self, value="value"):
        self.value, self.calls = value, 0
        self.going, self.may_end = asyncio.Event(), asyncio.Event()

    async def __call__(self, *args):
        self.calls += 1
        self.going.set()
        await self.may_end.wait()
        return self.value


async def tick(times=20):
    for _ in range(times):
        await asyncio.sleep(0)


def run_in(loop, coroutine):
    try:
        loop.run_until_complete(coroutine)
    finally:
        loop.close()


def test_values_are_got_set_and_deleted(region):
    async def use():
        aio = region.aio
        assert aio is region.aio
        assert await aio.get("k") is NO_VALUE
        await aio.set("k", 1)
        assert await aio.get("k") == region.get("k") == 1
        assert (await aio.get_value_metadata("k")).payload == 1
        await aio.set_multi({"a": 2, "b": 3})
        assert await aio.get_multi(["b", "a", "k", "x"]) == [3, 2, 1, NO_VALUE]
        await aio.delete("k")
        await aio.delete_multi(["a"])
        assert await aio.get_multi(["k", "a", "b"]) == [NO_VALUE, NO_VALUE, 3]
        await aio.invalidate()
        assert await aio.get("b") is NO_VALUE

    asyncio.run(use())


@pytest.mark.parametrize("tasks", [64, 2000])
def test_one_of_many_tasks_creates(region, tasks):
    async def use():
        slow = Slow()
        waiting = [asyncio.create_task(region.aio.get_or_create("k", slow)) for _ in range(tasks)]
        await slow.going.wait()
        await tick()
        assert await region.aio.key_is_locked("k")
        slow.may_end.set()
        assert await asyncio.gather(*waiting) == ["value"] * tasks
        assert slow.calls == 1
        assert await region.aio.get_or_create("k", slow) == "value"

    asyncio.run(use())


def test_waiters_have_objects_of_their_own_where_values_are_bytes():
    region = new_region("memory_pickle")

    async def use():
        slow = Slow(["value"])
        waiting = [asyncio.create_task(region.aio.get_or_create("k", slow)) for _ in range(5)]
        await slow.going.wait()
        await tick()
        slow.may_end.set()
        values = await asyncio.gather(*waiting)
        assert values == [["value"]] * 5
        assert len({id(value) for value in values}) == 5

    asyncio.run(use())


async def three(region, creator, **given):
    """The results of three tasks, an exception being one too."""
    tasks = [asyncio.ensure_future(region.aio.get_or_create("k", creator, **given)) for _ in range(3)]
    await asyncio.wait(tasks, timeout=30)
    assert all(task.done() for task in tasks)
    return await asyncio.gather(*tasks, return_exceptions=True)


def test_a_value_that_is_not_stored_needs_no_bytes(region):
    async def creator():
        await tick()
        return threading.Lock()

    found = asyncio.run(three(region, creator, should_cache_fn=lambda value: False))
    assert all(hasattr(value, "acquire") for value in found), found


class FailingLock:
    """A lock whose server is away when it is to be released."""

    def __init__(self):
        self.lock = threading.Lock()

    def acquire(self, wait=True):
        return self.lock.acquire(wait)

    def release(self):
        self.lock.release()
        raise ConnectionError("it is away")

    def locked(self):
        return self.lock.locked()


class FailingLocks(ProxyBackend):
    def __init__(self):
        super().__init__()
        self.mutexes = {}

    def get_mutex(self, key):
        return self.mutexes.setdefault(key, FailingLock())


def test_a_lock_that_cannot_be_released_holds_up_nobody():
    region = make_region().configure("dogpile.cache.memory", expiration_time=60, wrap=[FailingLocks])

    async def creator(*keys):
        await tick()
        return ["value"] * len(keys) if keys else "value"

    async def use():
        found = await three(region, creator)
        assert found[1:] == ["value", "value"] and isinstance(found[0], ConnectionError)
        assert await region.aio.get_or_create("k", creator) == "value"
        with pytest.raises(ConnectionError):
            await region.aio.get_or_create_multi(["l", "m"], creator)
        assert not any(mutex.locked() for mutex in region.backend.mutexes.values())

    asyncio.run(use())


def test_plain_creators_and_arguments(region):
    async def use():
        assert await region.aio.get_or_create("k", lambda: 1) == 1

        async def added(a, b=0):
            return a + b

        assert await region.aio.get_or_create("sum", added, creator_args=((1,), {"b": 2})) == 3
        assert await region.aio.get_or_create("no", lambda: 5, should_cache_fn=lambda value: value != 5) == 5
        assert await region.aio.get("no") is NO_VALUE

    asyncio.run(use())


def test_an_expired_value_is_served_while_a_task_creates(region, clock):
    async def use():
        region.set("k", "former")
        clock.pass_by(61)
        slow = Slow("next")
        creating = asyncio.create_task(region.aio.get_or_create("k", slow))
        await slow.going.wait()
        assert await region.aio.get_or_create("k", slow) == "former"
        assert region.get_or_create("k", lambda: "not created") == "former"
        slow.may_end.set()
        assert await creating == await region.aio.get_or_create("k", slow) == "next"
        assert slow.calls == 1

    asyncio.run(use())


def test_a_creator_that_fails_fails_alone(region):
    async def use():
        calls = []

        async def creator():
            calls.append(1)
            is_first = len(calls) == 1
            await tick(3)
            if is_first:
                raise LookupError("the first")
            return "value"

        results = await asyncio.gather(
            *(region.aio.get_or_create("k", creator) for _ in range(8)), return_exceptions=True
        )
        assert sorted(map(str, results)) == ["the first"] + ["value"] * 7
        assert len(calls) == 2

    asyncio.run(use())


def test_another_task_takes_over_from_one_that_is_cancelled(region):
    async def use():
        slow = Slow()
        tasks = [asyncio.create_task(region.aio.get_or_create("k", slow)) for _ in range(5)]
        await slow.going.wait()
        await tick()
        slow.going.clear()
        tasks[0].cancel()
        tasks[3].cancel()
        await slow.going.wait()
        slow.may_end.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        shown = [type(result).__name__ if isinstance(result, BaseException) else result for result in results]
        assert shown == ["CancelledError", "value", "value", "CancelledError", "value"]
        assert slow.calls == 2
        assert not await region.aio.key_is_locked("k")

    asyncio.run(use())


def test_tasks_and_threads_share_a_creation(region):
    async def use():
        # A task creates, a thread waits.
        slow = Slow("of the task")
        creating = asyncio.create_task(region.aio.get_or_create("a", slow))
        await slow.going.wait()
        thread = asyncio.create_task(asyncio.to_thread(region.get_or_create, "a", lambda: "of the thread"))
        await tick()
        slow.may_end.set()
        assert await creating == await thread == "of the task"
        # A thread creates, a task waits.
        going, may_end = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        def creator():
            loop.call_soon_threadsafe(going.set)
            assert may_end.wait(20)
            return "of the thread"

        thread = asyncio.create_task(asyncio.to_thread(region.get_or_create, "b", creator))
        await going.wait()
        waiting = asyncio.create_task(region.aio.get_or_create("b", Slow()))
        await tick()
        assert not waiting.done()
        may_end.set()
        assert await thread == await waiting == "of the thread"

    asyncio.run(use())


def test_the_creator_runs_in_the_task_of_its_caller(region):
    variable = contextvars.ContextVar("variable")

    async def use():
        variable.set("mine")

        async def creator():
            return asyncio.current_task().get_name(), variable.get()

        async def call():
            return await region.aio.get_or_create("k", creator)

        assert await asyncio.create_task(call(), name="caller") == ("caller", "mine")

    asyncio.run(use())


def test_a_creator_may_not_ask_for_its_own_key(region):
    async def use():
        async def own():
            return await region.aio.get_or_create("k", own)

        async def by_a_task():
            return await asyncio.create_task(region.aio.get_or_create("k", by_a_task))

        for creator in (own, by_a_task, *blocking_creators(region, "k")):
            with pytest.raises(RecursiveCreation):
                await region.aio.get_or_create("k", creator)
        assert await region.aio.get_or_create("k", lambda: region.aio.get_or_create("other", lambda: 1)) == 1

    asyncio.run(use())
    region.delete("k")
    with pytest.raises(RecursiveCreation):
        region.get_or_create("k", lambda: asyncio.run(region.aio.get_or_create("k", lambda: 1)))


def blocking_creators(region, key):
    """Creators of tasks that ask for their key by calls that block."""

    async def blocking():
        return region.get_or_create(key, lambda: 1)

    async def of_several():
        return region.get_or_create_multi([key], lambda key: [1])

    async def in_a_thread():
        return await asyncio.to_thread(region.get_or_create, key, lambda: 1)

    return blocking, of_several, in_a_thread


def test_several_keys(region):
    async def use():
        calls = []

        async def creator(*keys):
            calls.append(keys)
            return [key.upper() for key in keys]

        await region.aio.set("b", "set")
        assert await region.aio.get_or_create_multi(["c", "b", "a", "c"], creator) == ["C", "set", "A", "C"]
        assert await region.aio.get_or_create_multi(["a", "b"], creator) == ["A", "set"]
        assert calls == [("a", "c")]
        assert await region.aio.get_or_create_multi([], creator) == []
        with pytest.raises(ValueError, match="2 values for 1 keys"):
            await region.aio.get_or_create_multi(["x"], lambda *keys: [1, 2])
        assert not await region.aio.key_is_locked("x")

    asyncio.run(use())


def test_several_keys_in_any_order_finish(region):
    async def use():
        async def creator(*keys):
            await asyncio.sleep(0)
            return list(keys)

        orders = [["a", "b", "c"], ["c", "b", "a"], ["b", "c", "a"]]
        calls = [region.aio.get_or_create_multi(orders[n % 3], creator) for n in range(30)]
        assert await asyncio.wait_for(asyncio.gather(*calls), 20) == [orders[n % 3] for n in range(30)]

    asyncio.run(use())


def test_soft_invalidation_without_an_expiration_time_is_refused_as_in_threads():
    region = new_region(expiration_time=None)

    async def use():
        await region.aio.invalidate(hard=False)
        with pytest.raises(DogpileCacheException, match="Non-None expiration time required"):
            await region.aio.get_or_create("k", lambda: 1)

    asyncio.run(use())


def test_every_loop_has_its_own_waiters(region):
    """Two loops in two threads wait for one creation."""
    going, may_end, results = threading.Event(), threading.Event(), []

    def creator():
        going.set()
        assert may_end.wait(20)
        return "value"

    thread = threading.Thread(target=region.get_or_create, args=("k", creator))
    thread.start()
    assert going.wait(20)
    begun = threading.Semaphore(0)

    async def wait():
        call = asyncio.create_task(region.aio.get_or_create("k", creator))
        await tick()
        begun.release()
        results.append(await call)

    loops = [threading.Thread(target=asyncio.run, args=(wait(),)) for _ in range(2)]
    for loop in loops:
        loop.start()
    for _ in loops:
        assert begun.acquire(timeout=20)
    may_end.set()
    for it in (thread, *loops):
        it.join(20)
    assert results == ["value"] * 2


def test_a_loop_that_is_closed_while_it_waits_is_forgotten(region):
    going, may_end = threading.Event(), threading.Event()

    def creator():
        going.set()
        assert may_end.wait(20)
        return "value"

    thread = threading.Thread(target=region.get_or_create, args=("k", creator))
    thread.start()
    assert going.wait(20)

    async def wait():
        call = asyncio.ensure_future(region.aio.get_or_create("k", creator))
        await tick()
        assert not call.done()

    asyncio.run(wait())  # it cancels the task and closes the loop
    may_end.set()
    thread.join(20)

    async def again():
        return await region.aio.get_or_create("k", creator)

    assert asyncio.run(again()) == "value"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_loop_that_is_closed_with_its_tasks_leaves_no_creation(region, count):
    """As a program does that closes a loop by hand, and cancels nothing."""

    async def creator():
        await asyncio.Event().wait()

    def use():
        loop = asyncio.new_event_loop()
        for _ in range(count):
            loop.create_task(region.aio.get_or_create("k", creator))
        loop.run_until_complete(asyncio.sleep(0.05))
        loop.close()

    use()
    gc.collect()
    assert not region.key_is_locked("k")
    assert region.get_or_create("k", lambda: "another's") == "another's"


def test_loops_are_not_kept(region):
    async def use():
        await asyncio.gather(*(region.aio.get_or_create("k", lambda: 1) for _ in range(3)))
        return weakref.ref(asyncio.get_running_loop())

    first = asyncio.run(use())
    region.delete("k")
    asyncio.run(use())
    gc.collect()
    assert first() is None


def test_other_loops_than_asyncios(region):
    uvloop = pytest.importorskip("uvloop")

    async def use():
        slow = Slow()
        waiting = [asyncio.create_task(region.aio.get_or_create("k", slow)) for _ in range(50)]
        await slow.going.wait()
        slow.may_end.set()
        assert await asyncio.gather(*waiting) == ["value"] * 50
        assert slow.calls == 1

    run_in(uvloop.new_event_loop(), use())


def test_loops_that_watch_no_file_descriptors(region):
    class Loop(asyncio.SelectorEventLoop):
        def add_reader(self, fd, callback, *args):
            # asyncio's own needs this one.
            if getattr(callback, "__name__", "") == "_read_from_self":
                return super().add_reader(fd, callback, *args)
            raise NotImplementedError

    async def use():
        slow = Slow()
        waiting = [asyncio.create_task(region.aio.get_or_create("k", slow)) for _ in range(50)]
        await slow.going.wait()
        slow.may_end.set()
        assert await asyncio.wait_for(asyncio.gather(*waiting), 20) == ["value"] * 50

    run_in(Loop(), use())
