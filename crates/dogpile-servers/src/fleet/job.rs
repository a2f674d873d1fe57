//! The job of a worker, and its answer.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub(super) const READY: &str = "ready";
pub(super) const GO: &str = "go";

/// A worker's orders, as its only argument.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) settings: BTreeMap<String, String>,
    pub(super) race: Race,
    pub(super) key: String,
    /// The place where creators note that they began.
    pub(super) notes: PathBuf,
    pub(super) tasks: usize,
}

/// The work of a worker's tasks.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Race {
    /// All ask for one key; creation takes this many milliseconds.
    Crowd {
        /// Milliseconds.
        creation: u64,
    },
    /// As `Crowd`, but the first creation of all fails.
    FirstFails,
    /// As `Crowd`, but the first creation of all kills its own process.
    FirstDies,
    /// All ask for an overlapping part of ten keys, in an order of their own.
    Overlap,
    /// As `Crowd`, with a creation that never ends. Told a second time, the worker shuts
    /// dogpile down and ends; its answer's value is whether everything was given up.
    Leaves,
    /// Never ends: writes values that tell whether they are whole.
    Write,
}

/// The answer to one task.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Answer {
    /// The key.
    pub key: String,
    /// The value: one of the lines that the creators noted.
    pub value: String,
    /// When, in epoch seconds.
    pub at: f64,
}
