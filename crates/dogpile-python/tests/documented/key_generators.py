"""Keys of one's own making: with the namespace, with fixed arguments, with keywords, with another text of arguments."""

import tempfile

from dogpile.cache import make_region
from dogpile.cache.util import function_key_generator, function_multi_key_generator, kwarg_function_key_generator


def dotted(namespace, fn, **options):
    def key(*arguments):
        return ".".join([namespace or "-", fn.__name__, *map(str, arguments)])

    return key


region = make_region(function_key_generator=dotted).configure(
    "dogpile.cache.dbm", expiration_time=300, arguments={"filename": tempfile.mkdtemp() + "/keys.dbm"}
)


@region.cache_on_arguments(namespace="maths")
def add(a, b):
    return a + b


print(add(1, 2), region.get("maths.add.1.2"), region.get("maths.add.2.1"))


def chosen(namespace, fn):
    """The namespace names keywords that are part of the key; the other ones are not."""

    def key(*arguments, **keywords):
        return "/".join([f"{name}={keywords[name]}" for name in namespace] + [str(one) for one in arguments])

    return key


memory = make_region(function_key_generator=chosen).configure("dogpile.cache.memory")


@memory.cache_on_arguments(namespace=("language", "size"))
def page(number, **keywords):
    return f"page {number} {sorted(keywords.items())}"


print(page(1, language="is", size=2, trace=7), "|", page(1, language="is", size=2, trace=8))
print(page(1, language="no", size=2, trace=9), "|", memory.get("language=no/size=2/1"))

plain = make_region().configure("dogpile.cache.memory")


@plain.cache_on_arguments(function_key_generator=kwarg_function_key_generator)
def text(a, b=2, *, c=3):
    return f"{a} {b} {c}"


print(text(1, c=3), text(1, b=2, c=3), text(a=1, c=3), text(1, 5, c=6))


def function(a, b, c="x"):
    pass


for arguments, keywords in (((1, 2), {}), ((1,), {"b": 2}), ((), {"b": 2, "a": 1, "c": "y"})):
    print(kwarg_function_key_generator("ns", function)(*arguments, **keywords))
print(function_key_generator(None, function)(1, None, "a b"))
print(function_key_generator("ns", function, to_str=repr)("1", 1))
print(function_key_generator("ns", function, to_str=lambda one: f"<{one}>")(1, 2))
print(function_multi_key_generator("ns", function)("a", 1))


@plain.cache_on_arguments(to_str=repr)
def kind(thing):
    return type(thing).__name__


print(kind("1"), kind(1), plain.get_multi(["__main__:kind|'1'", "__main__:kind|1"]))
