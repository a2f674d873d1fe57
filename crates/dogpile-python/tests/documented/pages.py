"""Mako's templates keep parts of pages in regions."""

from dogpile.cache import make_region
from mako.lookup import TemplateLookup

regions = {
    "short": make_region().configure("dogpile.cache.memory", expiration_time=60),
    "long": make_region().configure("dogpile.cache.memory_pickle"),
}
lookup = TemplateLookup(cache_impl="dogpile.cache", cache_args={"regions": regions})
lookup.put_string(
    "page",
    """<%def name="head(title)" cached="True" cache_region="long" cache_key="head ${title}">\
${count('head')}<h1>${title}</h1></%def>\
<%block name="body" cached="True" cache_region="short" cache_timeout="30">${count('body')}text</%block>\
${head(title)}""",
)
template = lookup.get_template("page")
counted = []


def count(part):
    counted.append(part)
    return len(counted)


for title in ("one", "one", "two"):
    print(template.render(count=count, title=title))
template.cache.invalidate("head one", region="long")
print(template.render(count=count, title="one"), counted)
