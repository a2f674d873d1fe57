//! Foreign data in a shared store: each is a miss, an error that says why, or ignored.

use std::collections::HashMap;
use std::sync::Mutex;

use bytes::Bytes;
use dogpile::backend::{Backend, BackendError, KeepsBytes};
use dogpile::value::{Entry, MAX_HEADER, Payload};
use dogpile::{Config, Region};
use dogpile_testkit::ManualClock;
use proptest::prelude::*;

/// Raw bytes under keys, as on a server.
#[derive(Default)]
struct Raw(Mutex<HashMap<String, Bytes>>);

impl Backend for Raw {
    type Keeps = KeepsBytes;

    async fn get(&self, key: &str) -> Result<Option<Entry>, BackendError> {
        Ok(self.0.lock().unwrap().get(key).map(Entry::from_frame))
    }

    async fn set(&self, key: &str, entry: Entry) -> Result<(), BackendError> {
        let frame = entry.to_frame().ok_or_else(|| BackendError::refused("an object"))?;
        self.0.lock().unwrap().insert(key.to_owned(), frame);
        Ok(())
    }

    async fn delete(&self, key: &str) -> Result<(), BackendError> {
        self.0.lock().unwrap().remove(key);
        Ok(())
    }
}

const NOW: f64 = 1_763_700_000.0;

/// A region with these bytes under `k`.
fn holding(frame: &[u8]) -> Region {
    let raw = Raw::default();
    raw.0.lock().unwrap().insert("k".to_owned(), Bytes::copy_from_slice(frame));
    let region = Region::new("wire");
    region.configure(Config::new(raw).clock(ManualClock::at(NOW))).unwrap();
    region
}

/// Nobody gets an error; the value is made once, and is there from then on.
fn is_created_again(frame: &[u8]) {
    let shown = String::from_utf8_lossy(&frame[..frame.len().min(60)]).into_owned();
    let region = holding(frame);
    let blocking = region.blocking();
    assert_eq!(blocking.get::<u32>("k").unwrap(), None, "{shown}");
    assert_eq!(blocking.get_multi::<u32, _>(["k"]).unwrap(), [None], "{shown}");
    assert_eq!(blocking.get_or_create("k", || 7_u32), 7, "{shown}");
    assert_eq!(blocking.get("k").unwrap(), Some(7_u32), "{shown}");
    assert_eq!(region.statistics().creations, 1, "{shown}");
}

#[test]
fn values_of_any_writer_are_read() {
    for frame in [
        &br#"{"ct": 1763699999.5, "v": 2}|42"#[..],
        br#"{"v":2,"ct":1763699999}|42"#,
        b"{\n \"host\": \"a|b\", \"v\": 2, \"ct\": 1.7636999995e9 }|42",
        br#"{"ct": 1763699999.5, "v": 2, "x": {"y": [1, null]}}| 42 "#,
    ] {
        // A bar within the header ends it: the third one is no value.
        if frame.windows(3).any(|window| window == b"a|b") {
            is_created_again(frame);
        } else {
            assert_eq!(holding(frame).blocking().get("k").unwrap(), Some(42_u32));
        }
    }
}

#[test]
fn what_is_no_value_is_created_again() {
    let long =
        [&b"{\"ct\": 1.0, \"v\": 2, \"x\": \""[..], &vec![b'x'; MAX_HEADER], b"\"}|42"].concat();
    let deep = [&b"{\"ct\": 1.0, \"v\": 2, \"x\": "[..], &vec![b'['; 10_000], b"}|42"].concat();
    for frame in [
        &b""[..],
        b"|",
        b"42",
        br#"{"ct": 1763699999.5, "v": 2}"#,
        br#"{"ct": 1763699999.5, "v": 2"#,
        br#"{"ct": 1763699999.5, "v": 2}|"#,
        br#"{"ct": 1763699999.5, "v": 2}|"a text""#,
        br#"{"ct": 1763699999.5, "v": 2}|42 and more"#,
        br#"{"ct": 1763699999.5, "v": 1}|42"#,
        br#"{"ct": 1763699999.5, "v": 3}|42"#,
        br#"{"ct": 1763699999.5, "v": "2"}|42"#,
        br#"{"ct": 1763699999.5}|42"#,
        br#"{"ct": NaN, "v": 2}|42"#,
        br#"{"ct": 1e400, "v": 2}|42"#,
        br#"{"ct": 99999999999, "v": 2}|42"#,
        b"\x80\x04\x95 a pickle",
        &long,
        &deep,
    ] {
        is_created_again(frame);
    }
}

proptest! {
    #[test]
    fn frames_survive_the_way_there_and_back(
        ct in prop::num::f64::NORMAL | prop::num::f64::ZERO,
        payload: Vec<u8>,
        name in "[a-z]{3,8}",
        text in ".*",
    ) {
        let mut entry = Entry::bytes(payload.clone(), ct);
        entry.metadata = entry.metadata.with_extra(&name, text.into());
        let frame = entry.to_frame().unwrap();
        let back = Entry::from_frame(&frame);
        prop_assert_eq!(back.metadata, entry.metadata);
        prop_assert!(matches!(back.payload, Payload::Bytes(bytes) if bytes == payload));
    }

    #[test]
    fn no_bytes_are_an_error_to_a_creating_call(frame: Vec<u8>, behind in prop::bool::ANY) {
        let frame = if behind {
            [&br#"{"ct": 1763699999.5, "v": 2}|"#[..], &frame].concat()
        } else {
            frame
        };
        let made = holding(&frame).blocking().entry("k").strict().get_or_create(|| "new".to_owned());
        prop_assert!(made.is_ok());
    }
}
