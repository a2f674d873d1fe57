"""Keys that are too long become short, and keys on a shared server get a prefix."""

from dogpile.cache import make_region
from dogpile.cache.util import length_conditional_mangler, sha1_mangle_key

long = "x" * 300
print(sha1_mangle_key(b"some key"), sha1_mangle_key(long.encode()) == sha1_mangle_key(b"x" * 300))
mangle = length_conditional_mangler(40, lambda key: sha1_mangle_key(key.encode()))
print(mangle("short"), mangle("y" * 39), mangle("y" * 40), mangle(long))

for mangler in (None, False, str, mangle, lambda key: "app:" + key):
    stored = {}
    region = make_region(key_mangler=mangler).configure("dogpile.cache.memory", arguments={"cache_dict": stored})
    region.set("k", 1)
    region.set_multi({long: 2, "l": 3})
    print(region.get("k"), region.get_multi([long, "l"]), sorted(key[:50] for key in stored))
    region.get_or_create("m", lambda: 4)
    region.delete("k")
    region.delete_multi([long])
    print(sorted(stored))
