//! The servers one by one: where a single connection that knows its way about
//! a cluster is not enough, as for being told of changed keys and for listing
//! them.

use std::sync::Arc;

use redis::{Value, cmd};

use super::endpoint::Target;
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
    known: Mutex<Arc<Vec<Node>>>,
}

type Open = Box<dyn Fn(&Target) -> Link + Send + Sync>;

/// A server and what it has.
pub(super) struct Node {
    pub(super) name: String,
    pub(super) link: Link,
    /// First and last, as often as the server has others in between.
    slots: Vec<(u16, u16)>,
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
        let mut known = Vec::new();
        if !target.is_cluster() {
            known.push(Node {
                name: target.describe(),
                link: open(target),
                slots: vec![ALL_SLOTS],
            });
        }
        let known = Mutex::new(Arc::new(known));
        Self { target: target.clone(), cluster, open, known }
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
        let known = self.known.lock().clone();
        if !known.is_empty() {
            return Ok(known);
        }
        let view = self.cluster.send(cmd("CLUSTER").arg("SLOTS")).await?;
        let nodes = Arc::new(self.read(view));
        self.known.lock().clone_from(&nodes);
        Ok(nodes)
    }

    /// What is known may be out of date: asks again the next time.
    pub(super) fn forget(&self) {
        if self.target.is_cluster() {
            *self.known.lock() = Arc::default();
        }
    }

    /// The servers in the answer to `CLUSTER SLOTS`, as far as it can be read.
    fn read(&self, view: Value) -> Vec<Node> {
        let mut nodes: Vec<Node> = Vec::new();
        for (slots, host, port) in ranges(view) {
            let target = self.target.server_of_cluster(&host, port);
            let name = target.describe();
            if let Some(node) = nodes.iter_mut().find(|node| node.name == name) {
                node.slots.push(slots);
            } else {
                let link = (self.open)(&target);
                nodes.push(Node { name, link, slots: vec![slots] });
            }
        }
        nodes.sort_by(|one, other| one.name.cmp(&other.name));
        nodes
    }
}

/// Ranges of slots with the address of their master.
fn ranges(view: Value) -> impl Iterator<Item = ((u16, u16), String, u16)> {
    let Value::Array(ranges) = view else { return Vec::new().into_iter() };
    let slot = |value: &Value| match value {
        Value::Int(slot) => u16::try_from(*slot).ok(),
        _ => None,
    };
    let read = |range: Value| {
        let Value::Array(parts) = range else { return None };
        let [from, to, Value::Array(master), ..] = &parts[..] else { return None };
        let [Value::BulkString(host), port, ..] = &master[..] else { return None };
        let host = String::from_utf8(host.clone()).ok().filter(|host| !host.is_empty())?;
        Some(((slot(from)?, slot(to)?), host, slot(port)?))
    };
    ranges.into_iter().filter_map(read).collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let read: Vec<_> = ranges(view).collect();
        let expected = [((0, 5_460), "a".to_owned(), 7_000), ((16_383, 16_383), "b".into(), 7_001)];
        assert_eq!(read, expected);
        assert_eq!(ranges(Value::Okay).count(), 0);
    }
}
