//! `dogpile exec` beside bkt: whole processes that replay a remembered output.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::measure::{Contestant, Effort, race};
use crate::table::{Row, Section};

/// Nothing where one of the programs is missing: they are not built here.
pub(crate) fn section(effort: Effort) -> Option<Section> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    let [ours, bkt] = ["release/dogpile", "bkt/bin/bkt"].map(|program| target.join(program));
    if !ours.exists() || !bkt.exists() {
        eprintln!("no `exec` beside bkt: `cargo xtask bench` builds the two programs");
        return None;
    }
    let folder = TempDir::new().expect("a temporary directory");
    // The file that a linker has written is slower to start than a copy, which `cargo install` makes.
    let copied = |program: &PathBuf, name: &str| {
        let copy = folder.path().join(name);
        std::fs::copy(program, &copy).expect("a copy of the program");
        copy
    };
    let (ours, bkt) = (copied(&ours, "dogpile"), copied(&bkt, "bkt"));
    let place = folder.path().display().to_string();
    let cache = folder.path().join("cache.db").display().to_string();
    let [times] = race(
        &[
            process("dogpile exec", &ours, &["exec", "--cache", &cache, "--", "date"]),
            process("bkt", &bkt, &["--ttl=1h", "--cache-dir", &place, "--", "date"]),
            process("true", &PathBuf::from("true"), &[]),
        ],
        [1],
        Effort { rounds: effort.rounds.min(20), calls: 20 },
    );
    let milli = |name: &str| times.of(name) / 1e6;
    let ours = milli("dogpile exec");
    let row = |peer: &str| Row::new(("dogpile exec, warm", ours), (peer, milli(peer)), "ms");
    Some(Section {
        title: "a remembered output, whole processes",
        rows: vec![row("bkt").ratio_at_most(1.4), row("true")],
    })
}

fn process<'c>(name: &'static str, program: &'c Path, arguments: &'c [&'c str]) -> Contestant<'c> {
    Contestant::calling(name, move |_| {
        let mut command = Command::new(program);
        let status = command.args(arguments).stdout(Stdio::null()).status();
        assert!(status.is_ok_and(|status| status.success()), "{name} fails");
    })
}
