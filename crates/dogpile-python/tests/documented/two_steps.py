"""A region decorates functions before it has a backend, and is told of the backend later."""

from dogpile.cache import exception, make_region

region = make_region(name="reports")


@region.cache_on_arguments()
def report(year):
    print("computing", year)
    return f"report of {year}"


print(region.name, region.is_configured)
try:
    region.get("k")
except exception.RegionNotConfigured as error:
    print(type(error).__name__, error)
print(region.configure("dogpile.cache.memory", expiration_time=60) is region, region.is_configured)
print(report(2020), "/", report(2020))
try:
    region.configure("dogpile.cache.memory")
except exception.RegionAlreadyConfigured as error:
    print(type(error).__name__, str(error).split(":")[0])
region.configure("dogpile.cache.null", replace_existing_backend=True)
print(report(2020), "/", report(2020))
for arguments in ({"expiration_time": "soon"}, {"wrap": [object()]}):
    try:
        make_region().configure("dogpile.cache.memory", **arguments)
    except Exception as error:
        print(type(error).__name__)
try:
    make_region().configure("a backend that nobody has written")
except exception.PluginNotFound as error:
    print(type(error).__name__)
