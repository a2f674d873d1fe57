"""Processes that are forked go on, whatever the threads of the other were doing."""

from __future__ import annotations

import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")

PROGRAM = """
    import os, sys, threading, warnings
    warnings.simplefilter("ignore")
    from dogpile_rs.cache import make_region
    region = make_region().configure(sys.argv[1] if len(sys.argv) > 1 else {backend!r}, expiration_time=60, arguments={arguments!r})
    used, held = {used!r}, {held!r}
    if used:
        assert region.get_or_create("used", lambda: 1) == 1
    going, may_end = threading.Event(), threading.Event()
    def creator():
        going.set()
        assert may_end.wait(30)
        return "of the parent"
    if held:
        thread = threading.Thread(target=region.get_or_create, args=("held", creator))
        thread.start()
        assert going.wait(30)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        ok = region.get_or_create("new", lambda: "of the child") == "of the child"
        # In memory, nobody creates it any more; elsewhere, the parent goes on.
        if held and {memory!r}:
            ok = ok and region.get_or_create("held", lambda: "of the child") == "of the child"
        ok = ok and region.get("new") == "of the child"
        os.write(write, b"ok" if ok else b"no")
        os._exit(0)
    assert os.read(read, 2) == b"ok"
    os.waitpid(child, 0)
    may_end.set()
    if held:
        thread.join(30)
        assert region.get("held") == "of the parent", region.get("held")
    assert region.get_or_create("after", lambda: 2) == 2
    print("ok")
"""


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize(
    "backend", ["dogpile.cache.memory", "dogpile.cache.memory_pickle", "file", "redis", "dogpile.cache.redis"]
)
def test_a_forked_process_creates_and_reads(run_python, tmp_path, redis_port, backend, used, held):
    if backend == "dogpile.cache.redis":
        pytest.importorskip("redis")
    arguments = {"file": {"filename": str(tmp_path / "cache.db")}}.get(backend, {})
    if backend.endswith("redis"):
        import socket

        with socket.create_connection(("127.0.0.1", redis_port)) as server:
            server.sendall(b"FLUSHALL\r\n")
            assert server.recv(5) == b"+OK\r\n"
        arguments = {"host": "127.0.0.1", "port": redis_port}
    memory = "memory" in backend
    program = PROGRAM.format(backend=backend, arguments=arguments, used=used, held=held, memory=memory)
    assert run_python(program).stdout == "ok\n"


def test_both_processes_read_while_each_is_alone(run_python, redis_port):
    run_python("""
        import os, warnings
        warnings.simplefilter("ignore")
        from dogpile_rs.cache import make_region
        region = make_region().configure("redis", expiration_time=60, arguments={"host": "127.0.0.1", "port": %d})
        region.set_multi({"of both": 0, "of the parent": 1, "of the child": 2})
        def read(key, value, times):
            return all(region.get(key) == value for _ in range(times))
        assert read("of both", 0, 40)
        child = os.fork()
        if child == 0:
            os._exit(0 if read("of the child", 2, 2_000) else 1)
        assert read("of the parent", 1, 2_000)
        assert os.waitpid(child, 0)[1] == 0
    """ % redis_port)


def test_many_forks_while_threads_are_busy(run_python):
    run_python("""
        import os, threading, warnings
        warnings.simplefilter("ignore")
        from dogpile_rs.cache import make_region
        region = make_region().configure("dogpile.cache.memory", expiration_time=60)
        over = threading.Event()
        def busy(n):
            while not over.is_set():
                region.get_or_create(f"busy {n}", lambda: n)
                region.delete(f"busy {n}")
        threads = [threading.Thread(target=busy, args=(n % 2,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for n in range(50):
            child = os.fork()
            if child == 0:
                ok = all(region.get_or_create(key, lambda: 7) in (0, 1, 7) for key in ("busy 0", "busy 1", "own"))
                os._exit(0 if ok else 1)
            assert os.waitpid(child, 0)[1] == 0
        over.set()
        for thread in threads:
            thread.join()
    """)


def test_pools_of_processes(run_python):
    run_python("""
        import multiprocessing
        from dogpile_rs.cache import make_region
        region = make_region().configure("dogpile.cache.memory", expiration_time=60)
        @region.cache_on_arguments()
        def squared(n):
            return n * n
        squared(3)
        if __name__ == "__main__":
            with multiprocessing.get_context("fork").Pool(4) as pool:
                assert pool.map(squared, range(100)) == [n * n for n in range(100)]
    """)


def test_many_forks_while_threads_use_a_cache_file(run_python, tmp_path):
    run_python(f"""
        import os, threading, warnings
        warnings.simplefilter("ignore")
        from dogpile_rs.cache import make_region
        region = make_region().configure("file", expiration_time=60, arguments={{"filename": {str(tmp_path / "cache.db")!r}}})
        region.set("k", 1)
        over, going = threading.Event(), threading.Barrier(5)
        def busy(n):
            going.wait()
            while not over.is_set():
                region.get("k")
                region.set(f"busy {{n}}", n)
                region.get_or_create(f"created {{n}}", lambda: n)
                region.delete(f"created {{n}}")
        threads = [threading.Thread(target=busy, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        going.wait()
        try:
            for n in range(50):
                child = os.fork()
                if child == 0:
                    try:
                        assert region.get("k") == 1
                        region.set("child", n)
                        assert region.get_or_create(f"new {{n}}", lambda: n) == region.get("child") == n
                    except BaseException as error:
                        os.write(2, repr(error).encode())
                        os._exit(1)
                    os._exit(0)
                assert os.waitpid(child, 0)[1] == 0
                assert region.get("child") == n
        finally:
            over.set()
            for thread in threads:
                thread.join()
    """)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel is asked for the threads")
def test_a_process_forks_right_after_it_has_written_to_a_file_on_its_own_thread(run_python, tmp_path):
    run_python(f"""
        import os
        from dogpile_rs.cache import make_region
        region = make_region().configure("file", expiration_time=60, arguments={{"filename": {str(tmp_path / "cache.db")!r}}})
        for n in range(20):
            region.set(f"parent {{n}}", n)
            assert region.get_or_create(f"created {{n}}", lambda: n) == n
            child = os.fork()
            if child == 0:
                try:
                    assert region.get(f"created {{n}}") == n
                    region.set(f"child {{n}}", n)
                    assert region.get_or_create(f"of child {{n}}", lambda: 7) == 7
                    os._exit(0)
                except BaseException:
                    os._exit(1)
            assert os.waitpid(child, 0)[1] == 0
            assert region.get(f"child {{n}}") == n
            region.delete(f"child {{n}}")
        assert len(os.listdir("/proc/self/task")) == 1, "each call has written by itself"
    """)
