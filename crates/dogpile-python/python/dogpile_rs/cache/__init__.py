"""Regions of cached values."""

from .. import __api_version__ as __version__
from . import api, backends, exception, proxy, region, util
from .region import CacheRegion, make_region, register_backend

__all__ = [
    "CacheRegion",
    "__version__",
    "api",
    "backends",
    "exception",
    "make_region",
    "proxy",
    "region",
    "register_backend",
    "util",
]
