"""Whole tables in the memory of every process, in step through Redis: the classes of cached-collections.

    class Countries(CachedMapping):
        def load(self):
            return {"IS": "Iceland", "NO": "Norway"}  # from the database

        @sequence_view
        def names(self):
            return sorted(self.values())

    countries = Countries(redis.Redis(), "countries", version="1")
    countries["IS"], countries.names[0]
    countries.push()  # after a change: all processes have the new data soon

Reads take no lock. The data of a name and a version are pickled, so a version stands for the classes in them.
"""

from __future__ import annotations

import contextlib
import importlib
import pickle
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Generic, TypeVar

__all__ = ["Cached", "CachedMapping", "CachedSequence", "mapping_view", "sequence_view"]

T = TypeVar("T")


class _Snapshot:
    """The data of one revision, and the views of them that were asked for."""

    def __init__(self, revision: int | None, data: Any) -> None:
        self.revision = revision
        self.data = data
        self.views: dict[str, Any] = {}
        # A view may use another one.
        self.lock = threading.RLock()


class _Pin:
    """The snapshot that a collection has in this context, whatever comes meanwhile."""

    def __init__(self, collection: Cached, snapshot: _Snapshot, outer: _Pin | None) -> None:
        self.collection = collection
        self.snapshot = snapshot
        self.outer = outer


_pinned: ContextVar[_Pin | None] = ContextVar("dogpile_pinned", default=None)


def _unavailable(client: Any) -> tuple[type[BaseException], ...]:
    """Returns the exceptions that a client raises if its server is away."""
    package = type(client).__module__.partition(".")[0]
    try:
        exceptions = importlib.import_module(f"{package}.exceptions")
        return OSError, exceptions.ConnectionError, exceptions.TimeoutError
    except (ImportError, AttributeError):
        return (OSError,)


class Cached:
    """Data that each process keeps whole, by a name and a version.

    Arguments: a client of Redis, the name, the version, and the seconds between two looks for a new revision. While the
    server is away, a process goes on with what it has.
    """

    def __init__(self, redis_client: Any, name: str, version: Any, check_interval: float = 10) -> None:
        self.name = name
        self.version = version
        self._client = redis_client
        self._unavailable = _unavailable(redis_client)
        self._data_key = f"cached.{name}.{version}.data"
        self._revision_key = f"cached.{name}.{version}.revision"
        self._check_interval = check_interval
        self._next_check = 0.0
        self._snapshot: _Snapshot | None = None
        self._lock = threading.Lock()

    def load(self) -> Any:
        """Returns the data from where they come from; a subclass defines it."""
        raise NotImplementedError()

    @property
    def revision(self) -> int | None:
        """The number of the revision that reads find here; None before the first."""
        return self._snapshot.revision if self._snapshot is not None else None

    def push(self) -> None:
        """Loads the data and gives them to all processes, as the next revision."""
        with self._lock:
            self._push()

    def purge(self) -> None:
        """Deletes the data of this version from the server."""
        self._client.delete(self._data_key, self._revision_key)

    @contextlib.contextmanager
    def at_one_revision(self) -> Iterator[None]:
        """Makes all reads within the block find the same revision."""
        token = _pinned.set(_Pin(self, self._current(), _pinned.get()))
        try:
            yield
        finally:
            _pinned.reset(token)

    def _current(self) -> _Snapshot:
        pin = _pinned.get()
        while pin is not None:
            if pin.collection is self:
                return pin.snapshot
            pin = pin.outer
        snapshot = self._snapshot
        if snapshot is not None and time.monotonic() < self._next_check:
            return snapshot
        # One thread looks for a new revision. The others need not wait, if there is any at all.
        if not self._lock.acquire(blocking=snapshot is None):
            assert snapshot is not None
            return snapshot
        try:
            if self._snapshot is None or time.monotonic() >= self._next_check:
                self._look()
            assert self._snapshot is not None
            return self._snapshot
        finally:
            self._lock.release()

    def _look(self) -> None:
        try:
            stored = self._client.get(self._revision_key)
            if stored is None:
                self._push()
            elif self._snapshot is None or int(stored) != self._snapshot.revision:
                self._pull()
        except self._unavailable:
            if self._snapshot is None:
                self._take(None, self.load())
        self._next_check = time.monotonic() + self._check_interval

    def _push(self) -> None:
        data = self.load()
        pipeline = self._client.pipeline(transaction=True)
        pipeline.set(self._data_key, pickle.dumps(data))
        pipeline.incr(self._revision_key)
        self._take(int(pipeline.execute()[1]), data)

    def _pull(self) -> None:
        pipeline = self._client.pipeline(transaction=True)
        pipeline.get(self._data_key)
        pipeline.get(self._revision_key)
        data, revision = pipeline.execute()
        if data is None or revision is None:
            # It was purged just now.
            self._push()
        else:
            self._take(int(revision), pickle.loads(data))

    def _take(self, revision: int | None, data: Any) -> None:
        self._snapshot = _Snapshot(revision, data)
        self._next_check = time.monotonic() + self._check_interval

    def _view(self, name: str, function: Callable[[Any], T]) -> T:
        snapshot = self._current()
        if name not in snapshot.views:
            with snapshot.lock:
                if name not in snapshot.views:
                    with self.at_one_revision():
                        snapshot.views[name] = function(self)
        return snapshot.views[name]  # type: ignore[no-any-return]


class _MappingOf(Mapping[Any, Any]):
    """A mapping that is looked up at each access."""

    def _data(self) -> Mapping[Any, Any]:
        raise NotImplementedError()

    def __getitem__(self, key: Any) -> Any:
        return self._data()[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._data())

    def __len__(self) -> int:
        return len(self._data())

    def __contains__(self, key: object) -> bool:
        return key in self._data()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._data()!r})"


class _SequenceOf(Sequence[Any]):
    """A sequence that is looked up at each access."""

    def _data(self) -> Sequence[Any]:
        raise NotImplementedError()

    def __getitem__(self, index: Any) -> Any:
        return self._data()[index]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._data())

    def __len__(self) -> int:
        return len(self._data())

    def __contains__(self, value: object) -> bool:
        return value in self._data()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._data()!r})"


class CachedMapping(Cached, _MappingOf):
    """A mapping that all processes have; `load` returns it as a dict."""

    # Two collections are equal if they are the same one.
    __hash__ = object.__hash__

    def _data(self) -> Mapping[Any, Any]:
        return self._current().data  # type: ignore[no-any-return]

    def __eq__(self, other: object) -> bool:
        return self is other or super().__eq__(other)


class CachedSequence(Cached, _SequenceOf):
    """A sequence that all processes have; `load` returns it as a list or tuple."""

    def _data(self) -> Sequence[Any]:
        return self._current().data  # type: ignore[no-any-return]


class MappingView(_MappingOf):
    """A mapping that is computed of a collection, once for each revision."""

    def __init__(self, collection: Cached, name: str, function: Callable[[Any], Mapping[Any, Any]]) -> None:
        self._of = collection, name, function

    def _data(self) -> Mapping[Any, Any]:
        collection, name, function = self._of
        return collection._view(name, function)


class SequenceView(_SequenceOf):
    """A sequence that is computed of a collection, once for each revision."""

    def __init__(self, collection: Cached, name: str, function: Callable[[Any], Sequence[Any]]) -> None:
        self._of = collection, name, function

    def _data(self) -> Sequence[Any]:
        collection, name, function = self._of
        return collection._view(name, function)


class _view(Generic[T]):  # noqa: N801
    made: Callable[..., T]

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function
        self.__doc__ = function.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, collection: Cached, owner: type | None = None) -> T:
        if collection is None:
            return self
        return type(self).made(collection, self.name, self.function)


class mapping_view(_view[MappingView]):  # noqa: N801
    """Decorates a method of a collection that returns a mapping: the attribute is a `MappingView`."""

    made = MappingView


class sequence_view(_view[SequenceView]):  # noqa: N801
    """Decorates a method of a collection that returns a sequence: the attribute is a `SequenceView`."""

    made = SequenceView
