"""The types of decorated functions, for type checkers."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeAlias, TypeVar, overload

from .api import NoValueType

_P = ParamSpec("_P")
_Rest = ParamSpec("_Rest")
_Owner = TypeVar("_Owner")
_It = TypeVar("_It")
_V = TypeVar("_V")
# The value as it is given, and the results of calls: the value, the value that is cached, and none.
_V_contra = TypeVar("_V_contra", contravariant=True)
_Value_co = TypeVar("_Value_co", covariant=True)
_Found_co = TypeVar("_Found_co", covariant=True)
_Done_co = TypeVar("_Done_co", covariant=True)

_Awaited: TypeAlias = Coroutine[Any, Any, _V]


class _Function(Protocol[_P, _V_contra, _Value_co, _Found_co, _Done_co]):
    """A decorated function with its companions."""

    @property
    def original(self) -> Callable[..., _Value_co]: ...
    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _Value_co: ...
    def get(self, *args: _P.args, **kwargs: _P.kwargs) -> _Found_co: ...
    def set(self, value: _V_contra, *args: _P.args, **kwargs: _P.kwargs) -> _Done_co: ...
    def invalidate(self, *args: _P.args, **kwargs: _P.kwargs) -> _Done_co: ...
    def refresh(self, *args: _P.args, **kwargs: _P.kwargs) -> _Value_co: ...
    def key(self, *args: _P.args, **kwargs: _P.kwargs) -> Any: ...


class _Method(Protocol[_P, _Rest, _V_contra, _Value_co, _Found_co, _Done_co]):
    """A decorated method, of a class or an object.

    The companions do not know the object: their first argument stands for it, and may be anything.
    """

    @property
    def original(self) -> Callable[..., _Value_co]: ...
    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _Value_co: ...
    def get(self, owner: Any, /, *args: _Rest.args, **kwargs: _Rest.kwargs) -> _Found_co: ...
    def set(self, value: _V_contra, owner: Any, /, *args: _Rest.args, **kwargs: _Rest.kwargs) -> _Done_co: ...
    def invalidate(self, owner: Any, /, *args: _Rest.args, **kwargs: _Rest.kwargs) -> _Done_co: ...
    def refresh(self, owner: Any, /, *args: _Rest.args, **kwargs: _Rest.kwargs) -> _Value_co: ...
    def key(self, owner: Any, /, *args: _Rest.args, **kwargs: _Rest.kwargs) -> Any: ...


CachedMethod: TypeAlias = _Method[_P, _Rest, _V, _V, _V | NoValueType, None]
CachedCoroutineMethod: TypeAlias = _Method[_P, _Rest, _V, _Awaited[_V], _Awaited[_V | NoValueType], _Awaited[None]]


class CachedFunction(_Function[_P, _V, _V, _V | NoValueType, None], Protocol[_P, _V]):
    """A function under `cache_on_arguments`."""

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


class CachedCoroutine(
    _Function[_P, _V, _Awaited[_V], _Awaited[_V | NoValueType], _Awaited[None]], Protocol[_P, _V]
):
    """A coroutine function under `cache_on_arguments`."""

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


class Decorator(Protocol):
    """The result of `cache_on_arguments(...)`.

    Class methods have the type `Any`: type checkers do not see that `classmethod` binds the class to an object that can
    be called. For a similar reason, mypy accepts static methods only if they are called by their class.
    """

    @overload
    def __call__(self, function: Callable[Concatenate[type[_Owner], _Rest], _V], /) -> Any: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[_P, Coroutine[Any, Any, _V]], /
    ) -> CachedCoroutine[_P, _V]: ...
    @overload
    def __call__(self, function: Callable[_P, _V], /) -> CachedFunction[_P, _V]: ...


class CachedMultiFunction(Protocol[_P, _Value_co]):
    """A function of many keys under `cache_multi_on_arguments`.

    The companions of a coroutine function are coroutine functions too.
    """

    original: Callable[..., Any]
    get: Callable[..., Any]
    set: Callable[..., Any]
    invalidate: Callable[..., Any]
    refresh: Callable[..., Any]

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _Value_co: ...

    @overload
    def __get__(
        self: CachedMultiFunction[Concatenate[_Owner, _Rest], _Value_co], instance: _Owner, owner: Any
    ) -> CachedMultiFunction[_Rest, _Value_co]: ...
    @overload
    def __get__(self: _It, instance: Any, owner: Any) -> _It: ...
