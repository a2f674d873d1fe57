"""The name `dogpile` is this package: the same modules, by all ways in."""

from __future__ import annotations

import sys

import pytest

SAME = """
    import dogpile.cache.region, dogpile_rs.cache.region, dogpile.lock, dogpile_rs
    from unittest import mock
    assert dogpile.cache.region is dogpile_rs.cache.region
    assert dogpile.lock.Lock is dogpile_rs.Lock is dogpile.Lock
    assert dogpile.__version__ == dogpile.cache.__version__ == "1.5.1" != dogpile_rs.__version__
    assert dogpile.cache.region.__spec__.name == "dogpile_rs.cache.region"
    assert dogpile.cache.region.__name__ == "dogpile.cache.region"
    with mock.patch("dogpile.cache.region.log") as log:
        assert dogpile_rs.cache.region.log is log
    print("ok", *__import__("sys").argv[1:])
"""


def test_install(run_python) -> None:
    program = "import dogpile_rs; dogpile_rs.install(); dogpile_rs.install()\n"
    run_python(program + "\n".join(line[4:] for line in SAME.splitlines()))


def test_the_folder_on_the_path(run_python) -> None:
    folder = run_python("", "-m", "dogpile_rs", "--path").stdout.strip()
    assert run_python(SAME, PYTHONPATH=folder).stdout == "ok\n"


def test_run_a_script(run_python, tmp_path) -> None:
    (tmp_path / "neighbour.py").write_text("x = 1\n")
    script = tmp_path / "script.py"
    script.write_text("import neighbour\n" + "\n".join(line[4:] for line in SAME.splitlines()))
    assert run_python("", "-m", "dogpile_rs", str(script), "a", "b").stdout == "ok a b\n"


def test_run_a_module(run_python, tmp_path) -> None:
    (tmp_path / "a_module.py").write_text("\n".join(line[4:] for line in SAME.splitlines()))
    assert run_python("", "-m", "dogpile_rs", "-m", "a_module", "x").stdout == "ok x\n"


def test_usage(run_python) -> None:
    assert run_python("", "-m", "dogpile_rs", "--help").stdout.startswith("usage: python -m dogpile_rs")
    assert run_python("", "-m", "dogpile_rs", check=False).returncode == 2


def test_it_is_refused_after_the_other_library(run_python, tmp_path) -> None:
    (tmp_path / "dogpile").mkdir()
    (tmp_path / "dogpile" / "__init__.py").write_text("")
    run_python("""
        import dogpile, dogpile_rs
        try:
            dogpile_rs.install()
        except ImportError as error:
            assert "must run before the first import of dogpile" in str(error), error
        else:
            raise AssertionError("it was installed")
    """)


def test_the_other_library_is_shadowed(run_python, tmp_path) -> None:
    (tmp_path / "dogpile").mkdir()
    (tmp_path / "dogpile" / "__init__.py").write_text("raise AssertionError")
    run_python("""
        import dogpile_rs
        dogpile_rs.install()
        import dogpile.cache
        from dogpile.cache import make_region
    """)


def test_without_it_the_name_is_not_taken(run_python) -> None:
    run_python("""
        import sys, dogpile_rs.cache.region
        assert "dogpile" not in sys.modules
        assert dogpile_rs.cache.api.CachedValue.__module__ == "dogpile_rs.cache.api"
    """)


def test_pickled_values_have_the_name_of_dogpile_cache(run_python) -> None:
    run_python("""
        import pickle, dogpile_rs
        dogpile_rs.install()
        from dogpile.cache.api import CachedValue, NO_VALUE
        value = CachedValue([1], {"ct": 1.0, "v": 2})
        assert b"dogpile.cache.api" in pickle.dumps(value) and b"dogpile_rs" not in pickle.dumps(value)
        assert pickle.loads(pickle.dumps(value)) == value
        assert pickle.loads(pickle.dumps(NO_VALUE)) is NO_VALUE
    """)


def test_names_that_are_not_there_are_import_errors(run_python) -> None:
    run_python("""
        import dogpile_rs
        dogpile_rs.install()
        for name in ("dogpile.nothing", "dogpile.cache.nothing", "dogpile_nothing"):
            try:
                __import__(name)
            except ModuleNotFoundError as error:
                assert error.name == name, error.name
            else:
                raise AssertionError(name)
    """)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_it_holds_in_other_processes(run_python) -> None:
    run_python("""
        import multiprocessing, dogpile_rs
        dogpile_rs.install()
        from dogpile.cache import make_region
        def work(n):
            import dogpile.cache.region, dogpile_rs.cache.region
            assert dogpile.cache.region is dogpile_rs.cache.region
            return make_region().configure("dogpile.cache.memory").get_or_create("k", lambda: n)
        if __name__ == "__main__":
            for method in ("fork", "spawn"):
                with multiprocessing.get_context(method).Pool(2) as pool:
                    assert pool.map(work, range(4)) == [0, 1, 2, 3]
    """)
