"""Assertions with messages."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from typing import Any


def eq_(a: Any, b: Any, msg: str | None = None) -> None:
    """Asserts that both are equal."""
    assert a == b, msg or f"{a!r} != {b!r}"


def ne_(a: Any, b: Any, msg: str | None = None) -> None:
    """Asserts that both are different."""
    assert a != b, msg or f"{a!r} == {b!r}"


def is_(a: Any, b: Any, msg: str | None = None) -> None:
    """Asserts that both are the same object."""
    assert a is b, msg or f"{a!r} is not {b!r}"


def assert_raises_message(
    except_cls: type[BaseException], msg: str, callable_: Callable[..., Any], *args: Any, **kwargs: Any
) -> None:
    """Asserts that the call raises such an exception, with a text in which the pattern is found."""
    try:
        callable_(*args, **kwargs)
    except except_cls as error:
        assert re.search(msg, str(error)), f"{msg!r} is not in {str(error)!r}"
    else:
        raise AssertionError(f"{except_cls.__name__} was not raised")


def winsleep() -> None:
    """Waits until the clock of Windows has moved, which it does in steps."""
    if sys.platform == "win32":
        time.sleep(0.001)
