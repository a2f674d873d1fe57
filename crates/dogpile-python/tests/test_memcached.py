"""The native backend for memcached, as far as it differs from others."""

from __future__ import annotations

import warnings

import pytest
from dogpile_rs.cache import make_region
from dogpile_rs.cache.api import NO_VALUE
from dogpile_rs.cache.backends.native import NativeMemcachedBackend
from dogpile_rs.cache.proxy import ProxyBackend


@pytest.fixture(scope="module")
def memcached_port(tmp_path_factory):
    from servers import Servers

    with Servers(tmp_path_factory.mktemp("memcached"), start=False) as servers:
        yield servers.memcached()


def test_calls_of_a_proxy_that_memcached_never_makes_are_warned_of_once(memcached_port):
    class Objects(ProxyBackend):
        def get(self, key):
            raise AssertionError("it keeps bytes")

        def set_multi(self, mapping):
            raise AssertionError("it keeps bytes")

    class Both(Objects):
        def get_serialized(self, key):
            return self.proxied.get_serialized(key)

        def set_serialized_multi(self, mapping):
            self.proxied.set_serialized_multi(mapping)

    given = {"url": f"127.0.0.1:{memcached_port}"}

    def warned(name, proxy):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            region = make_region().configure(name, arguments=given, wrap=[proxy])
            region.set("k", 1)
            assert region.get("k") == 1
        return [str(warning.message) for warning in caught]

    (message,) = warned("memcached", Objects)
    assert "Objects" in message and "get_serialized()" in message and "set_serialized_multi()" in message
    assert warned("memcached", Objects) == warned("memcached", Both) == warned("memcached", ProxyBackend) == []


def test_keys_that_memcached_does_not_take_are_stored_by_their_hash(memcached_port):
    given = {"url": f"127.0.0.1:{memcached_port}", "distributed_lock": True}
    region = make_region().configure("memcached", expiration_time=60, arguments=given)
    keys = ["user 42", "line\nbreak", "x" * 251, "y" * 5_000, "\N{BLACK HEART SUIT}" * 200, "plain"]
    made = []
    for _ in range(2):
        for number, key in enumerate(keys):
            assert region.get_or_create(key, lambda: made.append(key) or [number, key]) == [number, key]
    assert made == keys
    assert [value[1] for value in region.get_multi(keys)] == keys
    # As the Rust crate stores them: both find the same entry.
    assert region.backend.get_serialized("sha1:542c5ef1096e5cde66b288e2c861ff0eb6750a56") is not NO_VALUE
    assert region.backend.get_serialized("plain") is not NO_VALUE
    region.delete_multi(keys[:3])
    region.set("line\nbreak", "set")
    assert [value is NO_VALUE for value in region.get_multi(keys)] == [True, False, True, False, False, False]

    @region.cache_on_arguments()
    def with_blanks(text, further=""):
        made.append(text)
        return text

    assert [with_blanks("a b", further="c d") for _ in range(2)] == ["a b"] * 2 and made.count("a b") == 1
    own = make_region(key_mangler=lambda key: f"own:{key}").configure("memcached", arguments=given)
    own.set("k", 1)
    assert own.backend.get_serialized("own:k") is not NO_VALUE


def test_a_mangler_of_a_subclass_is_kept(memcached_port):
    class Prefixed(NativeMemcachedBackend):
        def key_mangler(self, key):
            return f"mine:{key}"

    given = {"url": f"127.0.0.1:{memcached_port}"}
    assert Prefixed(given).key_mangler("k") == "mine:k"
    assert NativeMemcachedBackend(given).key_mangler("a b").startswith("sha1:")
