"""A function cached on memcached, as the usage guide begins."""

import os

from dogpile.cache import make_region

people = {1: "Ada", 2: "Grace"}
asked = []

region = make_region().configure(
    "dogpile.cache.pylibmc",
    expiration_time=600,
    arguments={
        "url": [f"127.0.0.1:{os.environ['MEMCACHED_PORT']}"],
        "binary": True,
        "behaviors": {"tcp_nodelay": True, "ketama": True},
    },
)


@region.cache_on_arguments()
def name_of(number):
    asked.append(number)
    return people[number]


print([name_of(number) for number in (1, 2, 1, 1, 2)], asked)
people[1] = "Lovelace"
print(name_of(1), name_of.refresh(1), name_of(1), asked)
