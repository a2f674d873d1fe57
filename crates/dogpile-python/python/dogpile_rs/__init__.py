"""Caching with dogpile locks: the API of dogpile.cache on a Rust engine.

`dogpile_rs.cache` has regions, backends and decorators. `install()` makes the same modules importable under the name
`dogpile`, for programs that were written for dogpile.cache.
"""

from ._shim import install
from .lock import Lock, NeedRegenerationException

__version__ = "0.1.0"

# The version of dogpile.cache whose API this is; `dogpile.__version__` says so after `install()`.
__api_version__ = "1.5.1"

__all__ = ["Lock", "NeedRegenerationException", "install"]
