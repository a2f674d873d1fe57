"""The name `dogpile` for the modules of this package."""

from __future__ import annotations

import importlib
import importlib.util
import pathlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import BuiltinImporter, ModuleSpec
from types import ModuleType
from typing import Any

OURS = __package__
THEIRS = "dogpile"

# The folder to put on PYTHONPATH where no code of ours runs before the program's own imports.
DROP_IN = pathlib.Path(__file__).with_name("_dropin")


class _Alias(MetaPathFinder, Loader):
    """Finds `dogpile.x.y` as the very module `dogpile_rs.x.y`.

    It is one object under two names, so `isinstance` and `mock.patch` work with either.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(THEIRS + "."):
            return None
        own = importlib.util.find_spec(OURS + fullname[len(THEIRS) :])
        if own is None:
            return None
        return ModuleSpec(fullname, self, is_package=own.submodule_search_locations is not None)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(OURS + spec.name[len(THEIRS) :])
        # The import system is about to write the alias into these; `exec_module` puts them back.
        names = ("__spec__", "__loader__", "__package__")
        spec.loader_state = {name: getattr(module, name) for name in names}
        return module

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        name = module.__spec__.name
        vars(module).update(module.__spec__.loader_state)
        # Tracers look for what they instrument by the name of the module.
        module.__name__ = name


class _Root(ModuleType):
    """The module `dogpile` itself: that of this package, with the version of the API."""

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.modules[OURS], name)


_finder = _Alias()


def _is_drop_in(module: ModuleType) -> bool:
    return pathlib.Path(getattr(module, "__file__", None) or "/").is_relative_to(DROP_IN)


def install(native: bool | None = None) -> None:
    """Makes `import dogpile` find this package, in this process and from now on.

    With `native`, the names of dogpile.cache for backends of servers and files have native ones, where the arguments
    allow for it; the variable DOGPILE_NATIVE=1 does the same.

    A dogpile.cache that is installed beside it is shadowed. Raises `ImportError` if that library was imported
    before, since its classes are then in use already. Installing twice does nothing.
    """
    if native is not None:
        importlib.import_module(OURS + ".cache.backends")._backend_loader.is_native = native
    present = sys.modules.get(THEIRS)
    if isinstance(present, _Root):
        return
    if present is not None and not _is_drop_in(present):
        raise ImportError(
            f"dogpile_rs.install() must run before the first import of dogpile, which came from "
            f"{getattr(present, '__file__', 'elsewhere')}"
        )
    ours = importlib.import_module(OURS)
    root = _Root(THEIRS, ours.__doc__)
    root.__path__ = []
    root.__spec__ = ModuleSpec(THEIRS, _finder, is_package=True)
    vars(root).update(
        __version__=ours.__api_version__,
        Lock=ours.Lock,
        NeedRegenerationException=ours.NeedRegenerationException,
    )
    # Before the interpreter's own finders. Those of tracers come first: they look at what the others find.
    at = sys.meta_path.index(BuiltinImporter) if BuiltinImporter in sys.meta_path else 0
    sys.meta_path.insert(at, _finder)
    sys.modules[THEIRS] = root
    _name_pickled_classes()


def _name_pickled_classes() -> None:
    # Clients of memcached pickle these by name, and processes with dogpile.cache read the same servers.
    api = importlib.import_module(OURS + ".cache.api")
    for pickled in (api.CachedValue, api.NoValue):
        pickled.__module__ = THEIRS + ".cache.api"
