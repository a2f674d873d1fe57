"""A backend of one's own, made known by name."""

from dogpile.cache import make_region, register_backend
from dogpile.cache.api import NO_VALUE, CacheBackend


class Shelf(CacheBackend):
    """Keeps values in a list of pairs."""

    def __init__(self, arguments):
        self.room = arguments.get("room", 2)
        self.pairs = []

    def get(self, key):
        return next((value for name, value in self.pairs if name == key), NO_VALUE)

    def set(self, key, value):
        self.delete(key)
        self.pairs = [*self.pairs, (key, value)][-self.room :]
        print("stored", key, type(value).__name__, len(value), value[0], sorted(value[1]), value.metadata["v"])

    def delete(self, key):
        self.pairs = [pair for pair in self.pairs if pair[0] != key]


register_backend("shelf", __name__, "Shelf")
region = make_region("books").configure("shelf", arguments={"room": 3})
region.set("a", "first")
print(region.get("a"), region.get("z") is NO_VALUE)
for name in "bcd":
    region.get_or_create(name, lambda name=name: name.upper())
print([region.get(name) for name in "abcd"])
region.delete("b")
print([name for name, _ in region.backend.pairs], isinstance(region.actual_backend, Shelf))
