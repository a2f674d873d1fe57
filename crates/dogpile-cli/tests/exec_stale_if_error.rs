//! `dogpile exec --stale-if-error`: an earlier output in place of a failure.
#![cfg(unix)]

mod place;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};

use nix::sys::signal::Signal;

use place::{Place, Ran, signal, wait_until};

/// A command that has an outage while there is a file `down`.
const RATES: &str = "echo run >> log; if [ -e down ]; then echo half; echo no answer >&2; exit 7; fi; \
    echo rates";

/// Options with which an expired output is never served but in place of a failure.
const LIMITED: [&str; 8] =
    ["--expiration", "0", "--stale", "0", "--key", "k", "--stale-if-error", "1h"];

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&LIMITED, more].concat()
}

/// Remembers the output `rates` as expired, and begins the outage.
fn outage() -> Place {
    let place = Place::new();
    assert_eq!(place.run(&LIMITED, RATES).stdout, "rates\n");
    // Its age is zero for the rest of the clock's tick.
    let age = || place.explained(&["--expiration", "never", "--key", "k"], RATES)["age"].as_f64();
    wait_until("it expires", || age() > Some(0.05));
    place.touch("down");
    place
}

/// The earlier output stands in, and one line says why.
fn stands_in(ran: &Ran, why: &str) {
    assert_eq!((ran.code, &*ran.stdout), (Some(0), "rates\n"), "{why}: {}", ran.stderr);
    assert_eq!(ran.stderr.lines().count(), 1, "{why}: {}", ran.stderr);
    assert!(ran.stderr.contains("WARN") && ran.stderr.contains(why), "{why}: {}", ran.stderr);
}

#[test]
fn an_earlier_output_stands_in_for_every_kind_of_failure() {
    let place = outage();
    let options = with(&["--retry-after", "0", "--timeout", "1s"]);
    stands_in(&place.run(&options, RATES), "code 7 (no answer)");
    stands_in(&place.run(&options, "echo half; kill -9 $$"), "signal 9");
    stands_in(&place.run(&options, "echo half; exec sleep 600"), "too long");
    let mut absent = place.dogpile(&["exec"]);
    let absent = absent.args(&options).args(["--", "./no-such-program"]).output().unwrap();
    stands_in(&Ran::of(&absent), "no-such-program");
    let remembers = [&options[..], &["--remember-failures"]].concat();
    stands_in(&place.run(&remembers, "echo half; kill -9 $$"), "signal 9");
}

#[test]
fn without_the_option_or_an_output_the_failure_is_passed_on() {
    let place = outage();
    let without: Vec<&str> = LIMITED[..6].to_vec();
    let failed = place.run(&without, RATES);
    assert_eq!((failed.code, &*failed.stdout), (Some(7), "half\n"));
    assert_eq!(failed.stderr, "no answer\n");
    let nothing = place.run(&["--key", "other", "--stale-if-error", "1h"], RATES);
    assert_eq!((nothing.code, &*nothing.stdout), (Some(7), "half\n"));
    assert_eq!(nothing.stderr, "no answer\n");
}

#[test]
fn past_its_limit_an_output_stands_in_no_more() {
    let place = outage();
    let mut options = LIMITED.to_vec();
    options[7] = "0";
    let failed = place.run(&options, RATES);
    assert_eq!((failed.code, &*failed.stdout), (Some(7), "half\n"));
    stands_in(&place.run(&LIMITED, RATES), "code 7");
}

#[test]
fn an_invalidated_output_stands_in_no_more() {
    let place = outage();
    let cache = place.path("cache.db");
    let mut invalidate = place.dogpile(&["invalidate"]);
    assert!(invalidate.arg(&cache).output().unwrap().status.success());
    assert_eq!(place.run(&LIMITED, RATES).code, Some(7));
}

#[test]
fn after_a_failure_nobody_tries_for_a_while() {
    let place = outage();
    let (before, options) = (place.lines("log"), with(&["--retry-after", "1h"]));
    let crowd: Vec<Child> = (0..20)
        .map(|_| {
            let mut command = place.exec(&options, RATES);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for process in crowd {
        stands_in(&Ran::of(&process.wait_with_output().unwrap()), "the command failed");
    }
    assert_eq!(place.lines("log"), before + 1, "one of the crowd");
    let explained = place.explained(&options, RATES);
    assert_eq!(
        (&explained["status"], &explained["exit_code"]),
        (&"stale-on-error".into(), &0.into())
    );
    stands_in(&place.run(&LIMITED, RATES), "a moment ago");
    assert_eq!(place.lines("log"), before + 1, "nor in the ten seconds without the option");
    stands_in(&place.run(&with(&["--retry-after", "0"]), RATES), "code 7");
    assert_eq!(place.lines("log"), before + 2);
    fs::remove_file(place.path("down")).unwrap();
    let explained = place.explained(&with(&["--retry-after", "0"]), RATES);
    assert_eq!(explained["status"], "ran", "the outage is over");
}

#[test]
fn a_success_is_passed_on_whole() {
    let place = outage();
    let script = r"printf 'out\000\377\n'; printf 'err\000\376' >&2";
    let output = place.exec(&LIMITED, script).output().unwrap();
    assert_eq!((&*output.stdout, &*output.stderr), (&b"out\0\xff\n"[..], &b"err\0\xfe"[..]));
    let replayed = place.exec(&["--key", "k"], "exit 1").output().unwrap();
    assert_eq!((replayed.stdout, replayed.stderr), (output.stdout, output.stderr));
}

/// What outgrows the limit of output is passed on from there, with what came before.
#[test]
fn a_failure_that_has_said_too_much_is_passed_on() {
    let place = outage();
    let script =
        "echo first >&2; seq 1000; touch said; until [ -e go ]; do sleep 0.01; done; exit 7";
    let options = with(&["--max-output", "1K"]);
    let (out, err) = (place.path("out"), place.path("err"));
    let mut command = place.exec(&options, script);
    command.stdout(fs::File::create(&out).unwrap()).stderr(fs::File::create(&err).unwrap());
    let mut child = command.spawn().unwrap();
    wait_until("it is passed on before its end", || place.lines("out") == 1_000);
    wait_until("both streams are", || place.read("err").starts_with("first\n"));
    place.touch("go");
    assert_eq!(child.wait().unwrap().code(), Some(7));
    assert!(place.read("err").contains("1024 bytes"), "{}", place.read("err"));
    stands_in(&place.run(&LIMITED, RATES), "code 7");
}

/// Somebody wanted it to end: that says nothing of the command.
#[test]
fn an_interrupted_run_is_no_failure() {
    let place = outage();
    let script = "echo half; touch begun; exec sleep 600";
    for number in [Signal::SIGTERM, Signal::SIGINT] {
        let mut command = place.exec(&LIMITED, script);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        place.wait_for("begun");
        fs::remove_file(place.path("begun")).unwrap();
        signal(&child, number);
        let ran = Ran::of(&child.wait_with_output().unwrap());
        assert_eq!((ran.code, &*ran.stdout), (Some(128 + number as i32), "half\n"), "{ran:?}");
        assert_eq!(ran.stderr, "");
    }
    stands_in(&place.run(&LIMITED, RATES), "code 7");
}

#[test]
fn a_failed_renewal_in_the_background_rests_too() {
    for script in [RATES, "echo run >> log; exec sleep 600"] {
        let place = outage();
        let before = place.lines("log");
        let options = ["--expiration", "0", "--key", "k", "--timeout", "1s"];
        let options = [&options[..], &["--stale-if-error", "1h", "--retry-after", "1h"]].concat();
        wait_until("the renewal has failed", || {
            let explained = place.explained(&options, script);
            let (status, code) = (&explained["status"], &explained["exit_code"]);
            assert_eq!((status, code), (&"stale".into(), &0.into()));
            explained["renewing"] == false
        });
        let quiet = place.run(&options, script);
        assert_eq!((&*quiet.stdout, &*quiet.stderr), ("rates\n", ""), "it would be served anyway");
        assert_eq!(place.lines("log"), before + 1);
        stands_in(&place.run(&LIMITED, script), "a moment ago");
    }
}

#[test]
fn a_failed_refresh_is_passed_on_and_leaves_the_output() {
    let place = outage();
    let failed = place.run(&with(&["--refresh"]), RATES);
    assert_eq!((failed.code, &*failed.stdout, &*failed.stderr), (Some(7), "half\n", "no answer\n"));
    stands_in(&place.run(&LIMITED, RATES), "code 7");
}

#[test]
fn the_warning_can_be_silenced() {
    let place = outage();
    for what in ["the failure", "the rest after it"] {
        let mut command = place.exec(&LIMITED, RATES);
        let ran = Ran::of(&command.env("DOGPILE_LOG", "error").output().unwrap());
        assert_eq!((&*ran.stdout, &*ran.stderr), ("rates\n", ""), "{what}");
    }
}

/// Nobody can note there that the command has failed; whoever asks is helped all the same.
#[test]
fn an_output_of_a_read_only_cache_stands_in() {
    let place = outage();
    for file in fs::read_dir(place.folder()).unwrap() {
        fs::set_permissions(file.unwrap().path(), Permissions::from_mode(0o444)).unwrap();
    }
    fs::set_permissions(place.folder(), Permissions::from_mode(0o555)).unwrap();
    let mut command = place.exec(&LIMITED, "[ -e down ] && exit 7");
    if nix::unistd::geteuid().is_root() {
        // Everybody may do everything to root, so somebody else is taken.
        command.uid(65_534).gid(65_534);
    }
    let ran = Ran::of(&command.output().unwrap());
    assert_eq!((ran.code, &*ran.stdout), (Some(0), "rates\n"), "{}", ran.stderr);
    for why in ["cannot be remembered", "code 7"] {
        assert_eq!(ran.stderr.matches(why).count(), 1, "{why}: {}", ran.stderr);
    }
    fs::set_permissions(place.folder(), Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_time_without_attempts_needs_an_output_that_stands_in() {
    let place = Place::new();
    let refused = place.run(&["--retry-after", "1s"], "echo ran");
    assert_eq!((refused.code, &*refused.stdout), (Some(2), ""));
    assert!(refused.stderr.contains("--stale-if-error"), "{}", refused.stderr);
}
