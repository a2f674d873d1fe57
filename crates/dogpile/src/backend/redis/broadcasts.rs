//! Links on which servers tell of all changes to keys that begin alike, whoever has read them.

use std::sync::Arc;

use super::nodes::Nodes;
use crate::sync::Mutex;

/// The prefixes that somebody has asked for, each with links of its own. They stay as long as the
/// backend does.
pub(super) struct Broadcasts {
    open: Box<dyn Fn(String) -> Arc<Nodes> + Send + Sync>,
    opened: Mutex<Vec<Broadcast>>,
}

struct Broadcast {
    prefix: String,
    nodes: Arc<Nodes>,
}

impl Broadcasts {
    /// None yet. `open` makes the links of a prefix.
    pub(super) fn new(open: impl Fn(String) -> Arc<Nodes> + Send + Sync + 'static) -> Self {
        Self { open: Box::new(open), opened: Mutex::default() }
    }

    /// Opens those of `prefix`, if there are none.
    pub(super) fn open(&self, prefix: &str) {
        let mut opened = self.opened.lock();
        if opened.iter().all(|broadcast| broadcast.prefix != prefix) {
            let nodes = (self.open)(prefix.to_owned());
            opened.push(Broadcast { prefix: prefix.to_owned(), nodes });
        }
    }

    /// Is `key` one of theirs?
    pub(super) fn include(&self, key: &str) -> bool {
        self.opened.lock().iter().any(|broadcast| key.starts_with(&broadcast.prefix))
    }

    pub(super) fn nodes(&self) -> Vec<Arc<Nodes>> {
        self.opened.lock().iter().map(|broadcast| broadcast.nodes.clone()).collect()
    }
}
