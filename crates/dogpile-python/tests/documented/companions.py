"""The companions of a cached function, and the keys of functions and methods."""

from dogpile.cache import make_region

stored = {}
region = make_region().configure("dogpile.cache.memory", arguments={"cache_dict": stored})
runs = []


@region.cache_on_arguments()
def area(width, height=1):
    """Multiplies."""
    runs.append((width, height))
    return width * height


print(area(5, 6), area(5, 6), area.get(5, 6), area.get(7), runs)
print(area.set(100, 5, 6), area(5, 6), area.original(5, 6), area(5, 6))
print(area.refresh(5, 6), area(5, 6), area.invalidate(5, 6), area.get(5, 6), area(5), runs)
print(area.__name__, area.__doc__, sorted(stored))
try:
    area(5, height=6)
except ValueError as error:
    print(error)


class Shop:
    def __init__(self, prices):
        self.prices = prices

    @region.cache_on_arguments(namespace="shop")
    def price(self, thing, amount):
        return self.prices[thing] * amount

    @classmethod
    @region.cache_on_arguments(namespace="class")
    def kind(cls, thing):
        return f"{cls.__name__} of {thing}"


class Market(Shop):
    @region.cache_on_arguments(namespace="market")
    def price(self, thing, amount):
        return self.prices[thing] * amount // 2


print(Shop({"tea": 4}).price("tea", 3), Shop({"tea": 400}).price("tea", 3), Market({"tea": 4}).price("tea", 3))
print(Shop.kind("tea"), Market.kind("tea"))
print(sorted(stored))
Shop.price.invalidate(None, "tea", 3)
print(Shop({"tea": 400}).price("tea", 3), Market({"tea": 400}).price("tea", 3))
