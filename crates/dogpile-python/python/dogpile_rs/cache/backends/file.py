"""A backend over the standard library's `dbm`: a file that the processes of a machine share."""

from __future__ import annotations

import dbm
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from ... import util
from ...util.typing import Self
from ..api import NO_VALUE, BackendArguments, BytesBackend, CacheMutex, KeyType, SerializedReturnType

__all__ = ["AbstractFileLock", "DBMBackend", "FileLock"]


class AbstractFileLock:
    """The base of locks for many readers or one writer that the processes of a machine share.

    A subclass is given to `DBMBackend` as `lock_factory`; it is called with the name of a file, which it may use or not.
    """

    def __init__(self, filename: str) -> None:
        raise NotImplementedError()

    def acquire(self, wait: bool = True) -> bool:
        return self.acquire_write_lock(wait)

    def release(self) -> None:
        self.release_write_lock()

    @contextmanager
    def read(self) -> Iterator[None]:
        """Holds the lock of a reader."""
        self.acquire_read_lock(True)
        try:
            yield
        finally:
            self.release_read_lock()

    @contextmanager
    def write(self) -> Iterator[None]:
        """Holds the lock of the writer."""
        self.acquire_write_lock(True)
        try:
            yield
        finally:
            self.release_write_lock()

    @property
    def is_open(self) -> bool:
        """True if this thread holds the lock."""
        raise NotImplementedError()

    def acquire_read_lock(self, wait: bool) -> bool:
        raise NotImplementedError()

    def acquire_write_lock(self, wait: bool) -> bool:
        raise NotImplementedError()

    def release_read_lock(self) -> None:
        raise NotImplementedError()

    def release_write_lock(self) -> None:
        raise NotImplementedError()


class FileLock(AbstractFileLock):
    """The operating system's lock of a file, by `flock`. Windows has none."""

    def __init__(self, filename: str) -> None:
        self.filename = filename
        # A thread's own: threads lock each other out through the file too.
        self._held = threading.local()

    @util.memoized_property
    def _module(self) -> ModuleType:
        import fcntl

        return fcntl

    @property
    def is_open(self) -> bool:
        return hasattr(self._held, "file")

    def acquire_read_lock(self, wait: bool) -> bool:
        return self._acquire(wait, os.O_RDONLY, self._module.LOCK_SH)

    def acquire_write_lock(self, wait: bool) -> bool:
        return self._acquire(wait, os.O_WRONLY, self._module.LOCK_EX)

    def release_read_lock(self) -> None:
        self._release()

    def release_write_lock(self) -> None:
        self._release()

    def _acquire(self, wait: bool, mode: int, operation: int) -> bool:
        file = os.open(self.filename, mode | os.O_CREAT)
        try:
            self._module.flock(file, operation if wait else operation | self._module.LOCK_NB)
        except OSError:
            os.close(file)
            if wait:
                raise
            return False
        self._held.file = file
        return True

    def _release(self) -> None:
        file = getattr(self._held, "file", None)
        if file is not None:
            del self._held.file
            self._module.flock(file, self._module.LOCK_UN)
            os.close(file)


class DBMBackend(BytesBackend):
    """Keeps values in a `dbm` file.

    Arguments:

    - `filename`: the file; `dbm` may add an ending of its own.
    - `rw_lockfile`: the file of the lock for reading and writing. By default it is `filename` with ".rw.lock"; False
      is for a `dbm` that has locks itself.
    - `dogpile_lockfile`: the file of the lock for creating values, by default `filename` with ".dogpile.lock". It is
      one lock for all keys, so that one value at a time is created. With False, processes do not wait for each other.
    - `lock_factory`: the class of both locks instead of `FileLock`; see `AbstractFileLock`.
    """

    def __init__(self, arguments: BackendArguments) -> None:
        self.filename = os.path.abspath(os.path.normpath(arguments["filename"]))
        self.lock_factory: Callable[[str], AbstractFileLock] = arguments.get("lock_factory") or FileLock
        self._rw_lock = self._lock(arguments.get("rw_lockfile"), ".rw.lock")
        creation_lock = self._lock(arguments.get("dogpile_lockfile"), ".dogpile.lock")
        self._mutex_of: Callable[[str], util.KeyReentrantMutex] | None = None
        if creation_lock is not None:
            self._mutex_of = util.KeyReentrantMutex.factory(creation_lock)  # type: ignore[arg-type]
        self._create_file()

    def _lock(self, argument: Any, ending: str) -> AbstractFileLock | None:
        if argument is False:
            return None
        if argument is None:
            return self.lock_factory(self.filename + ending)
        return self.lock_factory(os.path.abspath(os.path.normpath(argument)))

    def _create_file(self) -> None:
        # The endings that the kinds of dbm give their files.
        if not any(os.path.exists(self.filename + ending) for ending in ("", ".db", ".dat", ".pag", ".dir")):
            with self._locked(write=True):
                dbm.open(self.filename, "c").close()

    def _locked(self, write: bool) -> Any:
        if self._rw_lock is None:
            return _no_lock()
        return self._rw_lock.write() if write else self._rw_lock.read()

    @contextmanager
    def _opened(self, write: bool) -> Iterator[Any]:
        with self._locked(write), dbm.open(self.filename, "w" if write else "r") as file:
            yield file

    def get_mutex(self, key: KeyType) -> CacheMutex | None:
        return None if self._mutex_of is None else self._mutex_of(key)  # type: ignore[return-value]

    def get_serialized(self, key: KeyType) -> SerializedReturnType:
        with self._opened(write=False) as file:
            return _found(file, key)

    def get_serialized_multi(self, keys: Iterable[KeyType]) -> list[SerializedReturnType]:
        with self._opened(write=False) as file:
            return [_found(file, key) for key in keys]

    def set_serialized(self, key: KeyType, value: bytes) -> None:
        with self._opened(write=True) as file:
            file[key] = value

    def set_serialized_multi(self, mapping: Mapping[KeyType, bytes]) -> None:
        with self._opened(write=True) as file:
            for key, value in mapping.items():
                file[key] = value

    def delete(self, key: KeyType) -> None:
        self.delete_multi([key])

    def delete_multi(self, keys: Iterable[KeyType]) -> None:
        with self._opened(write=True) as file:
            for key in keys:
                try:
                    del file[key]
                except KeyError:
                    pass


class _no_lock:  # noqa: N801
    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def _found(file: Any, key: KeyType) -> SerializedReturnType:
    # Not each kind of dbm has `get`.
    try:
        return file[key]  # type: ignore[no-any-return]
    except KeyError:
        return NO_VALUE
