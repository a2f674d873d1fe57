"""The types of decorated functions, for type checkers."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from .api import NoValueType

_P = ParamSpec("_P")
_Rest = ParamSpec("_Rest")
_Owner = TypeVar("_Owner")
_V = TypeVar("_V")
_Result_co = TypeVar("_Result_co", covariant=True)
_It = TypeVar("_It")


class CachedFunction(Protocol[_P, _V]):
    """What `cache_on_arguments` makes of a function."""

    original: Callable[..., _V]

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _V: ...
    def get(self, *args: _P.args, **kwargs: _P.kwargs) -> _V | NoValueType: ...
    def set(self, value: _V, *args: _P.args, **kwargs: _P.kwargs) -> None: ...
    def invalidate(self, *args: _P.args, **kwargs: _P.kwargs) -> None: ...
    def refresh(self, *args: _P.args, **kwargs: _P.kwargs) -> _V: ...
    def key(self, *args: _P.args, **kwargs: _P.kwargs) -> Any: ...

    @overload
    def __get__(
        self: CachedFunction[Concatenate[Any, _Rest], _V], instance: None, owner: Any
    ) -> CachedMethod[Concatenate[Any, _Rest], _Rest, _V]: ...
    @overload
    def __get__(
        self: CachedFunction[Concatenate[_Owner, _Rest], _V], instance: _Owner, owner: Any
    ) -> CachedMethod[_Rest, _Rest, _V]: ...
    @overload
    def __get__(self: _It, instance: Any, owner: Any) -> _It: ...


class CachedMethod(Protocol[_P, _Rest, _V]):
    """What `cache_on_arguments` makes of a method, as a class or an object has it.

    The further functions do not know of the object: their first argument stands for it, and may be anything.
    """

    original: Callable[..., _V]

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _V: ...
    def get(self, owner: Any, /, *args: _Rest.args, **kwargs: _Rest.kwargs) -> _V | NoValueType: ...
    def set(self, value: _V, owner: Any, /, *args: _Rest.args, **kwargs: _Rest.kwargs) -> None: ...
    def invalidate(self, owner: Any, /, *args: _Rest.args, **kwargs: _Rest.kwargs) -> None: ...
    def refresh(self, owner: Any, /, *args: _Rest.args, **kwargs: _Rest.kwargs) -> _V: ...
    def key(self, owner: Any, /, *args: _Rest.args, **kwargs: _Rest.kwargs) -> Any: ...


class CachedCoroutine(Protocol[_P, _V]):
    """What `cache_on_arguments` makes of a coroutine function."""

    original: Callable[..., Coroutine[Any, Any, _V]]

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> Coroutine[Any, Any, _V]: ...
    def get(self, *args: _P.args, **kwargs: _P.kwargs) -> Coroutine[Any, Any, _V | NoValueType]: ...
    def set(self, value: _V, *args: _P.args, **kwargs: _P.kwargs) -> Coroutine[Any, Any, None]: ...
    def invalidate(self, *args: _P.args, **kwargs: _P.kwargs) -> Coroutine[Any, Any, None]: ...
    def refresh(self, *args: _P.args, **kwargs: _P.kwargs) -> Coroutine[Any, Any, _V]: ...
    def key(self, *args: _P.args, **kwargs: _P.kwargs) -> Any: ...

    @overload
    def __get__(
        self: CachedCoroutine[Concatenate[Any, _Rest], _V], instance: None, owner: Any
    ) -> CachedCoroutineMethod[Concatenate[Any, _Rest], _Rest, _V]: ...
    @overload
    def __get__(
        self: CachedCoroutine[Concatenate[_Owner, _Rest], _V], instance: _Owner, owner: Any
    ) -> CachedCoroutineMethod[_Rest, _Rest, _V]: ...
    @overload
    def __get__(self: _It, instance: Any, owner: Any) -> _It: ...


class CachedCoroutineMethod(Protocol[_P, _Rest, _V]):
    """What `cache_on_arguments` makes of a coroutine method: see `CachedMethod`."""

    original: Callable[..., Coroutine[Any, Any, _V]]

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> Coroutine[Any, Any, _V]: ...
    def get(self, owner: Any, /, *args: _Rest.args, **kwargs: _Rest.kwargs) -> Coroutine[Any, Any, _V | NoValueType]: ...
    def set(self, value: _V, owner: Any, /, *args: _Rest.args, **kwargs: _Rest.kwargs) -> Coroutine[Any, Any, None]: ...
    def invalidate(self, owner: Any, /, *args: _Rest.args, **kwargs: _Rest.kwargs) -> Coroutine[Any, Any, None]: ...
    def refresh(self, owner: Any, /, *args: _Rest.args, **kwargs: _Rest.kwargs) -> Coroutine[Any, Any, _V]: ...
    def key(self, owner: Any, /, *args: _Rest.args, **kwargs: _Rest.kwargs) -> Any: ...


class Decorator(Protocol):
    """What `cache_on_arguments(...)` returns.

    A class method has no more than the type `Any`: type checkers do not see that `classmethod` binds the class to an
    object that can be called. For the like reason, mypy wants a static method to be called by its class.
    """

    @overload
    def __call__(self, function: Callable[Concatenate[type[_Owner], _Rest], _V], /) -> Any: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[_P, Coroutine[Any, Any, _V]], /
    ) -> CachedCoroutine[_P, _V]: ...
    @overload
    def __call__(self, function: Callable[_P, _V], /) -> CachedFunction[_P, _V]: ...


class CachedMultiFunction(Protocol[_P, _Result_co]):
    """What `cache_multi_on_arguments` makes of a function of many keys.

    Where the function is a coroutine function, so are the further ones.
    """

    original: Callable[..., Any]
    get: Callable[..., Any]
    set: Callable[..., Any]
    invalidate: Callable[..., Any]
    refresh: Callable[..., Any]

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _Result_co: ...

    @overload
    def __get__(
        self: CachedMultiFunction[Concatenate[_Owner, _Rest], _Result_co], instance: _Owner, owner: Any
    ) -> CachedMultiFunction[_Rest, _Result_co]: ...
    @overload
    def __get__(self: _It, instance: Any, owner: Any) -> _It: ...
