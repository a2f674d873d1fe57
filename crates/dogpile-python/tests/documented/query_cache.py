"""A session that keeps the rows of queries in regions: named, refreshed, expired."""

import sqlite3

from dogpile.cache import make_region
from dogpile.cache.api import NO_VALUE

regions = {
    "default": make_region(key_mangler=lambda key: f"q:{key}").configure("dogpile.cache.memory_pickle"),
    "short": make_region().configure("dogpile.cache.memory_pickle", expiration_time=5),
}
database = sqlite3.connect(":memory:")
database.execute("CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT)")
database.executemany("INSERT INTO person (name) VALUES (?)", [("ada",), ("grace",)])


class CachingSession:
    def __init__(self):
        self.selects = 0
        self.seen = {}

    def rows(self, sql, parameters=(), region="default"):
        """Asks this session, then the region, then the database."""

        def select():
            self.selects += 1
            return database.execute(sql, parameters).fetchall()

        key = f"{sql} {parameters!r}"
        if key not in self.seen:
            self.seen[key] = regions[region].get_or_create(key, select)
        return self.seen[key]

    def invalidate(self, sql, parameters=(), region="default"):
        self.seen.pop(f"{sql} {parameters!r}", None)
        regions[region].delete(f"{sql} {parameters!r}")

    def cached(self, sql, parameters=(), region="default"):
        return regions[region].get(f"{sql} {parameters!r}") is not NO_VALUE


ALL, ONE = "SELECT * FROM person ORDER BY id", "SELECT name FROM person WHERE id = ?"
first, second = CachingSession(), CachingSession()
print(first.rows(ALL), first.rows(ALL) is first.rows(ALL), second.rows(ALL) is first.rows(ALL))
print(first.rows(ONE, (1,), "short"), second.rows(ONE, (2,), "short"), first.selects, second.selects)
database.execute("UPDATE person SET name = 'hedy' WHERE id = 1")
print(first.rows(ONE, (1,), "short"), CachingSession().rows(ONE, (1,), "short"))
first.invalidate(ONE, (1,), "short")
print(first.cached(ONE, (1,), "short"), first.rows(ONE, (1,), "short"), first.cached(ONE, (1,), "short"))
regions["default"].invalidate()
third = CachingSession()
print(third.rows(ALL), third.selects, list(regions["default"].backend._cache) == [f"q:{ALL} ()"])
