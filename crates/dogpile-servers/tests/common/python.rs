//! Our processes and Python's over the same servers.

use std::io::{BufRead, BufReader};
use std::sync::Arc;
use std::time::Duration;

use dogpile::Region;
use dogpile::clock::epoch_seconds;
use dogpile_servers::fleet::{Answer, Fleet, Race, Worker};
use serde_json::{Value, json};

use super::{Python, print_lateness, wait_for_async};

/// Values of either are read by the other, with the same creation time.
pub(crate) fn both_read_what_the_other_writes(
    region: &Region,
    python: &Python,
    format: &str,
    value: &Value,
) {
    let [ours, theirs] = ["ours", "theirs"].map(|who| format!("{}-{format}-{who}", python.backend));
    region.blocking().set(&ours, value).unwrap();
    let stored = region.blocking().get_with_metadata::<Value>(&ours).unwrap().unwrap();
    let seen = python.json(&[format, "get", &ours]);
    assert_eq!(seen, json!({"value": value, "ct": epoch_seconds(stored.cached_time())}));
    python.text(&[format, "set", &theirs, &value.to_string()]);
    let found = region.blocking().get_with_metadata::<Value>(&theirs).unwrap().unwrap();
    assert_eq!(found.value, *value);
    let seen = python.json(&[format, "get", &theirs]);
    assert_eq!(seen["ct"], epoch_seconds(found.cached_time()));
    python_ignores_what_the_header_has_beside_it(region, python, format, value);
}

/// Lifetimes, failures and marks of expiry are no hindrance to Python.
fn python_ignores_what_the_header_has_beside_it(
    region: &Region,
    python: &Python,
    format: &str,
    value: &Value,
) {
    const HOUR: Duration = Duration::from_secs(3_600);
    let key = format!("{}-{format}-marked", python.backend);
    let entry = || region.blocking().entry(&*key).stale_if_error(HOUR);
    entry().lifetime(|_: &Value| Some(HOUR)).set(value).unwrap();
    assert_eq!(python.json(&[format, "get", &key])["value"], *value);
    entry().expire().unwrap();
    let kept = entry().try_get_or_create(|| Err::<Value, _>("the database is down"));
    assert_eq!(kept.as_ref(), Ok(value));
    assert_eq!(python.json(&[format, "get", &key])["value"], *value);
}

/// A lock held by Python makes us wait and take its value.
pub(crate) fn we_wait_for_python(region: &Region, python: &Python) {
    let key = format!("{}-first", python.backend);
    let mut child = python.start(&["json", "create", &key, "0.5"]);
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "creating");
    assert!(region.blocking().key_is_locked(&key).unwrap());
    let value: String = region.blocking().get_or_create(&key, || "ours".to_owned());
    line.clear();
    output.read_line(&mut line).unwrap();
    assert_eq!(value, line.trim());
    child.wait().unwrap();
}

/// A lock held by us makes Python wait and take our value.
pub(crate) async fn python_waits_for_us(region: Arc<Region>, python: Python) {
    let key = format!("{}-second", python.backend);
    let creating = tokio::spawn({
        let (region, key) = (region.clone(), key.clone());
        async move {
            let creator = async || {
                tokio::time::sleep(Duration::from_millis(1_500)).await;
                "ours".to_owned()
            };
            region.get_or_create(&key, creator).await
        }
    });
    wait_for_async(async || region.key_is_locked(&key).await.unwrap()).await;
    let waiting = move || python.text(&["json", "create", &key, "0"]);
    let theirs = tokio::task::spawn_blocking(waiting).await.unwrap();
    assert_eq!(creating.await.unwrap(), "ours");
    assert_eq!(theirs.trim(), "ours", "it did not create");
}

/// Four processes of ours and four of Python's, shared among its clients, at
/// one cold key: one creation.
pub(crate) fn a_mixed_storm_makes_one_creation(
    fleet: Fleet,
    pythons: &[Python],
    stored_at: fn(&str) -> f64,
) {
    let fleet = fleet.sized(4, 25);
    let notes = fleet.notes("mixed").display().to_string();
    let each = 4 / pythons.len();
    let mut storms: Vec<_> =
        pythons.iter().map(|python| python.storm(each, "mixed", &notes)).collect();
    let race = Race::Crowd { creation: 100 };
    let mut workers: Vec<_> = (0..4).map(|_| fleet.start(race, "mixed")).collect();
    workers.iter_mut().for_each(Worker::ready);
    storms.iter_mut().for_each(super::PythonStorm::go);
    workers.iter_mut().for_each(Worker::go);
    let ours: Vec<Answer> = workers.into_iter().flat_map(Worker::answers).collect();
    let theirs: Vec<Answer> = storms.into_iter().flat_map(super::PythonStorm::answers).collect();
    let creations = fleet.creations("mixed");
    assert_eq!(creations.len(), 1, "{creations:?}");
    assert_eq!((ours.len(), theirs.len()), (100, 100));
    assert!(ours.iter().chain(&theirs).all(|answer| answer.value == creations[0]));
    let stored = stored_at("mixed");
    print_lateness("mixed, ours", &ours, stored);
    print_lateness("mixed, Python's", &theirs, stored);
}

/// For comparison: the same storm with Python alone.
pub(crate) fn python_alone_in_the_same_storm(python: &Python, stored_at: fn(&str) -> f64) {
    let directory = tempfile::TempDir::new().unwrap();
    let notes = directory.path().join("python.log").display().to_string();
    let key = format!("alone-{}", python.backend);
    let mut storm = python.storm(8, &key, &notes);
    storm.go();
    let answers = storm.answers();
    assert_eq!(std::fs::read_to_string(notes).unwrap().lines().count(), 1);
    let who = format!("8 {} processes of 25 threads", python.backend);
    print_lateness(&who, &answers, stored_at(&key));
}
