"""Serializers by name, as services in Rust have them too."""

from __future__ import annotations

import functools
import json
import pickle
from typing import Any

from .api import Deserializer, Serializer
from .exception import ValidationError


def _json_bytes(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def codec(name: str) -> tuple[Serializer, Deserializer]:
    """Returns the serializer and the deserializer of that name: "pickle", "json" or "msgpack"."""
    if name == "pickle":
        return pickle.dumps, pickle.loads
    if name == "json":
        return _json_bytes, json.loads
    if name == "msgpack":
        import msgpack

        # Keys of dicts may be numbers too, as they may be stored.
        return msgpack.packb, functools.partial(msgpack.unpackb, strict_map_key=False)
    raise ValidationError(f"there is no codec {name!r}; there are pickle, json and msgpack")
