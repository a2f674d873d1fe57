"""The types of decorated functions, as mypy sees them; and the package's own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import INSTALLED, SOURCES

pytest.importorskip("mypy")

RIGHT = """
from typing import Any

from typing_extensions import assert_type

from dogpile_rs.cache import make_region
from dogpile_rs.cache.api import NoValueType

region = make_region().configure("dogpile.cache.memory", expiration_time=60)


@region.cache_on_arguments()
def product(number: int, *, language: str = "en") -> str:
    return language * number


assert_type(product(1, language="de"), str)
assert_type(product.refresh(1), str)
product.set("x", 1, language="de")
product.invalidate(1)
found = product.get(1)
if found:
    assert_type(found, str)
assert_type(product.original(1), str)


class Products:
    @region.cache_on_arguments(namespace="products", expiration_time=30, should_cache_fn=bool)
    def name(self, number: int) -> str:
        return str(number)

    @classmethod
    @region.cache_on_arguments()
    def count(cls, number: int) -> int:
        return number

    @staticmethod
    @region.cache_on_arguments()
    def price(number: int) -> float:
        return float(number)

    @region.cache_on_arguments()
    async def stock(self, number: int) -> int:
        return number

    @region.cache_multi_on_arguments()
    def names(self, *numbers: int) -> list[str]:
        return [str(number) for number in numbers]


products = Products()
assert_type(products.name(1), str)
products.name.invalidate(products, 1)
Products.name.invalidate(None, 1)
assert_type(Products.name(products, 1), str)
assert_type(Products.count(1), Any)
assert_type(Products.price(1), float)
Products.price.invalidate(1)
assert_type(products.names(1, 2), list[str])
products.names.invalidate(1, 2)


@region.cache_on_arguments()
async def row(number: int) -> dict[str, int]:
    return {"number": number}


async def main() -> None:
    assert_type(await row(1), dict[str, int])
    await row.set({}, 1)
    assert_type(await row.get(1), dict[str, int] | NoValueType)
    assert_type(await products.stock(1), int)
    await products.stock.invalidate(products, 1)
"""

WRONG = {
    "product('x')": "arg-type",
    "product(1, 2)": "call-arg",
    "product.set(1, 1)": "arg-type",
    "product.invalidate('x')": "arg-type",
    "products.name('x')": "arg-type",
    "products.names('x')": "arg-type",
    "coroutine = row('x')": "arg-type",
    "length = 1 + product(1)": "operator",
}


def checked(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mypy", "--strict", "--ignore-missing-imports", "--no-error-summary", *arguments]
    # mypy does not look where the tests' own interpreter was told to look.
    environment = dict(os.environ) if INSTALLED else dict(os.environ, MYPYPATH=str(SOURCES))
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("types")


def test_decorated_functions_have_the_types_of_what_they_stand_for(folder: Path) -> None:
    (folder / "right.py").write_text(RIGHT)
    ended = checked(folder, "right.py")
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_wrong_arguments_of_decorated_functions_are_found(folder: Path) -> None:
    (folder / "wrong.py").write_text(RIGHT + "\n" + "\n".join(WRONG) + "\n")
    ended = checked(folder, "wrong.py")
    errors = [line.split(":", 2) for line in ended.stdout.splitlines() if ": error: " in line]
    first = len(RIGHT.splitlines()) + 2
    for line, (statement, kind) in enumerate(WRONG.items(), first):
        found = [text for _, number, text in errors if int(number) == line]
        assert any(text.endswith(f"[{kind}]") for text in found), (statement, ended.stdout)
    assert all(int(number) >= first for _, number, _ in errors), ended.stdout


def test_the_package_itself_has_types(folder: Path) -> None:
    ended = checked(folder, "-p", "dogpile_rs")
    assert ended.returncode == 0, ended.stdout + ended.stderr
