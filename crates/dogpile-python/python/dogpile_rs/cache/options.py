"""Options of the engine, for regions over native backends."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from .exception import ValidationError

NAMES = frozenset(
    {
        "early",
        "jitter",
        "keep_when_down",
        "near.broadcast",
        "near.max_entries",
        "near.max_staleness",
        "near.serve_when_down",
        "on_wait_timeout",
        "resilient",
        "retry_after",
        "soft_timeout",
        "stale_if_error",
        "stale_while_revalidate",
        "wait_timeout",
    }
)


def texts(options: Mapping[str, Any]) -> dict[str, str]:
    """Returns options as the engine has them: all values are texts."""
    unknown = sorted(set(options) - NAMES)
    if unknown:
        raise ValidationError(f"unknown options: {', '.join(unknown)}; known are {', '.join(sorted(NAMES))}")
    return {name: _text(name, value) for name, value in options.items()}


def _text(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime.timedelta):
        return str(value.total_seconds())
    if isinstance(value, (int, float, str)):
        return str(value)
    raise ValidationError(f"the option {name} must be a text, a number, a bool or a timedelta, not {value!r}")
