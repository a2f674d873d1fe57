"""Strategies of invalidating all values of a region."""

from __future__ import annotations

import abc

from .. import _engine


class RegionInvalidationStrategy(abc.ABC):
    """Says which values of a region no longer count, by the time of their creation.

    Give an instance to `CacheRegion.configure(region_invalidator=...)`, for example one that keeps the time of the
    last invalidation where all processes see it.
    """

    def invalidate(self, hard: bool = True) -> None:
        """Notes that all values created up to now no longer count.

        After a hard invalidation they are missing: callers wait for the new value. After a soft one they are expired:
        callers get the former value while one creates the next.
        """
        raise NotImplementedError()

    def is_hard_invalidated(self, timestamp: float) -> bool:
        """Returns True if the last invalidation was hard and a value of that time was created before it."""
        raise NotImplementedError()

    def is_soft_invalidated(self, timestamp: float) -> bool:
        """Returns True if the last invalidation was soft and a value of that time was created before it."""
        raise NotImplementedError()

    def is_invalidated(self, timestamp: float) -> bool:
        """Returns True if a value of that time was created before the last invalidation, of either kind."""
        raise NotImplementedError()

    def was_soft_invalidated(self) -> bool:
        """Returns True if the last invalidation was soft."""
        raise NotImplementedError()

    def was_hard_invalidated(self) -> bool:
        """Returns True if the last invalidation was hard."""
        raise NotImplementedError()


# The time of the last invalidation in this process. The engine knows it, and looks at it without calling Python.
DefaultInvalidationStrategy = _engine.DefaultInvalidation
RegionInvalidationStrategy.register(DefaultInvalidationStrategy)
