"""The names of the former package dogpile.core."""

from . import __api_version__ as __version__
from .lock import Lock, NeedRegenerationException
from .util import nameregistry, readwrite_lock
from .util.nameregistry import NameRegistry
from .util.readwrite_lock import ReadWriteMutex

__all__ = [
    "Lock",
    "NameRegistry",
    "NeedRegenerationException",
    "ReadWriteMutex",
    "__version__",
    "nameregistry",
    "readwrite_lock",
]
