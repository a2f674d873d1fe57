"""Copies of regions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .region import CacheRegion

# The attributes that the engine keeps.
_OF_ENGINE = (
    "name",
    "key_mangler",
    "serializer",
    "deserializer",
    "async_creation_runner",
    "expiration_time",
    "region_invalidator",
    "_options",
)
# Each region has its own of these.
_OWN = ("_mutexes", "_decorated", "aio")


def state_of(region: CacheRegion) -> dict[str, Any]:
    """Returns all attributes that a copy of the region has too."""
    state = {name: getattr(region, name) for name in _OF_ENGINE}
    state.update((name, value) for name, value in region.__dict__.items() if name not in _OWN)
    return state


def restore(region: CacheRegion, state: Mapping[str, Any]) -> None:
    """Gives a new region these attributes; its backend, if there is any, comes after what that depends on."""
    for name in sorted(state, key="backend".__eq__):
        setattr(region, name, state[name])
