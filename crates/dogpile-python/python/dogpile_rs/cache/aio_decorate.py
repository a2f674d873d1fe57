"""Decorated coroutine functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .. import _engine
from .api import NO_VALUE
from .decorate import Cached, CachedMulti, is_replaced
from .signatures import Signature
from .util import is_method

if TYPE_CHECKING:
    pass


class AioCached(Cached):
    """The calls of one decorated coroutine function."""

    async def call(self, *args: Any, **kw: Any) -> Any:
        key = self.generator(*args, **kw)
        return await self.region.aio.get_or_create(key, self.function, self.timeout(), self.should_cache, (args, kw))

    async def get(self, *args: Any, **kw: Any) -> Any:
        """Returns the value that is cached for these arguments, or `NO_VALUE`."""
        return await self.region.aio.get(self.key(*args, **kw))

    async def set(self, value: Any, *args: Any, **kw: Any) -> None:  # type: ignore[override]
        """Stores a value for these arguments."""
        await self.region.aio.set(self.key(*args, **kw), value)

    async def invalidate(self, *args: Any, **kw: Any) -> None:  # type: ignore[override]
        """Deletes the value of these arguments."""
        await self.region.aio.delete(self.key(*args, **kw))

    async def refresh(self, *args: Any, **kw: Any) -> Any:
        """Creates, stores and returns a new value."""
        key = self.key(*args, **kw)
        value = await self.function(*args, **kw)
        await self.region.aio.set(key, value)
        return value


# A hit needs no further coroutine.
_PEEKING = """\
async def function({declared}):
    {value} = {peek}({passed})
    if {value} is {missing}:
        return await {call}({passed})
    return {value}
"""


def _peeking(own: AioCached, prefix: str) -> Any:
    """Returns a coroutine function that looks for the value before it calls anything else."""
    signature, function = own.signature, own.function
    site = _engine.Site(own.region, function, prefix, int(is_method(function)), own.expiration_time, None)
    positional = None if signature.has_more else signature.positional
    peek = {0: site.peek0, 1: site.peek1, 2: site.peek2, 3: site.peek3}.get(positional, site.peekn)  # type: ignore[arg-type]
    objects = {"peek": peek, "missing": NO_VALUE, "call": own.call}
    names = {name: signature.unused(name) for name in (*objects, "value")}
    source = _PEEKING.format(declared=", ".join(signature.declared), passed=", ".join(signature.passed), **names)
    return signature.function(function, source, {names[name]: it for name, it in objects.items()})


def cached(own: AioCached, prefix: str | None) -> Any:
    """Returns the coroutine function that `cache_on_arguments` puts in place of another.

    `prefix` is what the keys begin with, where the engine may write them.
    """
    if prefix is not None and own.signature.is_positional and not is_replaced(own.region):
        return _peeking(own, prefix)
    return own.signature.awaiting(own.function, own.call)[0]


class AioCachedMulti(CachedMulti):
    """The calls of one decorated coroutine function of many keys."""

    def creator(self, args: tuple[Any, ...], keys: Sequence[Any]) -> Callable[..., Any]:
        owner, argument_of = args[: self.skipped], dict(zip(keys, args[self.skipped :]))

        async def create(*keys_to_create: Any) -> Sequence[Any]:
            arguments = [argument_of[key] for key in keys_to_create]
            return self.in_order(await self.function(*owner, *arguments), arguments)

        return create

    async def call(self, *args: Any, **kw: Any) -> Any:
        keys = self.generator(*args, **kw)
        should_cache = self.is_stored if self.asdict else self.should_cache
        values = await self.region.aio.get_or_create_multi(keys, self.creator(args, keys), self.timeout(), should_cache)
        return self.answer(args, values)

    async def get(self, *args: Any, **kw: Any) -> list[Any]:  # type: ignore[override]
        """Returns what is cached for each key, with `NO_VALUE` where nothing is."""
        return await self.region.aio.get_multi(self.generator(*args, **kw))

    async def set(self, mapping: Mapping[Any, Any]) -> None:  # type: ignore[override]
        """Stores a value for each key of the mapping."""
        await self.region.aio.set_multi(self.by_key(mapping))

    async def invalidate(self, *args: Any, **kw: Any) -> None:  # type: ignore[override]
        """Deletes the values of the keys."""
        await self.region.aio.delete_multi(self.generator(*args, **kw))

    async def refresh(self, *args: Any, **kw: Any) -> Any:
        """Creates, stores and returns new values for the keys."""
        keys = self.generator(*args, **kw)
        values = await self.function(*args, **kw)
        await self.region.aio.set_multi(self.refreshed(args, keys, values))
        return values


def cached_multi(own: AioCachedMulti) -> Any:
    """Returns the coroutine function that `cache_multi_on_arguments` puts in place of another."""
    return Signature(own.function).awaiting(own.function, own.call)[0]
