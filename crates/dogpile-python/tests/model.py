"""Random programs of calls of a region, to be run on dogpile.cache and on this package in one process."""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import random
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

KEYS = ["a", "b", "some key", "ü"]
LIMITS = [None, None, 0, 1, 5, -1]


class Library:
    """One of both libraries."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.cache = self.module("cache")

    def module(self, name: str) -> ModuleType:
        return importlib.import_module(f"{self.name}.{name}")


class Records(logging.Handler):
    """Records of the log, without repetitions: how often a value is looked at is nobody's business."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = f"{record.name} {record.levelname} {record.getMessage()}"
        if self.texts[-1:] != [text]:
            self.texts.append(text)


@contextlib.contextmanager
def recorded() -> Iterator[Records]:
    log, records = logging.getLogger("dogpile.cache.region"), Records()
    before = log.level
    log.addHandler(records)
    log.setLevel(logging.DEBUG)
    try:
        yield records
    finally:
        log.removeHandler(records)
        log.setLevel(before)


def spying_proxy(library: Library, calls: list[str]) -> Any:
    """Returns a proxy that notes the calls of the backend."""
    base = library.module("cache.proxy").ProxyBackend

    def noting(name: str) -> Callable[..., Any]:
        def call(self: Any, *args: Any) -> Any:
            keys = sorted(args[0]) if isinstance(args[0], dict) else list(args[0]) if "multi" in name else args[0]
            # dogpile.cache asks for no keys at all too.
            if keys:
                calls.append(f"{name} {keys}")
            return getattr(self.proxied, name)(*args)

        return call

    names = ["get", "set", "delete", "get_serialized", "set_serialized"]
    names += [f"{name}_multi" for name in names]
    return type("Spy", (base,), {name: noting(name) for name in names})()


class OwnInvalidation:
    """A strategy of the user's, with a step for each question."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.at: float | None = None
        self.hard = True

    def invalidate(self, hard: bool = True) -> None:
        self.at, self.hard = self.clock(), hard

    def is_invalidated(self, timestamp: float) -> bool:
        return self.at is not None and timestamp < self.at

    def was_hard_invalidated(self) -> bool:
        return self.at is not None and self.hard

    def was_soft_invalidated(self) -> bool:
        return self.at is not None and not self.hard

    def is_hard_invalidated(self, timestamp: float) -> bool:
        return self.was_hard_invalidated() and self.is_invalidated(timestamp)

    def is_soft_invalidated(self, timestamp: float) -> bool:
        return self.was_soft_invalidated() and self.is_invalidated(timestamp)


def configured(library: Library, kind: str, limit: float | None, clock: Any, calls: list[str]) -> Any:
    """Returns a region of that kind: what is between it and its values."""
    given: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    if "mangler" in kind:
        given["key_mangler"] = library.module("cache.util").sha1_mangle_key
    if "json" in kind:
        given["serializer"] = lambda value: json.dumps(value).encode()
        given["deserializer"] = json.loads
    if "runner" in kind:

        def runner(region: Any, key: str, creator: Callable[[], Any], mutex: Any) -> None:
            calls.append(f"runner {key}")
            try:
                region.set(key, creator())
            finally:
                mutex.release()

        given["async_creation_runner"] = runner
    if "proxy" in kind:
        settings["wrap"] = [spying_proxy(library, calls)]
    if "strategy" in kind:
        settings["region_invalidator"] = OwnInvalidation(clock)
    backend = "dogpile.cache.memory_pickle" if "pickle" in kind else "dogpile.cache.memory"
    region = library.cache.make_region(**given)
    return region.configure(backend, expiration_time=limit, **settings)


class Program:
    """A program of random calls. The same seed and library give the same calls."""

    def __init__(self, library: Library, kind: str, seed: int, clock: Any) -> None:
        self.random = random.Random(seed)
        self.clock = clock
        self.calls: list[str] = []
        self.created = 0
        limit = self.random.choice([None, 1, 5])
        self.region = region = configured(library, kind, limit, clock, self.calls)
        self.no_value = library.module("cache.api").NO_VALUE

        @region.cache_on_arguments(namespace=self.random.choice([None, "ns"]), expiration_time=self.limit())
        def decorated(a: Any, b: Any = 2, *c: Any) -> Any:
            return self.create(a, b, *c)

        is_dict = self.random.random() < 0.5

        @region.cache_multi_on_arguments(asdict=is_dict)
        def decorated_multi(*keys: Any) -> Any:
            values = [self.create(key) for key in keys]
            return dict(zip(keys, values)) if is_dict else values

        self.decorated, self.decorated_multi = decorated, decorated_multi

    def limit(self) -> float | None:
        return self.random.choice(LIMITS)

    def key(self) -> str:
        return self.random.choice(KEYS)

    def keys(self) -> list[str]:
        return [self.key() for _ in range(self.random.randint(0, 4))]

    def create(self, *arguments: Any) -> Any:
        self.created += 1
        self.calls.append(f"create {arguments}")
        return [self.created, *map(str, arguments)]

    def step(self) -> Any:
        """Makes one call, and returns its result."""
        names = [name for name in dir(self) if name.startswith("do_")]
        name = self.random.choice(names)
        try:
            return name, self.shown(getattr(self, name)())
        except Exception as error:  # the other library has to raise it too
            return name, type(error).__name__, str(error)

    def shown(self, result: Any) -> Any:
        if result is self.no_value:
            return "NO_VALUE"
        if isinstance(result, list):
            return [self.shown(item) for item in result]
        if isinstance(result, dict):
            return {key: self.shown(item) for key, item in result.items()}
        return result

    def do_wait(self) -> None:
        self.clock.pass_by(self.random.choice([0.25, 0.5, 1, 3]))

    def do_get(self) -> Any:
        return self.region.get(self.key(), self.random.choice([None, 0, 1, 5]), self.random.random() < 0.2)

    def do_metadata(self) -> Any:
        found = self.region.get_value_metadata(self.key(), ignore_expiration=self.random.random() < 0.5)
        # The engine tells values of the same moment apart by a microsecond.
        return found and (found.payload, round(found.cached_time, 3), round(found.age, 3))

    def do_get_multi(self) -> Any:
        return self.region.get_multi(self.keys(), ignore_expiration=self.random.random() < 0.2)

    def do_set(self) -> Any:
        return self.region.set(self.key(), self.random.choice([None, 0, "", [1]]))

    def do_set_multi(self) -> Any:
        return self.region.set_multi({key: [key] for key in self.keys()})

    def do_delete(self) -> Any:
        return self.region.delete(self.key())

    def do_delete_multi(self) -> Any:
        return self.region.delete_multi(self.keys())

    def do_get_or_create(self) -> Any:
        key, way, limit = self.key(), self.random.random(), self.limit()
        if way < 0.15:
            return self.region.get_or_create(key, self.fail, limit)
        if way < 0.3:
            return self.region.get_or_create(key, lambda: self.create(key), limit, lambda value: False)
        if way < 0.5:
            return self.region.get_or_create(key, self.create, limit, creator_args=((key,), {}))
        return self.region.get_or_create(key, lambda: self.create(key), limit)

    do_get_or_create_again = do_get_or_create

    def fail(self) -> None:
        self.calls.append("fail")
        raise LookupError("no value today")

    def do_get_or_create_multi(self) -> Any:
        even = self.random.choice([None, lambda value: value[0] % 2 == 0])
        creator = lambda *keys: [self.create(key) for key in keys]  # noqa: E731
        return self.region.get_or_create_multi(self.keys(), creator, self.limit(), even)

    def do_invalidate(self) -> Any:
        # Seldom, since little is left afterwards.
        return self.region.invalidate(self.random.random() < 0.5) if self.random.random() < 0.3 else None

    def do_key_is_locked(self) -> Any:
        return self.region.key_is_locked(self.key())

    def do_nested(self) -> Any:
        return self.region.get_or_create("outer", lambda: [self.region.get_or_create("inner", self.create)])

    def arguments(self) -> tuple[list[Any], dict[str, Any]]:
        values = [self.random.choice([1, None, "x", 1.5]) for _ in range(3)]
        return self.random.choice([(values[:1], {}), (values[:2], {}), (values, {}), (values[:1], {"b": 7})])

    def do_call(self) -> Any:
        positional, named = self.arguments()
        return self.decorated(*positional, **named)

    do_call_again = do_call

    def do_companion(self) -> Any:
        positional = self.arguments()[0]
        # All arguments are given: dogpile.cache fills in no defaults here.
        positional = [*positional, 2][: max(2, len(positional))]
        what = self.random.choice(["get", "invalidate", "refresh", "set"])
        if what == "set":
            return self.decorated.set(["set"], *positional)
        return getattr(self.decorated, what)(*positional)

    def do_call_multi(self) -> Any:
        return self.decorated_multi(*self.keys())

    def do_companion_multi(self) -> Any:
        what = self.random.choice(["get", "invalidate", "set"])
        if what == "set":
            return self.decorated_multi.set({key: ["set"] for key in self.keys()})
        return getattr(self.decorated_multi, what)(*self.keys())


def run(library: Library, kind: str, seed: int, clock: Any, steps: int = 60) -> tuple[list[Any], list[str], list[str]]:
    """Runs a program, and returns the results, the calls of the backend and of creators, and the log."""
    clock.now = 1_700_000_000.0
    with recorded() as records:
        program = Program(library, kind, seed, clock)
        results = [program.step() for _ in range(steps)]
    return results, program.calls, records.texts
