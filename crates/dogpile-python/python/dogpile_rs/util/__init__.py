"""Building blocks that are useful without a cache."""

from . import compat, langhelpers, nameregistry, readwrite_lock
from .langhelpers import KeyReentrantMutex, PluginLoader, coerce_string_conf, memoized_property, to_list
from .nameregistry import NameRegistry
from .readwrite_lock import ReadWriteMutex

__all__ = [
    "KeyReentrantMutex",
    "NameRegistry",
    "PluginLoader",
    "ReadWriteMutex",
    "coerce_string_conf",
    "compat",
    "langhelpers",
    "memoized_property",
    "nameregistry",
    "readwrite_lock",
    "to_list",
]
