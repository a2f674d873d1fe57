//! Hits of values kept as bytes: the wire format and JSON. For orientation.

use std::hint::black_box;

use dogpile::backend::SerializedMemory;
use dogpile::{Config, Region};
use serde::{Deserialize, Serialize};

use crate::measure::{Contestant, Effort, race};
use crate::table::{Row, Section};

const OURS: &str = "get, SerializedMemory, JSON";
const BARE: &str = "serde_json::from_slice alone";

static REGION: Region = Region::new("json");

#[derive(Clone, Serialize, Deserialize)]
struct User {
    id: u64,
    name: String,
    email: String,
    groups: Vec<u32>,
}

pub(crate) fn section(effort: Effort) -> Section {
    REGION.configure(Config::new(SerializedMemory::new(10))).expect("it is the only time");
    let (name, email) = ("Ada Lovelace".to_owned(), "ada@example.com".to_owned());
    let user = User { id: 42, name, email, groups: vec![1, 5, 12] };
    let bytes = serde_json::to_vec(&user).expect("a plain structure");
    REGION.blocking().set("user:42", &user).expect("memory does not fail");
    let contestants = [
        Contestant::awaiting(OURS, async |_| {
            drop(black_box(REGION.get::<User>("user:42").await));
        }),
        Contestant::calling(BARE, |_| {
            drop(black_box(serde_json::from_slice::<User>(black_box(&bytes))));
        }),
    ];
    let [times] = race(&contestants, [1], effort);
    let row = Row::new((OURS, times.of(OURS)), (BARE, times.of(BARE)), "ns");
    Section { title: "hits in serialized memory", rows: vec![row] }
}
