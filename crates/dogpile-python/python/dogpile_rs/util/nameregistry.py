"""One live object for each name."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from weakref import WeakValueDictionary


class NameRegistry:
    """Creates an object for a name when it is first asked for, and gives the same one to all who ask meanwhile.

    The registry itself does not keep an object: it is gone when its last user drops it. `creator` is called with the
    name and what else was given to `get`.
    """

    def __init__(self, creator: Callable[..., Any]) -> None:
        self.creator = creator
        self._living: WeakValueDictionary[Any, Any] = WeakValueDictionary()
        self._mutex = threading.RLock()

    def get(self, identifier: Any, *args: Any, **kw: Any) -> Any:
        found = self._living.get(identifier)
        if found is not None:
            return found
        with self._mutex:
            found = self._living.get(identifier)
            if found is None:
                found = self._living[identifier] = self.creator(identifier, *args, **kw)
            return found
