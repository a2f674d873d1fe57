"""Of all threads that need a value one creates it, and the others are not held up."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time

import pytest
from dogpile_rs.cache import make_region
from dogpile_rs.cache.api import NO_VALUE
from dogpile_rs.cache.exception import RecursiveCreation

KINDS = ["dogpile.cache.memory", "dogpile.cache.memory_pickle"]


@pytest.fixture(params=KINDS)
def region(request):
    return make_region().configure(request.param, expiration_time=60)


def together(count, function):
    """Runs the function in so many threads, and returns their results; an exception is one too."""
    results = []

    def run(n):
        try:
            results.append(function(n))
        except BaseException as error:
            results.append(error)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    return results


def until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_one_of_64_threads_creates(region):
    created, waiting = [], threading.Semaphore(0)

    def creator():
        created.append(threading.get_ident())
        # All others have begun their calls.
        for _ in range(63):
            waiting.acquire()
        time.sleep(0.02)
        return ["value"]

    def use(_):
        if created:
            waiting.release()
            return region.get_or_create("k", creator)
        return region.get_or_create("k", lambda: (waiting.acquire(False), creator())[1])

    first = threading.Thread(target=region.get_or_create, args=("k", creator))
    first.start()
    until(lambda: created)
    assert together(63, use) == [["value"]] * 63
    first.join()
    assert len(created) == 1


def test_other_keys_and_other_python_code_go_on_meanwhile(region):
    going, may_end = threading.Event(), threading.Event()

    def creator():
        going.set()
        assert may_end.wait(20)
        return "slow"

    slow = threading.Thread(target=region.get_or_create, args=("slow", creator))
    slow.start()
    assert going.wait(20)
    waiter = threading.Thread(target=region.get_or_create, args=("slow", creator))
    waiter.start()
    assert region.get_or_create("quick", lambda: 1) == 1
    assert region.key_is_locked("slow") and not region.key_is_locked("quick")
    may_end.set()
    slow.join(20), waiter.join(20)
    assert region.get("slow") == "slow" and not region.key_is_locked("slow")


def test_an_expired_value_is_served_while_one_creates(region, clock):
    region.set("k", "former")
    clock.pass_by(61)
    going, may_end = threading.Event(), threading.Event()

    def creator():
        going.set()
        assert may_end.wait(20)
        return "next"

    thread = threading.Thread(target=region.get_or_create, args=("k", creator))
    thread.start()
    assert going.wait(20)
    assert together(8, lambda _: region.get_or_create("k", lambda: "not created")) == ["former"] * 8
    may_end.set()
    thread.join(20)
    assert region.get_or_create("k", lambda: "not created") == "next"


def test_a_creator_that_fails_fails_alone(region):
    calls = []
    lock = threading.Lock()

    def creator():
        with lock:
            calls.append(1)
            is_first = len(calls) == 1
        if is_first:
            raise LookupError("the first")
        return "value"

    results = together(8, lambda _: region.get_or_create("k", creator))
    assert sorted(map(str, results)) == ["the first"] + ["value"] * 7
    assert len(calls) == 2


def test_callers_with_several_keys_in_any_order_finish(region):
    def use(n):
        keys = ["a", "b", "c", "d"] if n % 2 else ["d", "c", "b", "a"]
        for key in keys:
            region.delete(key)
        return region.get_or_create_multi(keys, lambda *keys: [key.upper() for key in keys]) == [
            key.upper() for key in keys
        ]

    assert together(16, use) == [True] * 16


def test_single_and_several_keys_share_creations(region):
    going, may_end, calls = threading.Event(), threading.Event(), []

    def creator(*keys):
        calls.append(keys)
        going.set()
        assert may_end.wait(20)
        return ["value" for _ in keys]

    several = threading.Thread(target=region.get_or_create_multi, args=(["a", "b"], creator))
    several.start()
    assert going.wait(20)
    results = []
    single = threading.Thread(target=lambda: results.append(region.get_or_create("a", lambda: creator("a")[0])))
    single.start()
    # It waits for the other; else it would have called its creator by then.
    single.join(0.1)
    may_end.set()
    several.join(20), single.join(20)
    assert results == ["value"] and calls == [("a", "b")]


def test_a_creator_may_not_ask_for_its_own_key(region):
    with pytest.raises(RecursiveCreation):
        region.get_or_create("k", lambda: region.get_or_create("k", lambda: 1))
    assert region.get("k") is NO_VALUE
    assert region.get_or_create("k", lambda: region.get_or_create("other", lambda: 1)) == 1


def test_invalidation_during_a_creation_keeps_its_value_out(region):
    going, may_end = threading.Event(), threading.Event()

    def creator():
        going.set()
        assert may_end.wait(20)
        return "of before"

    results = []
    thread = threading.Thread(target=lambda: results.append(region.get_or_create("k", creator)))
    thread.start()
    assert going.wait(20)
    region.delete("k")
    may_end.set()
    thread.join(20)
    assert results == ["of before"]


PROGRAM = """
import sys, threading, time
sys.path[:0] = {path!r}
from dogpile_rs.cache import make_region
region = make_region().configure({kind!r})
going = threading.Event()
def creator():
    going.set()
    threading.Event().wait()
threading.Thread(target=region.get_or_create, args=("k", creator), daemon=True).start()
going.wait()
print("waiting", flush=True)
{then}
"""


def program(kind, then):
    script = PROGRAM.format(kind=kind, then=then, path=sys.path)
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "waiting\n"
    return process


@pytest.mark.skipif(sys.platform == "win32", reason="signals are others there")
def test_a_signal_ends_the_wait():
    process = program(
        KINDS[0], "try: region.get_or_create('k', creator)\nexcept KeyboardInterrupt: print('interrupted')"
    )
    # It is in the wait soon, and does not come out of it by itself.
    time.sleep(0.2)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=20)[0] == "interrupted\n"


@pytest.mark.parametrize("kind", KINDS)
def test_threads_that_wait_do_not_keep_a_program_from_its_end(kind):
    waiters = "[threading.Thread(target=region.get_or_create, args=('k', creator), daemon=True).start() for _ in 'ab']"
    process = program(kind, waiters)
    assert process.wait(20) == 0


def test_greenlets_wait_for_each_other_in_memory(run_python):
    pytest.importorskip("gevent")
    run_python("""
        from gevent import monkey
        monkey.patch_all()
        import gevent, time
        from dogpile_rs.cache import make_region
        region = make_region().configure("dogpile.cache.memory", expiration_time=60)
        created = []
        def creator():
            created.append(1)
            time.sleep(0.05)
            return 5
        greenlets = [gevent.spawn(region.get_or_create, "k", creator) for _ in range(5)]
        gevent.joinall(greenlets, timeout=60)
        assert [greenlet.value for greenlet in greenlets] == [5] * 5 and created == [1]
    """)


@pytest.mark.parametrize("creator", ["lambda: 1", "lambda: time.sleep(0.0001)"])
@pytest.mark.parametrize("kind", ["dogpile.cache.memory", "max_entries", "dogpile.cache.memory_pickle", "file", "redis"])
def test_a_program_ends_well_while_its_daemon_threads_work(kind, creator, run_python, redis_port):
    """Up to Python 3.13, a thread that asks for the interpreter meanwhile is ended wherever it is."""
    name, arguments = {
        "max_entries": ("dogpile.cache.memory", {"max_entries": 10}),
        "file": ("file", {"filename": "cache.db"}),
        "redis": ("redis", {"host": "127.0.0.1", "port": redis_port}),
    }.get(kind, (kind, {}))
    program = f"""
        import threading, time
        from dogpile_rs.cache import make_region
        region = make_region().configure({name!r}, arguments={arguments!r})
        ready = threading.Semaphore(0)
        def work():
            for number in range(10**9):
                region.get_or_create("daemon", {creator}, expiration_time=0)
                region.get("daemon")
                if number == 20:
                    ready.release()
        for _ in range(5):
            threading.Thread(target=work, daemon=True).start()
        for _ in range(5):
            ready.acquire()
    """
    for _ in range(3):
        run_python(program)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux counts how often a thread waits")
def test_the_reads_of_a_thread_that_is_alone_wake_no_other(run_python, redis_port):
    run_python("""
        import pathlib, time
        from dogpile_rs.cache import make_region
        region = make_region().configure("redis", expiration_time=3600, arguments={"host": "127.0.0.1", "port": %d})
        def waits():
            count = 0
            for status in pathlib.Path("/proc/self/task").glob("*/status"):
                fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
                if fields["Name"].strip().startswith("dogpile"):
                    count += int(fields["voluntary_ctxt_switches"])
            return count
        region.set("k", 1)
        def read(times):
            for _ in range(times):
                assert region.get("k") == 1
                assert region.get_or_create("k", lambda: 2) == 1
        read(40)
        # The connection may be lost where the machine has too much to do, for a second.
        until = time.monotonic() + 60
        while True:
            before = waits()
            read(500)
            if waits() - before < 100:
                break
            assert time.monotonic() < until, (before, waits())
    """ % redis_port)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are others there")
def test_a_signal_ends_reads_from_a_server(run_python, tmp_path):
    from servers import Servers

    with Servers(tmp_path, start=False) as servers:
        port = servers.redis("redis-server")
        run_python("""
            import os, signal, threading
            from dogpile_rs.cache import make_region
            arguments = {"host": "127.0.0.1", "port": %d, "socket_timeout": 60}
            region = make_region().configure("redis", expiration_time=60, arguments=arguments)
            region.set_multi({"a": "of a", "b": "of b"})
            for _ in range(40):
                assert region.get("a") == "of a"
            def interrupted(work):
                threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
                try:
                    while True:
                        work()
                except KeyboardInterrupt:
                    return True
            for _ in range(10):
                assert interrupted(lambda: region.get("a"))
                assert region.get("b") == "of b"
            os.kill(%d, signal.SIGSTOP)
            try:
                assert interrupted(lambda: region.get("a"))
            finally:
                os.kill(%d, signal.SIGCONT)
            for _ in range(100):
                assert (region.get("b"), region.get("a")) == ("of b", "of a")
        """ % (port, servers.processes[-1].pid, servers.processes[-1].pid))
