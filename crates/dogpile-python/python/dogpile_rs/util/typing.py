"""Names of `typing` that came after Python 3.10."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self
elif sys.version_info >= (3, 11):
    from typing import Self
else:
    Self = Any

__all__ = ["Self"]
