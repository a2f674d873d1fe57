"""With the level DEBUG, a region tells of misses, creations and invalidations."""

import logging
import re

from dogpile.cache import make_region


class Collect(logging.Handler):
    """Prints records. dogpile.cache tells of a miss twice: it looks again when it has the lock."""

    last = None

    def emit(self, record):
        text = re.sub(r"\d+\.\d+ seconds", "N seconds", record.getMessage())
        if text != self.last:
            print(record.levelname, record.name, text)
        self.last = text


logging.getLogger("dogpile.cache").addHandler(Collect())
logging.getLogger("dogpile.cache").setLevel(logging.DEBUG)
region = make_region().configure("dogpile.cache.memory", expiration_time=60)


@region.cache_on_arguments()
def double(number):
    return 2 * number


@region.cache_multi_on_arguments()
def squares(*numbers):
    return [number * number for number in numbers]


print(double(1), double(1))
print(squares(3, 1, 2), squares(1, 4))
region.invalidate()
print(double(1), squares(1, 2))
region.invalidate(hard=False)
print(double(1), double(1))
