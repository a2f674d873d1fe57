//! The servers one by one: where a single connection that knows its way about
//! a cluster is not enough, as for notifications of changed keys and for listing
//! them.

use std::sync::Arc;

use futures_util::future::join_all;
use redis::{Value, cmd};
use tokio::sync::Mutex as AsyncMutex;

use super::connect::Target;
use super::link::Link;
use super::slot;
use crate::backend::BackendError;
use crate::sync::Mutex;

/// A link of its own to each server, opened when it is first needed.
pub(super) struct Nodes {
    target: Target,
    /// The connection that is asked who has which slot.
    cluster: Link,
    open: Open,
    /// Called when slots have moved, before anybody can read from where they are now.
    moved: Box<dyn Fn() + Send + Sync>,
    known: Mutex<Known>,
    /// Held by who asks: a crowd asks once, and opens one link to each server.
    asking: AsyncMutex<()>,
}

/// The servers as they were when they were last asked for.
struct Known {
    nodes: Arc<Vec<Node>>,
    /// Not known to be out of date.
    is_good: bool,
    /// No server is missing.
    is_whole: bool,
}

type Open = Box<dyn Fn(&Target) -> Link + Send + Sync>;

/// A server and what it has.
pub(super) struct Node {
    pub(super) name: String,
    pub(super) link: Link,
    /// First and last, as often as the server has others in between.
    slots: Vec<(u16, u16)>,
}

impl Node {
    fn place(&self) -> (&str, &[(u16, u16)]) {
        (&self.name, &self.slots)
    }
}

const ALL_SLOTS: (u16, u16) = (0, 16_383);

impl Nodes {
    /// The servers of `target`, each to be connected with `open`; `cluster` is a
    /// link to any of them.
    pub(super) fn new(
        target: &Target,
        cluster: Link,
        open: impl Fn(&Target) -> Link + Send + Sync + 'static,
    ) -> Self {
        let open: Open = Box::new(open);
        let is_good = !target.is_cluster();
        let mut nodes = Vec::new();
        if is_good {
            let (name, link) = (target.describe(), open(target));
            nodes.push(Node { name, link, slots: vec![ALL_SLOTS] });
        }
        let known = Mutex::new(Known { nodes: Arc::new(nodes), is_good, is_whole: is_good });
        let asking = AsyncMutex::new(());
        let moved = Box::new(|| {});
        Self { target: target.clone(), cluster, open, moved, known, asking }
    }

    /// The same with `moved` called when slots have moved, before anybody reads from where
    /// they are now.
    pub(super) fn telling(self, moved: impl Fn() + Send + Sync + 'static) -> Self {
        Self { moved: Box::new(moved), ..self }
    }

    /// Do all servers answer, and have the slots that are looked for there?
    pub(super) async fn answer(&self) -> bool {
        let Ok(nodes) = self.all().await else { return false };
        let answers = nodes.iter().map(async |node| {
            if !self.target.is_cluster() {
                return node.link.send(&cmd("PING")).await.is_ok();
            }
            let view = node.link.send(cmd("CLUSTER").arg("SLOTS")).await;
            view.is_ok_and(|view| self.has_its_slots(node, view))
        });
        let all_do = join_all(answers).await.into_iter().all(|does| does);
        if !all_do {
            self.forget();
        }
        all_do
    }

    /// Does the server itself say that it has what it is known for?
    fn has_its_slots(&self, node: &Node, view: Value) -> bool {
        let (ranges, _) = ranges(view, self.only_host());
        let is_own = |(_, host, port): &Range| {
            self.target.server_of_cluster(host, *port).describe() == node.name
        };
        let mut own: Vec<_> = ranges.into_iter().filter(is_own).map(|(slots, ..)| slots).collect();
        own.sort_unstable();
        own == node.slots
    }

    /// The server that has `key`.
    pub(super) async fn having(&self, key: &str) -> Result<Link, BackendError> {
        let slot = slot::of(key);
        let has = |node: &&Node| node.slots.iter().any(|&(from, to)| (from..=to).contains(&slot));
        let nodes = self.all().await?;
        let node = nodes.iter().find(has).map(|node| node.link.clone());
        node.ok_or_else(|| BackendError::unavailable("no server has the slot of this key"))
    }

    /// All servers that have slots.
    pub(super) async fn all(&self) -> Result<Arc<Vec<Node>>, BackendError> {
        if let Some(good) = self.good() {
            return Ok(good);
        }
        let _asking = self.asking.lock().await;
        // Somebody may have asked meanwhile.
        if let Some(good) = self.good() {
            return Ok(good);
        }
        let view = self.cluster.send(cmd("CLUSTER").arg("SLOTS")).await?;
        let before = self.known.lock().nodes.clone();
        let (ranges, is_whole) = ranges(view, self.only_host());
        let nodes = Arc::new(self.read(ranges, &before));
        let is_same = nodes.iter().map(Node::place).eq(before.iter().map(Node::place));
        if !before.is_empty() && !is_same {
            (self.moved)();
        }
        let is_good = !nodes.is_empty();
        *self.known.lock() = Known { nodes: nodes.clone(), is_good, is_whole };
        Ok(nodes)
    }

    /// All servers, or an error if the cluster does not say where some of them are.
    pub(super) async fn whole(&self) -> Result<Arc<Vec<Node>>, BackendError> {
        let nodes = self.all().await?;
        if nodes.is_empty() || !self.known.lock().is_whole {
            self.forget();
            let message = "the cluster does not say where all of its servers are";
            return Err(BackendError::unavailable(message));
        }
        Ok(nodes)
    }

    /// A server that does not know its own name is where it was asked, if that is one place.
    fn only_host(&self) -> Option<&str> {
        use redis::ConnectionAddr::{Tcp, TcpTls};

        match &self.target.addresses[..] {
            [Tcp(host, _) | TcpTls { host, .. }] => Some(host),
            _ => None,
        }
    }

    fn good(&self) -> Option<Arc<Vec<Node>>> {
        let known = self.known.lock();
        known.is_good.then(|| known.nodes.clone())
    }

    /// Forgets which server has which slot, and asks again the next time. Links to servers
    /// that remain are kept, since others wait for words over them.
    pub(super) fn forget(&self) {
        if self.target.is_cluster() {
            self.known.lock().is_good = false;
        }
    }

    /// The servers in the answer to `CLUSTER SLOTS`, as far as it can be read, with the
    /// links that there were `before`.
    fn read(&self, ranges: Vec<Range>, before: &[Node]) -> Vec<Node> {
        let mut nodes: Vec<Node> = Vec::new();
        for (slots, host, port) in ranges {
            let target = self.target.server_of_cluster(&host, port);
            let name = target.describe();
            if let Some(node) = nodes.iter_mut().find(|node| node.name == name) {
                node.slots.push(slots);
            } else {
                let known = before.iter().find(|node| node.name == name);
                let link = known.map_or_else(|| (self.open)(&target), |node| node.link.clone());
                nodes.push(Node { name, link, slots: vec![slots] });
            }
        }
        nodes.sort_by(|one, other| one.name.cmp(&other.name));
        nodes.iter_mut().for_each(|node| node.slots.sort_unstable());
        nodes
    }
}

/// Slots with the address of their master.
type Range = ((u16, u16), String, u16);

/// The ranges of slots in the answer to `CLUSTER SLOTS`; and could all be read? A master
/// without a name is at `only_host`.
fn ranges(view: Value, only_host: Option<&str>) -> (Vec<Range>, bool) {
    let Value::Array(ranges) = view else { return (Vec::new(), false) };
    let slot = |value: &Value| match value {
        Value::Int(slot) => u16::try_from(*slot).ok(),
        _ => None,
    };
    let read = |range: Value| {
        let Value::Array(parts) = range else { return None };
        let [from, to, Value::Array(master), ..] = &parts[..] else { return None };
        let [host, port, ..] = &master[..] else { return None };
        let host = match host {
            Value::BulkString(host) if !host.is_empty() => String::from_utf8(host.clone()).ok()?,
            Value::BulkString(_) | Value::Nil => only_host?.to_owned(),
            _ => return None,
        };
        Some(((slot(from)?, slot(to)?), host, slot(port)?))
    };
    let all = ranges.len();
    let read: Vec<Range> = ranges.into_iter().filter_map(read).collect();
    let is_whole = read.len() == all;
    (read, is_whole)
}

#[cfg(test)]
mod tests {
    use std::future::{Future, pending};
    use std::pin::Pin;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use redis::{Cmd, RedisResult};

    use super::*;
    use crate::backend::redis::connect::{Credentials, Endpoint};
    use crate::backend::redis::connection::{Answer, Batch, Connection};
    use crate::backend::redis::link;
    use crate::remote::link::{Driver, Limits, Probe};

    /// A cluster of two servers, a piece of which changes its server each time.
    struct Cluster(Arc<AtomicUsize>);

    impl Probe for Cluster {
        fn lost(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
            Box::pin(pending())
        }
    }

    impl Connection for Cluster {
        fn send<'a>(
            &'a self,
            _command: &'a Cmd,
        ) -> Pin<Box<dyn Future<Output = RedisResult<Value>> + Send + 'a>> {
            let asked = self.0.fetch_add(1, Ordering::SeqCst);
            Box::pin(async move {
                tokio::task::yield_now().await;
                let port = 7_000 + i64::try_from(asked % 2).unwrap_or(0);
                Ok(Value::Array(vec![
                    range(0, 5_000, b"a", 7_000),
                    range(5_001, 10_000, b"a", 7_001),
                    range(10_001, 16_383, b"a", port),
                ]))
            })
        }

        fn send_transaction<'a>(
            &'a self,
            _batch: &'a Batch,
        ) -> Pin<Box<dyn Future<Output = RedisResult<Option<Vec<Value>>>> + Send + 'a>> {
            Box::pin(std::future::ready(Ok(Some(Vec::new()))))
        }

        fn send_all<'a>(
            &'a self,
            _batch: &'a Batch,
        ) -> Pin<Box<dyn Future<Output = RedisResult<Vec<Answer>>> + Send + 'a>> {
            Box::pin(pending())
        }
    }

    #[tokio::test]
    async fn a_crowd_asks_once_and_links_outlive_what_is_forgotten() {
        let target = Target {
            endpoint: Endpoint::Cluster { read_from_replicas: false },
            addresses: Vec::new(),
            credentials: Credentials::default(),
            db: 0,
            tls: None,
        };
        let [asked, opened] = [0; 2].map(|none| Arc::new(AtomicUsize::new(none)));
        let counted = asked.clone();
        let connect = move || {
            let connection: Arc<dyn Connection> = Arc::new(Cluster(counted.clone()));
            async move { Ok(connection) }
        };
        let open =
            move || link::open("a".into(), Limits::default(), Driver::Caller, connect.clone());
        let counted = opened.clone();
        let cluster = open();
        let nodes = Nodes::new(&target, cluster, move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            open()
        });
        for round in 1..=3 {
            let keys: Vec<String> = (0..50).map(|n| format!("key-{n}")).collect();
            let found = join_all(keys.iter().map(|key| nodes.having(key))).await;
            assert!(found.iter().all(Result::is_ok));
            assert_eq!(asked.load(Ordering::SeqCst), round, "once for each crowd");
            assert_eq!(opened.load(Ordering::SeqCst), 2, "once for each server");
            nodes.forget();
        }
    }

    fn range(from: i64, to: i64, host: &[u8], port: i64) -> Value {
        let master = Value::Array(vec![Value::BulkString(host.to_vec()), Value::Int(port)]);
        Value::Array(vec![Value::Int(from), Value::Int(to), master])
    }

    #[test]
    fn what_cannot_be_read_of_a_view_is_left_out() {
        let view = Value::Array(vec![
            range(0, 5_460, b"a", 7_000),
            range(5_461, 5_461, b"", 7_000),
            range(5_462, 99_999, b"a", 7_000),
            range(5_463, 16_383, b"\xff", 7_000),
            Value::Nil,
            range(16_383, 16_383, b"b", 7_001),
        ]);
        let (read, is_whole) = ranges(view, None);
        assert!(!is_whole);
        let expected = [((0, 5_460), "a".to_owned(), 7_000), ((16_383, 16_383), "b".into(), 7_001)];
        assert_eq!(read, expected);
        assert!(!ranges(Value::Okay, None).1);
        let nameless = Value::Array(vec![range(0, 16_383, b"", 7_000)]);
        let (read, is_whole) = ranges(nameless, Some("h"));
        assert_eq!((read, is_whole), (vec![((0, 16_383), "h".to_owned(), 7_000)], true));
    }
}
