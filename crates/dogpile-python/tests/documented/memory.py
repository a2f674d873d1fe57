"""Backends in memory: with a dict of one's own, with copies, and without any memory."""

from dogpile.cache import make_region

own = {}
region = make_region().configure("dogpile.cache.memory", arguments={"cache_dict": own})
value = [1]
region.set("k", value)
value.append(2)
print(region.get("k"), region.get("k") is value, own["k"].payload, list(own))
own.clear()
print(region.get("k"))

copies = make_region().configure("dogpile.cache.memory_pickle")
value = [1]
copies.set("k", value)
value.append(2)
first, second = copies.get("k"), copies.get("k")
print(first, second, first is second, first is value)
created = copies.get_or_create("c", lambda: value)
print(created, created is value, copies.get_or_create("c", list) is value)

nothing = make_region().configure("dogpile.cache.null", expiration_time=60)
nothing.set("k", 1)
print(nothing.get("k"), nothing.get_multi(["k", "l"]), [nothing.get_or_create("k", lambda: n) for n in range(3)])
nothing.delete("k")
print(nothing.key_is_locked("k"))
