//! Payloads from a shared store, through a region: the codec and the
//! compression proxy give an answer to whatever bytes there are.

#![no_main]

use std::collections::BTreeMap;

use dogpile::backend::SerializedMemory;
use dogpile::codec::MessagePack;
use dogpile::proxy::{Algorithm, Compression};
use dogpile::value::Entry;
use dogpile::{Config, Region};
use libfuzzer_sys::fuzz_target;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
enum Value {
    Nothing,
    Text(String),
    Tree(Vec<Value>),
    Record { id: u64, fields: BTreeMap<String, Option<f32>> },
}

fuzz_target!(|data: &[u8]| {
    let region = Region::new("fuzz");
    let config = Config::new(SerializedMemory::new(10)).codec(MessagePack);
    let config = config.proxy(Compression::new(Algorithm::Lz4).max_size(1 << 20));
    region.configure(config).expect("a new region");
    let backend = region.backend().expect("it is configured");
    let actual = backend.actual::<SerializedMemory>().expect("it is the backend");
    let (kind, payload) = data.split_first().unwrap_or((&0, &[]));
    let mut entry = Entry::bytes(payload.to_vec(), 1.0);
    if let Some(name) = ["zstd", "lz4"].get(usize::from(*kind)) {
        entry.metadata = entry.metadata.with_extra("z", (*name).into());
    }
    let stored = dogpile::backend::Backend::set(actual, "k", entry);
    at_once(stored).expect("memory does not fail");
    let made = region.blocking().entry("k").strict().get_or_create(|| Value::Nothing);
    assert!(made.is_ok());
});

/// Runs what never waits.
fn at_once<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(output) => output,
        std::task::Poll::Pending => unreachable!("memory does not wait"),
    }
}
