"""Functions with the signature of another function."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any

Parameter = inspect.Parameter


@functools.lru_cache(maxsize=512)
def _compiled(source: str, name: str) -> CodeType:
    module = compile(source, "<dogpile_rs>", "exec")
    function = next(constant for constant in module.co_consts if isinstance(constant, CodeType))
    # Tracebacks have the name of the function that it stands for.
    return function.replace(co_name=name)


class Signature:
    """The parameters of a function, as the source text that declares them and that passes them on."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.signature = inspect.signature(function)
        self.defaults: list[Any] = []
        self.keyword_defaults: dict[str, Any] = {}
        self.declared: list[str] = []
        self.passed: list[str] = []
        self.is_positional = True
        self.positional = 0
        self.has_more = False
        for parameter in self.signature.parameters.values():
            self._add(parameter)
        if self.declared and self.declared[-1] == "*":
            self.declared.pop()
        kinds = [parameter.kind for parameter in self.signature.parameters.values()]
        only = kinds.count(Parameter.POSITIONAL_ONLY)
        if only:
            self.declared.insert(only, "/")

    def _add(self, parameter: Parameter) -> None:
        name, kind = parameter.name, parameter.kind
        has_default = parameter.default is not Parameter.empty
        if kind is Parameter.VAR_POSITIONAL:
            self.has_more = True
            self.declared.append(f"*{name}")
            self.passed.append(f"*{name}")
        elif kind is Parameter.VAR_KEYWORD:
            self.is_positional = False
            self.declared.append(f"**{name}")
            self.passed.append(f"**{name}")
        elif kind is Parameter.KEYWORD_ONLY:
            self.is_positional = False
            if not any(declared.startswith("*") for declared in self.declared):
                self.declared.append("*")
            self.declared.append(f"{name}=0" if has_default else name)
            self.passed.append(f"{name}={name}")
            if has_default:
                self.keyword_defaults[name] = parameter.default
        else:
            self.positional += 1
            self.declared.append(f"{name}=0" if has_default else name)
            self.passed.append(name)
            if has_default:
                self.defaults.append(parameter.default)

    def unused(self, name: str) -> str:
        """Returns the name, or one like it that is not a parameter's."""
        while name in self.signature.parameters:
            name += "_"
        return name

    def function(self, of: Callable[..., Any], source: str, names: dict[str, Any]) -> FunctionType:
        """Returns the function whose source that is, as one that stands for `of`.

        `source` begins with `def` or `async def` and has the names in `names` as globals.
        """
        name = getattr(of, "__name__", "function")
        names |= {"__name__": getattr(of, "__module__", __name__), "__builtins__": __builtins__}
        made = FunctionType(_compiled(source, name), names, name, tuple(self.defaults) or None)
        made.__kwdefaults__ = self.keyword_defaults or None
        functools.update_wrapper(made, of)
        return made

    def calling(self, of: Callable[..., Any], call: Callable[..., Any]) -> tuple[FunctionType, dict[str, Any], str]:
        """Returns a function that passes its arguments to `call`, its globals, and the name of `call` in them."""
        name = self.unused("call")
        source = f"def function({', '.join(self.declared)}): return {name}({', '.join(self.passed)})"
        names = {name: call}
        return self.function(of, source, names), names, name

    def awaiting(self, of: Callable[..., Any], call: Callable[..., Any]) -> tuple[FunctionType, dict[str, Any], str]:
        """Returns a coroutine function that awaits `call` with its arguments; else as `calling`."""
        name = self.unused("call")
        source = f"async def function({', '.join(self.declared)}): return await {name}({', '.join(self.passed)})"
        names = {name: call}
        return self.function(of, source, names), names, name
