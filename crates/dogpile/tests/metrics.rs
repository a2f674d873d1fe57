//! Counts through the `metrics` facade: recorders that are installed before and after, for the
//! process and for a thread.

use std::collections::HashMap;

use dogpile::backend::Memory;
use dogpile::{Config, Region};
use metrics::Unit;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};

/// The metrics of a region in a recorder: units, help texts, values.
type Found = HashMap<String, (Option<Unit>, String, DebugValue)>;

fn found(snapshotter: &Snapshotter, region: &str) -> Found {
    let metrics = snapshotter.snapshot().into_vec().into_iter();
    let of_region = metrics.filter(|(key, ..)| {
        let labels: Vec<_> = key.key().labels().map(|l| (l.key(), l.value())).collect();
        assert_eq!(labels.len(), 1);
        labels == [("region", region)]
    });
    of_region
        .map(|(key, unit, help, value)| {
            let help = help.map(|help| help.to_string()).unwrap_or_default();
            (key.key().name().to_owned(), (unit, help, value))
        })
        .collect()
}

fn counted(found: &Found, name: &str) -> u64 {
    match &found[name] {
        (_, _, DebugValue::Counter(count)) => *count,
        other => panic!("{name}: {other:?}"),
    }
}

fn ask(region: &Region, times: u32) {
    for _ in 0..times {
        region.blocking().get_or_create("k", || 1_u32);
    }
}

fn region(name: &'static str) -> Region {
    let region = Region::new(name);
    region.configure(Config::new(Memory::new(10))).unwrap();
    region
}

/// One test, since a process has one recorder.
#[test]
fn a_recorder_is_found_whenever_it_is_installed() {
    let (early, configured) = (Region::new("early"), region("configured"));
    ask(&configured, 2);
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    recorder.install().unwrap();

    // A region that was configured before, and used; then configured again.
    ask(&configured, 3);
    let found_then = found(&snapshotter, "configured");
    assert_eq!(counted(&found_then, "dogpile_hits_total"), 3);
    configured.configure(Config::new(Memory::new(10)).replace_existing()).unwrap();
    ask(&configured, 3);
    let found_then = found(&snapshotter, "configured");
    assert_eq!(counted(&found_then, "dogpile_hits_total"), 2);
    assert_eq!(counted(&found_then, "dogpile_creations_total"), 1);

    // One that is configured after it: what has not happened is there as well.
    early.configure(Config::new(Memory::new(10))).unwrap();
    let found_then = found(&snapshotter, "early");
    assert_eq!(counted(&found_then, "dogpile_stale_total"), 0);
    for (name, (unit, help, _)) in &found_then {
        assert!(unit.is_some() && help.ends_with('.') && !help.starts_with(' '), "{name}: {help}");
    }
    assert_eq!(found_then["dogpile_creation_seconds"].0, Some(Unit::Seconds));
    assert_eq!(found_then["dogpile_read_bytes_total"].0, Some(Unit::Bytes));
    assert_eq!(found_then["dogpile_hits_total"].1, "Keys answered with a fresh value.");

    // A thread's own recorders, one after the other in one place, come before it.
    for times in [2, 3] {
        let recorder = DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        metrics::with_local_recorder(&recorder, || ask(&configured, times));
        let found_then = found(&snapshotter, "configured");
        assert_eq!(counted(&found_then, "dogpile_hits_total"), u64::from(times));
        assert!(found_then["dogpile_hits_total"].1.starts_with("Keys"));
    }
    assert_eq!(counted(&found(&snapshotter, "configured"), "dogpile_hits_total"), 0);
    ask(&configured, 1);
    assert_eq!(counted(&found(&snapshotter, "configured"), "dogpile_hits_total"), 1);
}

#[test]
fn metrics_reach_a_recorder_under_stable_names() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || ask(&region("names"), 2));
    let found = found(&snapshotter, "names");
    for name in ["hits", "misses", "creations"] {
        assert_eq!(counted(&found, &format!("dogpile_{name}_total")), 1);
    }
    let (_, _, DebugValue::Histogram(times)) = &found["dogpile_creation_seconds"] else { panic!() };
    assert_eq!(times.len(), 1);
}
