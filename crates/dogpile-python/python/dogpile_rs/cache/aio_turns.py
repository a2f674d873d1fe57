"""A task's part in the creation of a value: by the engine, or over backends and locks of Python's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .. import _engine
from . import creating
from .api import NO_VALUE, BackendFormatted

if TYPE_CHECKING:
    from .region import CacheRegion

# The first of the pair that a flight's `poll` returns.
DONE, CREATE, WAIT = 0, 1, 2

# Those of loops that take no attributes.
_bridges: dict[asyncio.AbstractEventLoop, Any] = {}


def bridge() -> Any:
    """Returns what wakes the running loop when an answer of the engine is there."""
    loop = asyncio.get_running_loop()
    found = getattr(loop, "_dogpile_bridge", None)
    return _new_bridge(loop) if found is None else found


def _new_bridge(loop: asyncio.AbstractEventLoop) -> Any:
    found = _bridges.get(loop)
    if found is not None:
        return found
    made = _bridge_of(loop)
    try:
        # The loop alone has it: so its tasks end, and others have their turn, once the loop is gone.
        loop._dogpile_bridge = made  # type: ignore[attr-defined]
    except AttributeError:
        for closed in [other for other in list(_bridges) if other.is_closed()]:
            _bridges.pop(closed, None)
        _bridges[loop] = made
    return made


def _bridge_of(loop: asyncio.AbstractEventLoop) -> Any:
    try:
        made = _engine.Bridge(loop.create_future)
        loop.add_reader(made.fileno(), made.drain)
    except (NotImplementedError, OSError):
        # Windows' usual loop waits for no file descriptors.
        made = _engine.Bridge(loop.create_future, loop.call_soon_threadsafe)
        made.start()
    return made


async def answer(call: Any) -> Any:
    """Returns the result of a call that the engine has begun."""
    while True:
        state, it = call.poll(bridge())
        if state == DONE:
            return it
        await it


class Turn:
    """A task's part in the creation of one value.

    `take` returns a value to use, or says that the task is to create one. It then calls `finish`, or `fail`; in any case
    `leave`.
    """

    value: Any = NO_VALUE

    def __init__(self, region: CacheRegion, key: Any, stored_key: Any, limit: float | None) -> None:
        self.region = region
        self.key = key
        self.stored_key = stored_key
        self.limit = limit

    async def take(self) -> bool:
        """Returns True if this task is to create the value; else it is in `value`."""
        raise NotImplementedError()

    async def finish(self, value: Any, is_stored: bool) -> None:
        raise NotImplementedError()

    async def fail(self, error: Exception) -> None:
        """Sees to it that a value stands in for the one whose creator has raised this; raises it if there is none."""
        raise error

    def leave(self) -> None:
        """Lets another create the value, if this task was to and has not."""
        raise NotImplementedError()


class NativeTurn(Turn):
    """By the engine, which has the lock and the value."""

    def __init__(self, flight: Any, region: CacheRegion, key: Any, stored_key: Any, limit: float | None) -> None:
        super().__init__(region, key, stored_key, limit)
        self.flight = flight

    async def take(self) -> bool:
        while True:
            state, it = self.flight.poll(bridge())
            if state == CREATE:
                return True
            if state == DONE:
                self.value = it
                return False
            creating.refuse_recursion(self.region, self.stored_key)
            await it

    async def finish(self, value: Any, is_stored: bool) -> None:
        self.flight.finish(value, is_stored)
        # The engine stores it, which may take a server.
        await self.take()

    async def fail(self, error: Exception) -> None:
        self.flight.fail(error)
        await self.take()

    def leave(self) -> None:
        self.flight.abandon()


async def call(region: CacheRegion, function: Callable[..., Any], *args: Any) -> Any:
    """Calls a function that may wait for a server: elsewhere, so that the loop goes on."""
    if region._is_in_memory:
        return function(*args)
    return await asyncio.to_thread(function, *args)


class Queue:
    """The tasks of a loop that wait for a value which one of them, the first, is to get."""

    # Handed to a task that is the first from then on.
    IS_FIRST = object()

    def __init__(self, queues: dict[Any, Queue], key: Any) -> None:
        self.queues = queues
        self.key = key
        self.waiting: list[asyncio.Future[Any]] = []
        queues[key] = self

    async def wait(self) -> Any:
        """Returns what the first task has got, or `IS_FIRST`."""
        future = asyncio.get_running_loop().create_future()
        self.waiting.append(future)
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.result() is self.IS_FIRST:
                self.hand_over()
            raise

    def answer(self, value: BackendFormatted) -> None:
        del self.queues[self.key]
        for future in self.waiting:
            if not future.done():
                future.set_result(value)

    def hand_over(self) -> None:
        """The first task has got nothing: another one is the first now, if there is any."""
        while self.waiting:
            future = self.waiting.pop(0)
            if not future.done():
                future.set_result(self.IS_FIRST)
                return
        del self.queues[self.key]


class PythonTurn(Turn):
    """Over a backend and a lock of Python's, whose calls are made in other threads where they may take long.

    Of the tasks of a loop, one waits for the lock. It asks for it again and again, on this thread: it may be a lock
    that belongs to a thread.
    """

    mutex: Any = None
    queue: Queue | None = None

    async def take(self) -> bool:
        if self.is_usable(await self.read()):
            return False
        mutex = self.region._mutex(self.stored_key)
        if self.created > 0:
            # A value that has expired is good enough if another task creates the next.
            if mutex.acquire(False):
                self.mutex = mutex
            return self.mutex is not None
        if not await self.is_first():
            return False
        await self.acquire(mutex)
        # Another may have created it while this one waited.
        return not self.is_usable(await self.read())

    async def read(self) -> Any:
        return await call(self.region, self.region._get_from_backend, self.stored_key)

    def is_usable(self, value: Any) -> bool:
        self.created = creating.usable(self.region, self.key, value, self.limit)
        self.found = value
        self.value = value.payload
        return creating.is_fresh(self.created, self.limit)

    async def is_first(self) -> bool:
        """Returns True if this task is to take the lock; else it has got the value meanwhile."""
        queues = self.region.aio._queues
        place = asyncio.get_running_loop(), self.stored_key
        queue = queues.get(place)
        if queue is None:
            self.queue = Queue(queues, place)
            return True
        creating.refuse_recursion(self.region, self.stored_key)
        got = await queue.wait()
        if got is Queue.IS_FIRST:
            self.queue = queue
            return True
        if isinstance(got, bytes):
            # Each caller has an object of its own.
            got = self.region._parse_serialized_from_backend(got)
        self.value = got.payload
        return False

    async def acquire(self, mutex: Any) -> None:
        pause = 0.001
        while not mutex.acquire(False):
            creating.refuse_recursion(self.region, self.stored_key)
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.05)
        self.mutex = mutex

    async def finish(self, value: Any, is_stored: bool) -> None:
        self.found = self.region._value(value)
        self.value = value
        if is_stored:
            await call(self.region, self.region._set_cached_value_to_backend, self.stored_key, self.found)
        self.created = self.found.cached_time

    def leave(self) -> None:
        mutex, self.mutex = self.mutex, None
        queue, self.queue = self.queue, None
        try:
            if mutex is not None:
                mutex.release()
        finally:
            # Also if the lock has ended, or its server is away.
            if queue is not None and creating.is_fresh(self.created, self.limit):
                queue.answer(self._for_all() if queue.waiting else self.found)
            elif queue is not None:
                queue.hand_over()

    def _for_all(self) -> Any:
        """Returns what all who wait get: bytes, of which each makes its own object, or the object if there are none."""
        try:
            return self.region._serialized_cached_value(self.found)
        except Exception:
            return self.found
