"""A function for many keys, called with those that are missing."""

from dogpile.cache import make_region

stored = {}
region = make_region(
    function_multi_key_generator=lambda namespace, fn, **_: (
        lambda *keys: [f"{fn.__name__}{namespace or ''}:{key}" for key in keys]
    )
).configure("dogpile.cache.memory", arguments={"cache_dict": stored})
default = make_region().configure("dogpile.cache.memory", arguments={"cache_dict": stored})


@region.cache_multi_on_arguments()
def titles(*keys):
    print("asked for", sorted(keys))
    return [f"title of {key}" for key in keys]


print(titles("a", "b"), titles("b", "c"), titles("a", "b", "c"))
titles.set({"a": "another", "d": "new"})
print(titles("a", "d"), titles.get("a", "e"))
titles.invalidate("a", "b")
print(titles.refresh("c"), titles("a"), sorted(stored))


@default.cache_multi_on_arguments(namespace="n", asdict=True, should_cache_fn=lambda value: value != "none")
def languages(*keys):
    print("asked for", sorted(keys))
    known = {"is": "Icelandic", "no": "Norwegian", "xx": "none"}
    return {key: known[key] for key in keys if key in known}


print(languages("is", "xx"), languages("is", "xx", "no"), languages("yy"))
print(sorted(stored))


@default.cache_multi_on_arguments(expiration_time=lambda: -1)
def lengths(*words):
    return [len(word) for word in words]


print(lengths("one", "three", "one"))
