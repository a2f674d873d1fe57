"""Two regions take their settings from one ini file, each from the lines with its own prefix."""

import configparser
import os
import tempfile
from datetime import timedelta

from dogpile.cache import make_region

folder = tempfile.mkdtemp()
text = f"""
[cache]
pages.backend = dogpile.cache.dbm
pages.expiration_time = 3600
pages.arguments.filename = {folder}/pages.dbm
pages.arguments.rw_lockfile = false
people.backend = dogpile.cache.pymemcache
people.arguments.url = 127.0.0.1:{os.environ["MEMCACHED_PORT"]}
people.arguments.memcached_expire_time = 7200
"""
parser = configparser.ConfigParser()
parser.read_string(text)
settings = dict(parser["cache"])
pages, people = make_region(), make_region()
pages.configure_from_config(settings, "pages.")
people.configure_from_config(settings, "people.")
print(type(pages.backend).__name__, pages.expiration_time)
print(type(people.backend).__name__, people.expiration_time)
print(people.backend.url, people.backend.set_arguments)
pages.set("/", "<h1>")
people.set("ada", {"born": 1815})
print(pages.get("/"), people.get("ada"), pages.get("ada"))
print(sorted(name.split(".")[0] for name in os.listdir(folder)))

# Values may be objects as well, not only text.
objects = {"a.backend": "dogpile.cache.memory", "a.arguments.cache_dict": {}}
memory = make_region().configure_from_config(objects, "a.")
memory.set("k", 1)
print(list(objects["a.arguments.cache_dict"]))
print(make_region().configure("dogpile.cache.memory", timedelta(minutes=2)).expiration_time)
