"""Keys of decorated functions, and functions that change keys."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from hashlib import sha1
from typing import Any

from ..util import compat, langhelpers
from ..util.langhelpers import KeyReentrantMutex, PluginLoader, coerce_string_conf, memoized_property, to_list

__all__ = [
    "KeyReentrantMutex",
    "PluginLoader",
    "coerce_string_conf",
    "compat",
    "function_key_generator",
    "function_multi_key_generator",
    "kwarg_function_key_generator",
    "langhelpers",
    "length_conditional_mangler",
    "memoized_property",
    "repr_obj",
    "sha1_mangle_key",
    "to_list",
]

NO_KEYWORDS = "dogpile.cache's default key creation function does not accept keyword arguments."


def key_prefix(namespace: str | None, fn: Callable[..., Any]) -> str:
    """Returns what the keys of a function begin with, up to its arguments."""
    prefix = f"{fn.__module__}:{fn.__name__}|"
    return prefix if namespace is None else f"{prefix}{namespace}|"


def is_method(fn: Callable[..., Any]) -> bool:
    """Returns True if the first parameter is the object or the class, which does not belong to a key."""
    try:
        names = inspect.getfullargspec(fn).args
    except TypeError:
        return False
    return names[:1] in (["self"], ["cls"])


def function_key_generator(
    namespace: str | None, fn: Callable[..., Any], to_str: Callable[[Any], str] = str
) -> Callable[..., str]:
    """Returns a function from the arguments of `fn` to a key: `module:function|namespace|argument argument`.

    A first parameter `self` or `cls` is left out. Keyword arguments are refused, since the key would depend on
    the way in which an argument is given.
    """
    prefix, skipped = key_prefix(namespace, fn), int(is_method(fn))

    def generate_key(*args: Any, **kw: Any) -> str:
        if kw:
            raise ValueError(NO_KEYWORDS)
        return prefix + " ".join(map(to_str, args[skipped:]))

    return generate_key


def function_multi_key_generator(
    namespace: str | None, fn: Callable[..., Any], to_str: Callable[[Any], str] = str
) -> Callable[..., list[str]]:
    """Returns a function from the arguments of `fn` to a list of keys, one for each argument."""
    prefix, skipped = key_prefix(namespace, fn), int(is_method(fn))

    def generate_keys(*args: Any, **kw: Any) -> list[str]:
        if kw:
            raise ValueError(NO_KEYWORDS)
        return [prefix + to_str(argument) for argument in args[skipped:]]

    return generate_keys


def kwarg_function_key_generator(
    namespace: str | None, fn: Callable[..., Any], to_str: Callable[[Any], str] = str
) -> Callable[..., str]:
    """Returns a function from the arguments of `fn` to a key, whichever way they are given.

    The arguments of the key are in the alphabetical order of their names, defaults included. Those beyond the named
    ones follow.
    """
    prefix, skipped = key_prefix(namespace, fn), int(is_method(fn))
    spec = compat.inspect_getargspec(fn)
    defaults = spec.defaults or ()
    given_by_default = dict(zip(spec.args[len(spec.args) - len(defaults) :], defaults))

    def generate_key(*args: Any, **kw: Any) -> str:
        named = {**given_by_default, **dict(zip(spec.args, args)), **kw}
        for left_out in spec.args[:skipped]:
            named.pop(left_out, None)
        values = [named[name] for name in sorted(named)]
        return prefix + " ".join(map(to_str, [*values, *args[len(spec.args) :]]))

    return generate_key


def sha1_mangle_key(key: str | bytes) -> str:
    """Returns the SHA-1 of the key in hexadecimal digits, for keys that are too long for a server."""
    return sha1(key.encode() if isinstance(key, str) else key).hexdigest()


def length_conditional_mangler(length: int, mangler: Callable[[str], str]) -> Callable[[str], str]:
    """Returns a mangler that leaves keys of less than `length` characters as they are."""

    def mangle(key: str) -> str:
        return mangler(key) if len(key) >= length else key

    return mangle


class repr_obj:  # noqa: N801
    """Formats what it is given only when it is shown, and cuts it in the middle if it is long."""

    __slots__ = ("max_chars", "value")

    def __init__(self, value: Any | Iterable[Any], max_chars: int = 300) -> None:
        self.value = value
        self.max_chars = max_chars

    def __eq__(self, other: object) -> bool:
        return isinstance(other, repr_obj) and self.value == other.value

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        whole = repr(self.value)
        left_out = len(whole) - self.max_chars
        if left_out <= 0:
            return whole
        half = self.max_chars // 2
        return f"{whole[:half]} ... ({left_out} characters truncated) ... {whole[-half:]}"
