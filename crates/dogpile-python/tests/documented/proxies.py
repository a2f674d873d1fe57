"""Proxies around a backend: one says what is stored, one deletes again until it works."""

import logging
import sys

from dogpile.cache import make_region, register_backend
from dogpile.cache.backends.memory import MemoryBackend
from dogpile.cache.proxy import ProxyBackend

logging.basicConfig(stream=sys.stdout, format="%(name)s %(message)s")
log = logging.getLogger("stores")
log.setLevel(logging.DEBUG)


class Flaky(MemoryBackend):
    failures = 0

    def delete(self, key):
        if self.failures:
            type(self).failures -= 1
            raise ConnectionError("try again")
        super().delete(key)


class Telling(ProxyBackend):
    def set(self, key, value):
        log.debug("%s gets %s", key, value.payload)
        self.proxied.set(key, value)


class Patient(ProxyBackend):
    def __init__(self, attempts=3):
        super().__init__()
        self.attempts = attempts

    def delete(self, key):
        for attempt in range(1, self.attempts + 1):
            try:
                return self.proxied.delete(key)
            except ConnectionError as error:
                print("attempt", attempt, error)
        raise RuntimeError("it stays")


register_backend("flaky", __name__, "Flaky")
region = make_region().configure("flaky", expiration_time=60, wrap=[Telling, Patient(5)])
region.set("k", 1)
print(region.get_or_create("c", lambda: 2))
Flaky.failures = 3
region.delete("k")
print(region.get_multi(["k", "c"]))
Flaky.failures = 9
try:
    region.delete("c")
except RuntimeError as error:
    print(error, region.get("c"))
chain = [region.backend, region.backend.proxied, region.backend.proxied.proxied]
print([type(link).__name__ for link in chain], region.actual_backend is chain[2])

region = make_region().configure("dogpile.cache.memory")
region.wrap(Patient(1))
region.wrap(Telling)
print(type(region.backend).__name__, type(region.backend.proxied).__name__, region.backend.proxied.attempts)
