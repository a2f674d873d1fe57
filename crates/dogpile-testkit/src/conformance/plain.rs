//! Checks of a backend's plain operations.

use std::sync::Arc;

use bytes::Bytes;
use dogpile::value::{Entry, Payload};
use tokio::sync::Semaphore;

use super::Fixture;
use super::fixture::{assert_same, text};

const CT: f64 = 1_763_700_000.123_456;

/// A key that was never stored is absent, alone and among others.
pub async fn a_missing_key_reads_as_nothing(fixture: Fixture) {
    let key = fixture.key("missing");
    assert!(fixture.backend.get(&key).await.unwrap().is_none());
    let many = fixture.backend.get_multi(&[&key, &key]).await.unwrap();
    assert!(many.iter().all(Option::is_none) && many.len() == 2);
}

/// Payload and creation time come back to the last bit.
pub async fn an_entry_reads_back_whole(fixture: Fixture) {
    for (name, value) in [("a", "text"), ("b", ""), ("c", "pipe | and \u{0} and ключ")] {
        let key = fixture.key(name);
        let entry = fixture.entry(value, CT);
        fixture.backend.set(&key, entry.clone()).await.unwrap();
        assert_same(fixture.backend.get(&key).await.unwrap().as_ref(), value, &entry.metadata);
    }
}

/// The last value stored is the one that is read.
pub async fn a_second_set_overwrites(fixture: Fixture) {
    let key = fixture.key("twice");
    fixture.backend.set(&key, fixture.entry("a longer first value", CT)).await.unwrap();
    fixture.backend.set(&key, fixture.entry("second", CT + 1.0)).await.unwrap();
    let found = fixture.backend.get(&key).await.unwrap();
    assert_same(found.as_ref(), "second", &fixture.entry("", CT + 1.0).metadata);
}

/// Deleting removes the one key; deleting what is not there is fine.
pub async fn delete_removes_and_absent_keys_are_fine(fixture: Fixture) {
    let (gone, kept) = (fixture.key("gone"), fixture.key("kept"));
    for key in [&gone, &kept] {
        fixture.backend.set(key, fixture.entry("x", CT)).await.unwrap();
    }
    fixture.backend.delete(&gone).await.unwrap();
    fixture.backend.delete(&gone).await.unwrap();
    assert!(fixture.backend.get(&gone).await.unwrap().is_none());
    assert!(fixture.backend.get(&kept).await.unwrap().is_some());
}

/// One answer per key, in their order; absent and repeated keys included.
pub async fn get_multi_answers_in_the_order_of_the_keys(fixture: Fixture) {
    let keys: Vec<String> = (0..100).map(|n| fixture.key(&n.to_string())).collect();
    for (n, key) in keys.iter().enumerate().filter(|(n, _)| n % 3 != 0) {
        fixture.backend.set(key, fixture.entry(&n.to_string(), CT)).await.unwrap();
    }
    let mut asked: Vec<(usize, &str)> = keys.iter().map(String::as_str).enumerate().collect();
    asked.reverse();
    asked.push((7, &keys[7]));
    let names: Vec<&str> = asked.iter().map(|(_, key)| *key).collect();
    let answers = fixture.backend.get_multi(&names).await.unwrap();
    for ((n, _), answer) in asked.iter().zip(answers) {
        let expected = (n % 3 != 0).then(|| n.to_string());
        assert_eq!(answer.as_ref().map(text), expected);
    }
    assert!(fixture.backend.get_multi(&[]).await.unwrap().is_empty());
}

/// All are stored, all are removed; nothing at all is fine.
pub async fn set_multi_stores_and_delete_multi_removes(fixture: Fixture) {
    let keys: Vec<String> = (0..50).map(|n| fixture.key(&n.to_string())).collect();
    let entries: Vec<(&str, Entry)> =
        keys.iter().map(|key| (key.as_str(), fixture.entry(key, CT))).collect();
    fixture.backend.set_multi(&entries).await.unwrap();
    let names: Vec<&str> = keys.iter().map(String::as_str).collect();
    for (key, found) in keys.iter().zip(fixture.backend.get_multi(&names).await.unwrap()) {
        assert_eq!(&text(&found.unwrap()), key);
    }
    fixture.backend.delete_multi(&names[10..]).await.unwrap();
    fixture.backend.delete_multi(&names[10..]).await.unwrap();
    let left = fixture.backend.get_multi(&names).await.unwrap();
    assert_eq!(left.iter().flatten().count(), 10);
    fixture.backend.set_multi(&[]).await.unwrap();
    fixture.backend.delete_multi(&[]).await.unwrap();
}

/// Keys with spaces, control characters, of any script and length are either
/// kept, each for itself, or refused with an error; never mixed up.
pub async fn unusual_keys_are_kept_apart_or_refused(fixture: Fixture) {
    let long = "x".repeat(10_000);
    let names = [
        "with space",
        "with  space",
        "new\nline",
        "nul\u{0}",
        "nul",
        "ключ",
        "🔑",
        "a|b",
        "%00",
        "{hash}tag",
        "*",
        "../up",
        "'quoted'; --",
        &long[1..],
        &long,
    ];
    let mut kept = Vec::new();
    for name in names {
        let key = fixture.key(name);
        if fixture.backend.set(&key, fixture.entry(name, CT)).await.is_ok() {
            kept.push((key, name));
        }
    }
    for (key, name) in &kept {
        let found = fixture.backend.get(key).await.unwrap();
        assert_eq!(found.as_ref().map(text).as_deref(), Some(*name));
    }
}

/// A value of a few megabytes is kept whole or refused; what was there before
/// is not read as the new value.
pub async fn large_values_are_kept_or_refused(fixture: Fixture) {
    let key = fixture.key("large");
    let large = "0123456789abcdef".repeat(200_000);
    fixture.backend.set(&key, fixture.entry("small", CT)).await.unwrap();
    let stored = fixture.backend.set(&key, fixture.entry(&large, CT + 1.0)).await;
    let found = fixture.backend.get(&key).await.unwrap().as_ref().map(text);
    match stored {
        Ok(()) => assert!(found.is_some_and(|found| found == large)),
        Err(_) => assert!(found.is_none_or(|found| found == "small")),
    }
}

/// Header keys of other writers come back as they were (bytes only).
pub async fn foreign_metadata_is_kept(fixture: Fixture) {
    if fixture.backend.keeps_objects() {
        return;
    }
    let key = fixture.key("foreign");
    let frame = Bytes::from_static(br#"{"who": {"name": "x"}, "v": 2, "ct": 12.5}|"payload""#);
    fixture.backend.set(&key, Entry::from_frame(&frame)).await.unwrap();
    let found = fixture.backend.get(&key).await.unwrap().unwrap();
    assert_eq!(found.metadata.ct.to_bits(), 12.5_f64.to_bits());
    assert_eq!(found.metadata.extra("who"), Some(&serde_json::json!({"name": "x"})));
    assert!(matches!(&found.payload, Payload::Bytes(bytes) if bytes == &b"\"payload\""[..]));
}

/// A backend that answers without waiting answers the same.
pub async fn the_short_cut_agrees_with_get(fixture: Fixture) {
    let key = fixture.key("now");
    for value in [None, Some("first"), Some("second")] {
        if let Some(value) = value {
            fixture.backend.set(&key, fixture.entry(value, CT)).await.unwrap();
        }
        if let Some(now) = fixture.backend.get_now(&key) {
            assert_eq!(now.unwrap().as_ref().map(text).as_deref(), value);
        }
    }
}

/// Readers see one of the values that were written, whole.
pub async fn concurrent_writes_are_never_torn(fixture: Fixture) {
    let key = fixture.key("torn");
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..8_u8 {
        let (backend, key) = (fixture.backend.clone(), key.clone());
        let value = char::from(b'a' + writer).to_string().repeat(5_000);
        let entry = fixture.entry(&value, CT);
        tasks.spawn(async move {
            for _ in 0..20 {
                backend.set(&key, entry.clone()).await.unwrap();
                if let Some(found) = backend.get(&key).await.unwrap() {
                    let found = text(&found);
                    assert!(
                        found.len() == 5_000 && found.bytes().all(|b| b == found.as_bytes()[0])
                    );
                }
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
}

/// Looked into, the backend lists every key of a prefix and no other.
pub async fn a_listing_has_every_key(fixture: Fixture) {
    let Some(inspect) = fixture.backend.inspect() else { return };
    let mut keys: Vec<String> = (0..30).map(|n| fixture.key(&format!("[list*{n:02}"))).collect();
    for key in &keys {
        fixture.backend.set(key, fixture.entry(key, CT)).await.unwrap();
    }
    fixture.backend.set(&fixture.key("other"), fixture.entry("other", CT)).await.unwrap();
    let mut found = Vec::new();
    let mut after: Option<Vec<u8>> = None;
    let prefix = fixture.key("[list*");
    loop {
        let page = inspect.keys(prefix.as_bytes(), after.as_deref(), 7).await.unwrap();
        found.extend(page.keys.into_iter().map(|info| info.key.to_string()));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    keys.sort();
    found.sort();
    assert_eq!(found, keys);
}

/// A watch tells of every kind of change, by whomever.
pub async fn a_watch_tells_of_changes(fixture: Fixture) {
    let (key, changes) = (fixture.key("watched"), Arc::new(Semaphore::new(0)));
    let told = changes.clone();
    let watch = fixture.backend.watch(&key, Arc::new(move || told.add_permits(1)));
    let Some(watch) = watch else { return };
    let told = async || changes.acquire().await.expect("it is never closed").forget();
    told().await;
    let peer = fixture.peer.as_ref().unwrap_or(&fixture.backend);
    peer.set(&key, fixture.entry("first", CT)).await.unwrap();
    told().await;
    peer.set_multi(&[(&key, fixture.entry("second", CT))]).await.unwrap();
    told().await;
    fixture.backend.delete(&key).await.unwrap();
    told().await;
    drop(watch);
}
