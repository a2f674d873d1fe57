"""A lock for many readers or one writer."""

from __future__ import annotations

import logging
import threading

log = logging.getLogger("dogpile.util.readwrite_lock")


class LockError(Exception):
    """A lock was released that is not held."""


class ReadWriteMutex:
    """Many threads may hold it to read, or one to write.

    A writer that waits does not keep readers out. Any thread may release what another has acquired.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._readers = 0
        self._writing = False

    def acquire_read_lock(self, wait: bool = True) -> bool:
        """Returns False if `wait` is false and there is a writer."""
        with self._changed:
            if self._writing and not wait:
                return False
            self._changed.wait_for(lambda: not self._writing)
            self._readers += 1
        log.debug("%s acquired read lock", self)
        return True

    def release_read_lock(self) -> None:
        with self._changed:
            if self._readers == 0:
                raise LockError("the read lock was released more often than it was acquired")
            self._readers -= 1
            if self._readers == 0:
                self._changed.notify_all()
        log.debug("%s released read lock", self)

    def acquire_write_lock(self, wait: bool = True) -> bool:
        """Returns False if `wait` is false and anybody has the lock."""
        with self._changed:
            if not wait and (self._writing or self._readers):
                return False
            self._changed.wait_for(lambda: not self._writing and not self._readers)
            self._writing = True
        log.debug("%s acquired write lock", self)
        return True

    def release_write_lock(self) -> None:
        with self._changed:
            if not self._writing:
                raise LockError("the write lock was released without having been acquired")
            self._writing = False
            self._changed.notify_all()
        log.debug("%s released write lock", self)
