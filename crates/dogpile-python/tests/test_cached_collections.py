"""Whole tables in step: revisions, views, a server that is away."""

from __future__ import annotations

import threading

import pytest

redis = pytest.importorskip("redis", reason="the client of Redis is not installed")

from dogpile_rs.cached_collections import CachedMapping, CachedSequence, mapping_view, sequence_view  # noqa: E402


@pytest.fixture
def client(redis_port):
    client = redis.Redis(port=redis_port)
    client.flushall()
    return client


class Countries(CachedMapping):
    """Loads what the test says."""

    source = {"IS": "Iceland", "NO": "Norway"}
    loads = 0
    computed = 0

    def load(self):
        type(self).loads += 1
        return dict(self.source)

    @sequence_view
    def names(self):
        type(self).computed += 1
        return sorted(self.values())

    @mapping_view
    def by_name(self):
        return {name: code for code, name in self.items()}

    @mapping_view
    def by_place(self):
        return dict(enumerate(self.names))


@pytest.fixture
def countries():
    return type("OwnCountries", (Countries,), {})


def test_the_first_process_pushes_and_the_others_pull(client, countries):
    one, other = (countries(client, "countries", "1") for _ in range(2))
    assert one["IS"] == "Iceland" and len(one) == 2 and "NO" in one and sorted(one) == ["IS", "NO"]
    assert dict(one) == dict(other) == one == other
    assert (countries.loads, one.revision, other.revision) == (1, 1, 1)
    assert sorted(client.keys()) == [b"cached.countries.1.data", b"cached.countries.1.revision"]
    with pytest.raises(KeyError):
        one["XX"]


def test_a_push_reaches_the_others_at_their_next_look(client, countries):
    one, other = countries(client, "countries", "1", check_interval=0), countries(client, "countries", "1")
    assert one["IS"] == other["IS"] == "Iceland"
    countries.source = {"IS": "Ísland"}
    other.push()
    assert one["IS"] == other["IS"] == "Ísland" and one.revision == other.revision == 2
    third = countries(client, "countries", "1")
    assert third["IS"] == "Ísland"
    one.push()
    assert third.revision == 2, "it has looked just now"


def test_views_are_computed_once_for_each_revision(client, countries):
    one = countries(client, "countries", "1", check_interval=0)
    names = one.names
    assert list(names) == ["Iceland", "Norway"] and names[0] == "Iceland" and one.by_name["Norway"] == "NO"
    assert one.by_place[1] == "Norway" and len(one.by_place) == 2
    assert countries.computed == 1
    countries.source = {"FO": "Faroes"}
    one.push()
    assert list(names) == ["Faroes"] and dict(one.by_name) == {"Faroes": "FO"} and countries.computed == 2


def test_a_block_reads_one_revision(client, countries):
    one = countries(client, "countries", "1", check_interval=0)
    with one.at_one_revision():
        assert len(one) == 2
        countries.source = {}
        one.push()
        assert len(one) == len(one.names) == 2
    assert len(one) == len(one.names) == 0


def test_sequences(client):
    class Numbers(CachedSequence):
        def load(self):
            return [3, 1, 2]

        @sequence_view
        def in_order(self):
            return sorted(self)

    numbers = Numbers(client, "numbers", 7)
    assert list(numbers) == [3, 1, 2] and numbers[0] == 3 and numbers[1:] == [1, 2] and 2 in numbers
    assert list(numbers.in_order) == [1, 2, 3] and numbers.index(2) == 2
    assert client.get("cached.numbers.7.revision") == b"1"


def test_versions_are_apart_and_are_purged(client, countries):
    old, new = countries(client, "countries", "1"), countries(client, "countries", "2")
    assert old["IS"] and new["IS"]
    countries(client, "countries", "1").purge()
    assert sorted(client.keys()) == [b"cached.countries.2.data", b"cached.countries.2.revision"]
    assert old["IS"] == "Iceland"


def test_without_the_server_what_is_there_is_served(client, countries):
    class Away:
        __module__ = "redis.client"

        def get(self, key):
            raise redis.ConnectionError("away")

    one = countries(client, "countries", "1", check_interval=0)
    assert one["IS"] == "Iceland"
    one._client = Away()
    assert one["IS"] == "Iceland"
    fresh = countries(Away(), "countries", "1")
    assert fresh["IS"] == "Iceland" and fresh.revision is None


def test_many_threads_load_once(client, countries):
    one, results = countries(client, "countries", "1"), []
    threads = [threading.Thread(target=lambda: results.append((one["IS"], one.names[1]))) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert results == [("Iceland", "Norway")] * 32
    assert (countries.loads, countries.computed) == (1, 1)
