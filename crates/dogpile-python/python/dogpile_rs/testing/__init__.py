"""Assertions and test suites for the authors of backends."""

from . import assertions
from .assertions import assert_raises_message, eq_, is_, ne_, winsleep

__all__ = ["assert_raises_message", "assertions", "eq_", "is_", "ne_", "winsleep"]
