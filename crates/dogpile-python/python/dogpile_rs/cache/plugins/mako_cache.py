"""Mako's cached pages, blocks and defs in regions.

    from mako.template import Template

    Template(text, cache_impl="dogpile.cache", cache_args={"regions": {"short": region}})

In the template, `cache_region` names the region, and `cache_timeout` is the expiration time:
`<%def name="news()" cached="True" cache_region="short" cache_timeout="60">`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mako.cache import CacheImpl

from ..api import NO_VALUE


class MakoPlugin(CacheImpl):  # type: ignore[misc]
    def __init__(self, cache: Any) -> None:
        super().__init__(cache)
        try:
            self.regions = cache.template.cache_args["regions"]
        except KeyError:
            raise KeyError("the argument cache_args of the Mako template or lookup needs a dict 'regions'") from None

    def _get_region(self, *, region: str, **_: Any) -> Any:
        try:
            return self.regions[region]
        except KeyError:
            raise KeyError(f"there is no region {region!r}") from None

    def get_or_create(self, key: str, creation_function: Callable[[], Any], **kw: Any) -> Any:
        return self.get_and_replace(key, creation_function, **kw)

    def get_and_replace(self, key: str, creation_function: Callable[[], Any], **kw: Any) -> Any:
        limit = {"expiration_time": kw["timeout"]} if "timeout" in kw else {}
        return self._get_region(**kw).get_or_create(key, creation_function, **limit)

    def put(self, key: str, value: Any, **kw: Any) -> None:
        self._get_region(**kw).set(key, value)

    def get(self, key: str, **kw: Any) -> Any:
        # Mako knows None alone as the absence of a value.
        found = self._get_region(**kw).get(key)
        return None if found is NO_VALUE else found

    def invalidate(self, key: str, **kw: Any) -> None:
        self._get_region(**kw).delete(key)
