"""All that is cached about one user goes at once: the key generator remembers the shapes of keys."""

from dogpile.cache import make_region

shapes = set()


def by_user(namespace, fn):
    def key(user, *further):
        shape = "/".join([fn.__name__, "{}", *map(str, further)])
        shapes.add(shape)
        return shape.format(user)

    return key


region = make_region(function_key_generator=by_user).configure("dogpile.cache.memory")
calls = iter(range(1000))


def forget(user):
    for shape in shapes:
        region.delete(shape.format(user))


@region.cache_on_arguments()
def profile(user):
    return f"profile of {user}, call {next(calls)}"


@region.cache_on_arguments()
def orders(user, year):
    return f"orders of {user} in {year}, call {next(calls)}"


def show():
    print([profile(1), profile(2), orders(1, 2020), orders(1, 2021), orders(2, 2020)])


show(), show()
forget(1)
show(), show()
print(sorted(shapes))
