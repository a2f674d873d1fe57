"""Redis, Valkey, their sentinels and a cluster of Redis, as the reference configures them.

The part in braces keeps keys on one node of the cluster.
"""

import os
import threading

from dogpile.cache import make_region
from redis.cluster import ClusterNode

port = {name: int(number) for name, number in os.environ.items() if name.endswith("_PORT")}


def servers():
    for kind in ("redis", "valkey"):
        more = {f"{kind}_expiration_time": 7200, "distributed_lock": True, "thread_local_lock": False}
        own = {"host": "127.0.0.1", "port": port["REDIS_PORT"], "db": 1}
        yield kind, own | more
        yield kind, {"url": f"redis://127.0.0.1:{port['REDIS_PORT']}/2"} | more
        sentinels = {"sentinels": [["127.0.0.1", port["SENTINEL_PORT"]]], "service_name": "pifpaf", "db": 0}
        yield f"{kind}_sentinel", sentinels | more
    yield "redis_cluster", {"startup_nodes": [ClusterNode("127.0.0.1", port["CLUSTER_PORT"])]}
    yield "redis_cluster", {"url": f"redis://127.0.0.1:{port['CLUSTER_PORT']}/0", "redis_expiration_time": 60}


for name, arguments in servers():
    region = make_region().configure(f"dogpile.cache.{name}", expiration_time=3600, arguments=arguments)
    again = make_region().configure(f"dogpile.cache.{name}", arguments=arguments)
    runs, answers = [], []

    def create():
        runs.append(name)
        return {"of": name, "run": len(runs)}

    threads = [threading.Thread(target=lambda: answers.append(region.get_or_create("{s}k", create))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(name, answers, again.get("{s}k"))
    print(
        again.get_or_create_multi(["{s}x", "{s}y"], lambda *keys: [key + name for key in keys]),
        region.get_multi(["{s}y", "{s}x"]),
    )
    client = getattr(region.actual_backend, "writer_client", None)
    left = client.ttl("{s}k") if client is not None else -2
    print("lasts", round(left, -1) if left > 0 else left, region.key_is_locked("{s}k"))
    region.delete_multi(["{s}k", "{s}x", "{s}y"])
    print(again.get_multi(["{s}k", "{s}x", "{s}y"]))
