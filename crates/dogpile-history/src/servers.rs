//! The servers of a run, and the proxies before them.

use std::path::Path;

use dogpile_servers::{MemcachedServer, RedisCluster, RedisSentinels, RedisServer};
use dogpile_testkit::tcp::{Condition, Proxy};

use crate::plan::{Backend, Disturb, Place, Plan};

/// The servers under the cache of a run.
pub(crate) enum Servers {
    /// The workers, or a file.
    None,
    Redis(RedisServer),
    Memcached(Vec<MemcachedServer>),
    Sentinels(RedisSentinels),
    Cluster(RedisCluster),
}

/// The servers of a run, and how they are reached.
pub(crate) struct Stage {
    pub(crate) servers: Servers,
    pub(crate) proxies: Vec<Proxy>,
    /// One for all workers, or one for each.
    pub(crate) places: Vec<Place>,
}

impl Stage {
    /// Starts what `plan` needs; `directory` is for files.
    pub(crate) fn start(plan: &Plan, directory: &Path) -> Self {
        match plan.backend {
            Backend::Memory => Self::without_servers(Place::Memory),
            Backend::Serialized => Self::without_servers(Place::Serialized),
            Backend::File => Self::without_servers(Place::File(directory.join("cache.sqlite"))),
            Backend::Redis => Self::redis(RedisServer::start(), "", plan),
            Backend::RedisPlain => {
                let user = ["--user", "app", "on", ">secret", "~*", "&*", "+@all", "-@scripting"];
                Self::redis(RedisServer::with(&user), "app:secret@", plan)
            }
            Backend::RedisCluster => {
                let (cluster, proxies) = if plan.disturb.needs_proxy() {
                    RedisCluster::start_behind_proxies()
                } else {
                    (RedisCluster::start(), Vec::new())
                };
                let place = Place::Redis(cluster.url());
                Self { servers: Servers::Cluster(cluster), proxies, places: vec![place] }
            }
            Backend::RedisSentinel => {
                let (sentinels, proxies) = if plan.disturb.needs_proxy() {
                    RedisSentinels::start_behind_proxies()
                } else {
                    (RedisSentinels::start(), Vec::new())
                };
                let place = Place::Redis(sentinels.url());
                Self { servers: Servers::Sentinels(sentinels), proxies, places: vec![place] }
            }
            Backend::Memcached => Self::memcached(1, plan),
            Backend::Memcached2 => Self::memcached(2, plan),
        }
    }

    fn without_servers(place: Place) -> Self {
        Self { servers: Servers::None, proxies: Vec::new(), places: vec![place] }
    }

    fn redis(server: RedisServer, login: &str, plan: &Plan) -> Self {
        // Only where each worker has a proxy of its own can one of them be cut off.
        let doors = if plan.disturb == Disturb::Partition { plan.workers() } else { 1 };
        let (ports, proxies) = before(&vec![server.port(); doors], plan);
        let place = |port: &u16| Place::Redis(format!("redis://{login}127.0.0.1:{port}"));
        let places = ports.iter().map(place).collect();
        Self { servers: Servers::Redis(server), proxies, places }
    }

    fn memcached(count: usize, plan: &Plan) -> Self {
        let servers: Vec<_> = (0..count).map(|_| MemcachedServer::start()).collect();
        let ports: Vec<u16> = servers.iter().map(MemcachedServer::port).collect();
        let (ports, proxies) = before(&ports, plan);
        let places = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let place = Place::Memcached(places);
        Self { servers: Servers::Memcached(servers), proxies, places: vec![place] }
    }

    /// Returns the number of connections to a single Redis on which it is asked, and does not tell.
    pub(crate) fn count_connections(&self) -> usize {
        let Servers::Redis(server) = &self.servers else { return 0 };
        server.count_askers()
    }

    /// Ends the connections on which servers tell of changes.
    pub(crate) fn kill_tracking(&self) {
        match &self.servers {
            Servers::Redis(server) => server.kill_tracking(),
            Servers::Sentinels(servers) => servers.kill_tracking(),
            Servers::Cluster(cluster) => cluster.kill_tracking(),
            Servers::None | Servers::Memcached(_) => {}
        }
    }

    /// Sets the condition of all connections.
    pub(crate) fn set(&self, condition: Condition) {
        self.proxies.iter().for_each(|proxy| proxy.set(condition));
    }
}

/// Puts proxies before `ports` if `plan` needs them; the ports to connect to.
fn before(ports: &[u16], plan: &Plan) -> (Vec<u16>, Vec<Proxy>) {
    if !plan.disturb.needs_proxy() {
        return (ports.to_vec(), Vec::new());
    }
    let proxies: Vec<Proxy> = ports.iter().map(|port| Proxy::to(*port)).collect();
    (proxies.iter().map(Proxy::port).collect(), proxies)
}
