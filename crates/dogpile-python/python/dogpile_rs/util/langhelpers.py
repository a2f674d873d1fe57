"""Plugins by name, settings from strings, and a mutex with keys."""

from __future__ import annotations

import abc
import importlib
import importlib.metadata
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, MutableMapping, MutableSet
from typing import Any, Generic, TypeVar, overload

from .typing import Self

T = TypeVar("T")

_INTEGER = re.compile(r"[-+]?[0-9]+")
_NUMBER = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_WORDS: dict[str, Any] = {"true": True, "false": False}


def _coerce(text: str) -> Any:
    text = text.strip()
    if _INTEGER.fullmatch(text):
        return int(text)
    if _NUMBER.fullmatch(text):
        return float(text)
    if text == "None":
        return None
    return _WORDS.get(text.lower(), text)


def coerce_string_conf(d: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings with numbers, true, false and None instead of the strings that spell them."""
    return {name: _coerce(value) if isinstance(value, str) else value for name, value in d.items()}


def to_list(x: Any, default: Any = None) -> Any:
    """Returns a list of what is iterable and not a string, else of the one thing; `default` for None."""
    if x is None:
        return default
    if isinstance(x, Iterable) and not isinstance(x, (str, bytes)):
        return list(x)
    return [x]


class PluginLoader:
    """Classes by name: those that were registered, then the entry points of installed packages."""

    class NotFound(Exception):
        """Neither registered nor an entry point."""

    def __init__(self, group: str) -> None:
        self.group = group
        self.impls: dict[str, Callable[[], Any]] = {}

    def load(self, name: str) -> Any:
        if name not in self.impls:
            for point in importlib.metadata.entry_points(group=self.group, name=name):
                self.impls[name] = point.load
                break
            else:
                raise self.NotFound(f"no plugin {name!r} in group {self.group!r}")
        return self.impls[name]()

    def register(self, name: str, modulepath: str, objname: str) -> None:
        """Gives the name to an object of a module, which is imported when it is first asked for."""

        def load() -> Any:
            return getattr(importlib.import_module(modulepath), objname)

        self.impls[name] = load


class memoized_property(Generic[T]):  # noqa: N801
    """A property that is computed once for an instance, and can be assigned."""

    def __init__(self, fget: Callable[[Any], T], doc: str | None = None) -> None:
        self.fget = fget
        self.__doc__ = doc or fget.__doc__
        self.__name__ = fget.__name__

    @overload
    def __get__(self, obj: None, cls: Any) -> Self: ...
    @overload
    def __get__(self, obj: Any, cls: Any) -> T: ...
    def __get__(self, obj: Any, cls: Any) -> Any:
        if obj is None:
            return self
        value = vars(obj)[self.__name__] = self.fget(obj)
        return value


class Mutex(abc.ABC):
    """A lock that `KeyReentrantMutex` can be put around."""

    @abc.abstractmethod
    def acquire(self, wait: bool = True) -> bool: ...

    @abc.abstractmethod
    def release(self) -> None: ...


class KeyReentrantMutex:
    """A mutex for one key over a mutex that all keys share.

    A thread that holds the shared one for a key may take it for further keys, so that creators can ask for other
    values. It may not take the same key twice.
    """

    def __init__(self, key: str, mutex: Mutex, keys: MutableMapping[int, MutableSet[str]]) -> None:
        self.key = key
        self.mutex = mutex
        self.keys = keys

    @classmethod
    def factory(cls, mutex: Mutex) -> Callable[[str], KeyReentrantMutex]:
        """Returns a function that gives the mutexes of keys over `mutex`."""
        keys: defaultdict[int, MutableSet[str]] = defaultdict(set)
        return lambda key: cls(key, mutex, keys)

    def acquire(self, wait: bool = True) -> bool:
        thread = threading.get_ident()
        held = self.keys.get(thread)
        if held and self.key not in held:
            held.add(self.key)
            return True
        if not self.mutex.acquire(wait=wait):
            return False
        self.keys[thread] = {self.key}
        return True

    def release(self) -> None:
        thread = threading.get_ident()
        held = self.keys.get(thread)
        assert held, "this thread didn't do the acquire"
        assert self.key in held, f"No acquire held for key '{self.key}'"
        held.remove(self.key)
        if not held:
            del self.keys[thread]
            self.mutex.release()

    def locked(self) -> bool:
        """Returns True if a thread of this process holds the key."""
        return any(self.key in held for held in list(self.keys.values()))
