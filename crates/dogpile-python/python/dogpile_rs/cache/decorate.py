"""Decorated functions.

A decorated function is a real one with the signature of the function that it stands for. Its body is one call, so the
interpreter itself binds names and defaults.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from .. import _engine
from .api import NO_VALUE
from .signatures import Signature
from .util import function_key_generator, function_multi_key_generator, is_method, key_prefix

if TYPE_CHECKING:
    from .region import CacheRegion


class Cached:
    """The calls of one decorated function."""

    def __init__(
        self,
        region: CacheRegion,
        function: Callable[..., Any],
        generator: Callable[..., Any],
        binds: bool,
        expiration_time: Any,
        should_cache: Callable[[Any], bool] | None,
    ) -> None:
        self.region = region
        self.function = function
        self.generator = generator
        self.expiration_time = expiration_time
        self.should_cache = should_cache
        self.signature = Signature(function)
        # Do keys depend on the arguments alone, and not on the way they are given?
        self.binds = binds
        self.globals: dict[str, Any] = {}
        self.name_of_call = ""

    def timeout(self) -> Any:
        return self.expiration_time() if callable(self.expiration_time) else self.expiration_time

    def key(self, *args: Any, **kw: Any) -> Any:
        """Returns the key of a call with these arguments."""
        if self.binds and (kw or len(args) != self.signature.positional or self.signature.has_more):
            try:
                bound = self.signature.signature.bind(*args, **kw)
            except TypeError:
                # A part of the arguments has a key too, if not one that a call uses.
                pass
            else:
                bound.apply_defaults()
                args, kw = bound.args, bound.kwargs
        return self.generator(*args, **kw)

    def call(self, *args: Any, **kw: Any) -> Any:
        key = self.generator(*args, **kw)
        return self.region.get_or_create(key, self.function, self.timeout(), self.should_cache, (args, kw))

    def call_by_name(self) -> None:
        """Makes calls look up `get_or_create`, which somebody has replaced."""
        if self.name_of_call:
            self.globals[self.name_of_call] = self.call

    def get(self, *args: Any, **kw: Any) -> Any:
        """Returns the value that is cached for these arguments, or `NO_VALUE`."""
        return self.region.get(self.key(*args, **kw))

    def set(self, value: Any, *args: Any, **kw: Any) -> None:
        """Stores a value for these arguments."""
        self.region.set(self.key(*args, **kw), value)

    def invalidate(self, *args: Any, **kw: Any) -> None:
        """Deletes the value of these arguments."""
        self.region.delete(self.key(*args, **kw))

    def refresh(self, *args: Any, **kw: Any) -> Any:
        """Creates, stores and returns a new value."""
        key = self.key(*args, **kw)
        value = self.function(*args, **kw)
        self.region.set(key, value)
        return value


# All decorated functions whose calls do not look up `get_or_create`.
_native: WeakSet[Cached] = WeakSet()


def call_by_name() -> None:
    """Makes the calls of all decorated functions look up `get_or_create`."""
    for cached in _native:
        cached.call_by_name()


def is_replaced(region: CacheRegion) -> bool:
    return "get_or_create" in vars(region) or type(region).get_or_create is not _engine.Region.get_or_create


def cached(
    region: CacheRegion,
    function: Callable[..., Any],
    namespace: str | None,
    expiration_time: Any,
    should_cache: Callable[[Any], bool] | None,
    to_str: Callable[[Any], str],
    generator: Callable[..., Callable[..., Any]],
) -> Any:
    """Returns the function that `cache_on_arguments` puts in place of `function`."""
    # A generator of the user's may not know of `to_str`.
    keys = generator(namespace, function) if to_str is str else generator(namespace, function, to_str)
    is_usual = generator is function_key_generator
    prefix = key_prefix(namespace, function) if is_usual and to_str is str else None
    given = (region, function, keys, is_usual, expiration_time, should_cache)
    if inspect.iscoroutinefunction(function):
        from . import aio_decorate

        own: Cached = aio_decorate.AioCached(*given)
        made = aio_decorate.cached(own, prefix)  # type: ignore[arg-type]
    else:
        own = Cached(*given)
        made, own.globals, own.name_of_call = own.signature.calling(function, _call(own, prefix))
    return _with_companions(made, own, ("get", "set", "invalidate", "refresh", "key"))


def _call(own: Cached, prefix: str | None) -> Callable[..., Any]:
    """Returns what a decorated function calls; the engine's, if `prefix` is what its keys begin with."""
    if prefix is None or not own.signature.is_positional or is_replaced(own.region):
        return own.call
    function = own.function
    site = _engine.Site(own.region, function, prefix, int(is_method(function)), own.expiration_time, own.should_cache)
    _native.add(own)
    own.region._decorated.add(own)
    positional = None if own.signature.has_more else own.signature.positional
    by_number = {0: site.call0, 1: site.call1, 2: site.call2, 3: site.call3}
    return by_number.get(positional, site.calln)  # type: ignore[arg-type, return-value]


def _with_companions(made: Any, own: Any, names: Sequence[str]) -> Any:
    for name in names:
        setattr(made, name, getattr(own, name))
    made.original = own.function
    return made


class CachedMulti:
    """The calls of one decorated function of many keys."""

    def __init__(
        self,
        region: CacheRegion,
        function: Callable[..., Any],
        generator: Callable[..., Sequence[Any]],
        skipped: int,
        expiration_time: Any,
        should_cache: Callable[[Any], bool] | None,
        asdict: bool,
    ) -> None:
        self.region = region
        self.function = function
        self.generator = generator
        # The number of arguments that are no keys: `self` or `cls`.
        self.skipped = skipped
        self.expiration_time = expiration_time
        self.should_cache = should_cache
        self.asdict = asdict

    def timeout(self) -> Any:
        return self.expiration_time() if callable(self.expiration_time) else self.expiration_time

    def creator(self, args: tuple[Any, ...], keys: Sequence[Any]) -> Callable[..., Sequence[Any]]:
        """Returns the function, as one of keys instead of arguments."""
        owner, argument_of = args[: self.skipped], dict(zip(keys, args[self.skipped :]))

        @functools.wraps(self.function)
        def create(*keys_to_create: Any) -> Sequence[Any]:
            arguments = [argument_of[key] for key in keys_to_create]
            return self.in_order(self.function(*owner, *arguments), arguments)

        return create

    def in_order(self, values: Any, arguments: Sequence[Any]) -> Sequence[Any]:
        if not self.asdict:
            return values  # type: ignore[no-any-return]
        return [values.get(argument, NO_VALUE) for argument in arguments]

    def is_stored(self, value: Any) -> bool:
        return value is not NO_VALUE and (self.should_cache is None or bool(self.should_cache(value)))

    def answer(self, args: tuple[Any, ...], values: Sequence[Any]) -> Any:
        if not self.asdict:
            return values
        pairs = zip(args[self.skipped :], values)
        return {argument: value for argument, value in pairs if value is not NO_VALUE}

    def call(self, *args: Any, **kw: Any) -> Any:
        keys = self.generator(*args, **kw)
        should_cache = self.is_stored if self.asdict else self.should_cache
        values = self.region.get_or_create_multi(keys, self.creator(args, keys), self.timeout(), should_cache)
        return self.answer(args, values)

    def get(self, *args: Any, **kw: Any) -> list[Any]:
        """Returns what is cached for each key, with `NO_VALUE` where nothing is."""
        return self.region.get_multi(self.generator(*args, **kw))

    def set(self, mapping: Mapping[Any, Any]) -> None:
        """Stores a value for each key of the mapping."""
        self.region.set_multi(self.by_key(mapping))

    def by_key(self, mapping: Mapping[Any, Any]) -> dict[Any, Any]:
        keys = self.generator(*(None,) * self.skipped, *mapping)
        return dict(zip(keys, mapping.values()))

    def invalidate(self, *args: Any, **kw: Any) -> None:
        """Deletes the values of the keys."""
        self.region.delete_multi(self.generator(*args, **kw))

    def refresh(self, *args: Any, **kw: Any) -> Any:
        """Creates, stores and returns new values for the keys."""
        keys = self.generator(*args, **kw)
        values = self.function(*args, **kw)
        self.region.set_multi(self.refreshed(args, keys, values))
        return values

    def refreshed(self, args: tuple[Any, ...], keys: Sequence[Any], values: Any) -> dict[Any, Any]:
        pairs = zip(keys, self.in_order(values, args[self.skipped :]))
        return {key: value for key, value in pairs if value is not NO_VALUE}


def cached_multi(
    region: CacheRegion,
    function: Callable[..., Any],
    namespace: str | None,
    expiration_time: Any,
    should_cache: Callable[[Any], bool] | None,
    asdict: bool,
    to_str: Callable[[Any], str],
    generator: Callable[..., Callable[..., Sequence[Any]]],
) -> Any:
    """Returns the function that `cache_multi_on_arguments` puts in place of `function`."""
    keys = generator(namespace, function) if to_str is str else generator(namespace, function, to_str)
    # The usual generator leaves `self` out; another one may do what it likes with it.
    skipped = int(generator is function_multi_key_generator and is_method(function))
    given = (region, function, keys, skipped, expiration_time, should_cache, asdict)
    if inspect.iscoroutinefunction(function):
        from . import aio_decorate

        own: CachedMulti = aio_decorate.AioCachedMulti(*given)
        made = aio_decorate.cached_multi(own)  # type: ignore[arg-type]
    else:
        own = CachedMulti(*given)
        made = Signature(function).calling(function, own.call)[0]
    return _with_companions(made, own, ("get", "set", "invalidate", "refresh"))
