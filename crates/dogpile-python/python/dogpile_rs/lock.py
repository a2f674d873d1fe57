"""The dogpile lock: of all who need a value, one creates it.

It needs no cache. A mutex, a function that reads the value and one that creates it are enough.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from .util.langhelpers import Mutex

log = logging.getLogger("dogpile.lock")


class NeedRegenerationException(Exception):
    """Raised by the function that reads a value if there is none."""


class _Nothing:
    """Stands for a value that has yet to be found."""


NOT_REGENERATED: Any = _Nothing()


class _Watched(type):
    """Notices that a tracer or a test replaces a method of the class.

    Regions create values without Python's lock where they can. A method that was replaced is to be called, so they
    stop doing so then.
    """

    def __setattr__(cls, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        for told in _on_replacement:
            told()


_on_replacement: list[Callable[[], None]] = []


def on_replacement(told: Callable[[], None]) -> None:
    """Has the function called when a part of `Lock` is replaced."""
    _on_replacement.append(told)


class Lock(metaclass=_Watched):
    """A context manager that gives the value, from the cache or created.

    - `value_and_created_fn` returns the value and the time of its creation, or raises `NeedRegenerationException`. A
      time of zero or less says that the value is not to be used.
    - `creator` returns a new value and its time.
    - `mutex` has `acquire(wait)` and `release()`; its holder is the one who creates.
    - `expiretime` is the age in seconds beyond which a value is expired; None is never.
    - `async_creator` is called with the mutex instead of `creator` where there is an expired value, which is then
      returned. It has to release the mutex when the new value is there.

    An expired value goes to all but the one who creates. Without any value, they wait.
    """

    def __init__(
        self,
        mutex: Mutex,
        creator: Callable[[], tuple[Any, float]],
        value_and_created_fn: Callable[[], tuple[Any, float]],
        expiretime: float | None,
        async_creator: Callable[[Mutex], Any] | None = None,
    ) -> None:
        self.mutex = mutex
        self.creator = creator
        self.value_and_created_fn = value_and_created_fn
        self.expiretime = expiretime
        self.async_creator = async_creator

    def __enter__(self) -> Any:
        try:
            value, created = self.value_and_created_fn()
        except NeedRegenerationException:
            log.debug("NeedRegenerationException")
            value, created = NOT_REGENERATED, -1.0
        if self._is_fresh(created):
            return value
        if created > 0:
            if not self.mutex.acquire(False):
                log.debug("creation function in progress elsewhere, returning")
                return value
        else:
            log.debug("no value, waiting for create lock")
            self.mutex.acquire()
        log.debug("value creation lock %r acquired" % self.mutex)
        return self._with_mutex(value, created)

    def __exit__(self, type_: Any, value: Any, traceback: Any) -> None:
        pass

    def _is_fresh(self, created: float) -> bool:
        return created > 0 and (self.expiretime is None or time.time() - created <= self.expiretime)

    def _is_expired(self, created: float) -> bool:
        """Is called by Datadog's tracer."""
        return not self._is_fresh(created)

    def _has_value(self, created: float) -> bool:
        """Is a part of the original for those who override it."""
        return created > 0

    def _with_mutex(self, value: Any, created: float) -> Any:
        handed_over = False
        try:
            if created <= 0:
                # Another may have created it while this one waited.
                try:
                    value, created = self.value_and_created_fn()
                except NeedRegenerationException:
                    pass
                else:
                    if self._is_fresh(created):
                        log.debug("Concurrent thread created the value")
                        return value
            if self.async_creator is not None and value is not NOT_REGENERATED:
                log.debug("Passing creation lock to async runner")
                handed_over = True
                try:
                    self.async_creator(self.mutex)
                except BaseException:
                    handed_over = False
                    raise
                return value
            state = "not-yet-present" if value is NOT_REGENERATED else "previously expired"
            log.debug("Calling creation function for %s value", state)
            return self.creator()[0]
        finally:
            if not handed_over:
                self.mutex.release()
                log.debug("Released creation lock")
