"""Prints the spans that Datadog's tracer makes of a program with dogpile.cache."""

from __future__ import annotations

from ddtrace import patch

# Before what it instruments is imported, as its users do.
patch(dogpile_cache=True)

from ddtrace.trace import TraceFilter, tracer  # noqa: E402
from dogpile.cache import make_region  # noqa: E402

TAGS = ("hit", "expired", "key", "keys", "region", "backend")


class Printed(TraceFilter):
    """Prints spans where they would be sent to Datadog."""

    def process_trace(self, trace):
        for span in trace:
            print(span.name, span.resource, *(f"{tag}={span.get_tag(tag)}" for tag in TAGS))


tracer.configure(trace_processors=[Printed()])
region = make_region("traced").configure("dogpile.cache.memory", expiration_time=100)


@region.cache_on_arguments()
def doubled(x: int) -> int:
    return 2 * x


for _ in range(2):
    region.get_or_create("k", lambda: 5)
    region.get_or_create_multi(["a", "b"], lambda *keys: [1 for _ in keys])
    print(doubled(1), doubled(1))
    region.invalidate()
tracer.flush()
