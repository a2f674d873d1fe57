//! `dogpile exec --timeout`: a command that runs for too long ends, whatever it does against that,
//! and holds nobody up.
#![cfg(target_os = "linux")]

mod place;

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use place::{DOGPILE, Place, Ran, signal, wait_until};

/// Does the process whose id is in `file` run? One that nobody has reaped does not.
fn runs(place: &Place, file: &str) -> bool {
    let stat = format!("/proc/{}/stat", place.read(file).trim());
    let stat = fs::read_to_string(stat).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// Waits a minute at most.
fn runs_no_more(place: &Place, file: &str) {
    assert!(!place.read(file).is_empty(), "{file}");
    wait_until(file, || !runs(place, file));
}

#[test]
fn what_takes_too_long_is_ended_and_not_remembered() {
    let place = Place::new();
    let script = "echo out; echo run >> log; [ -e quick ] || exec sleep 600";
    for options in [&["--timeout", "1s"][..], &["--timeout", "1s", "--remember-failures"]] {
        let ran = place.run(options, script);
        assert_eq!((ran.code, &*ran.stdout), (Some(124), "out\n"), "{options:?}");
        assert_eq!(ran.stderr, "dogpile: the command was ended: it ran for longer than 1s\n");
    }
    assert_eq!(place.explained(&["--timeout", "1s"], script)["status"], "timed-out");
    place.touch("quick");
    assert_eq!(place.explained(&["--timeout", "10m"], script)["status"], "ran");
    assert_eq!(place.explained(&["--timeout", "10m"], script)["status"], "hit");
    assert_eq!(place.lines("log"), 4);
}

/// Less than it takes to start a program.
#[test]
fn the_shortest_limit_ends_it_too() {
    let place = Place::new();
    let ran = place.run(&["--timeout", "1ms"], "exec sleep 600");
    assert_eq!((ran.code, &*ran.stdout), (Some(124), ""), "{}", ran.stderr);
}

#[test]
fn no_time_is_no_limit() {
    let place = Place::new();
    let script = "touch begun; until [ -e go ]; do sleep 0.01; done; echo made";
    let child = place.exec(&["--timeout", "0"], script).stdout(Stdio::piped()).spawn().unwrap();
    place.wait_for("begun");
    place.touch("go");
    assert_eq!(child.wait_with_output().unwrap().stdout, b"made\n");
}

#[test]
fn an_end_in_order_is_no_success() {
    let place = Place::new();
    let script = "trap 'touch cleaned; exit 0' TERM; touch begun; while :; do sleep 0.01; done";
    let ran = place.run(&["--timeout", "1s"], script);
    assert_eq!(ran.code, Some(124), "{}", ran.stderr);
    assert!(place.path("cleaned").exists(), "it had the time to clean up");
    assert_eq!(place.explained(&["--timeout", "10m"], "exit 0")["status"], "ran");
}

/// It hears of nothing but SIGCONT.
#[test]
fn a_stopped_command_ends_in_order() {
    let place = Place::new();
    let script = "trap 'touch cleaned; exit 0' TERM; kill -STOP $$; touch continued";
    assert_eq!(place.run(&["--timeout", "1s"], script).code, Some(124));
    assert!(place.path("cleaned").exists());
}

#[test]
fn what_ignores_the_request_is_killed() {
    let place = Place::new();
    let script = "trap '' TERM; echo $$ > leader; while :; do sleep 0.01; done";
    assert_eq!(place.run(&["--timeout", "1s"], script).code, Some(124));
    runs_no_more(&place, "leader");
}

/// The command ends at once, and what it has started does not.
#[test]
fn what_the_command_has_started_is_killed_with_it() {
    let place = Place::new();
    let script = "sh -c 'trap \"\" TERM; echo $$ > child; exec sleep 600' & \
        until [ -s child ]; do sleep 0.01; done; exec sleep 600";
    assert_eq!(place.run(&["--timeout", "1s"], script).code, Some(124));
    runs_no_more(&place, "child");
}

/// It has left the group, and keeps the command's pipes.
#[test]
fn a_daemon_that_holds_the_pipes_is_not_waited_for() {
    let place = Place::new();
    let script = "setsid sh -c 'echo $$ > daemon; exec sleep 60' & \
        until [ -s daemon ]; do sleep 0.01; done; echo out; exec sleep 600";
    let ran = place.run(&["--timeout", "1s"], script);
    assert_eq!((ran.code, &*ran.stdout), (Some(124), "out\n"));
    assert!(runs(&place, "daemon"), "it was waited for, or killed");
    let daemon = Pid::from_raw(place.read("daemon").trim().parse().unwrap());
    kill(daemon, Signal::SIGKILL).unwrap();
}

#[test]
fn a_daemon_of_a_command_in_time_is_left_alone() {
    let place = Place::new();
    let script = "(echo begun > begun; until [ -e go ]; do sleep 0.01; done; touch done) & \
        until [ -s begun ]; do sleep 0.01; done; echo out";
    assert_eq!(place.run(&["--timeout", "10m"], script).stdout, "out\n");
    place.touch("go");
    place.wait_for("done");
}

#[test]
fn a_waiter_runs_its_command_when_the_holder_is_ended() {
    let place = Place::new();
    let script = "touch begun; exec sleep 600";
    let mut holder = place.exec(&["--key", "k", "--timeout", "2s"], script);
    let holder = holder.stderr(Stdio::piped()).spawn().unwrap();
    place.wait_for("begun");
    let waiter = place.run(&["--key", "k", "--wait", "1m"], "echo made");
    assert_eq!((waiter.code, &*waiter.stdout), (Some(0), "made\n"), "{}", waiter.stderr);
    assert_eq!(holder.wait_with_output().unwrap().status.code(), Some(124));
}

#[test]
fn a_renewal_in_the_background_has_the_limit_too() {
    let place = Place::new();
    let script = "echo run >> log; [ -e slow ] && exec sleep 600; echo rates";
    let options = ["--expiration", "0", "--timeout", "500ms"];
    assert_eq!(place.run(&options, script).stdout, "rates\n");
    place.touch("slow");
    wait_until("one renewal after another", || {
        assert_eq!(place.run(&options, script).stdout, "rates\n");
        place.lines("log") >= 3
    });
}

/// What asks for an end is for the whole group: nobody else would tell it.
#[test]
fn a_signal_reaches_all_that_runs() {
    let place = Place::new();
    let script = "trap 'wait; exit 3' TERM; \
        sh -c 'trap \"touch told; exit\" TERM; touch begun; while :; do sleep 0.01; done' & wait";
    let mut child = place.exec(&["--timeout", "10m"], script).spawn().unwrap();
    place.wait_for("begun");
    signal(&child, Signal::SIGTERM);
    place.wait_for("told");
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

/// The command is not in the group that the terminal sends it to.
#[test]
fn a_terminals_interrupt_reaches_the_command() {
    let place = Place::new();
    let script = "trap 'touch interrupted; exit 3' INT; touch begun; while :; do sleep 0.01; done";
    fs::write(place.path("script"), script).unwrap();
    let line = format!("{DOGPILE} exec --timeout 10m -- sh script; echo $? > code");
    let mut terminal = Command::new("script");
    terminal.args(["-qec", &line, "/dev/null"]).current_dir(place.folder());
    terminal.env("DOGPILE_CACHE", "cache.db").env("SHELL", "/bin/sh");
    terminal.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut terminal = terminal.spawn().unwrap();
    place.wait_for("begun");
    terminal.stdin.as_mut().unwrap().write_all(b"\x03").unwrap();
    place.wait_for("interrupted");
    terminal.wait().unwrap();
}

/// The inner one has a group of its own, which the outer one does not know.
#[test]
fn commands_within_commands_end_with_the_outer_one() {
    let place = Place::new();
    let inner =
        "$DOGPILE exec --key inner --timeout 10m -- sh -c 'echo $$ > inner; exec sleep 600'";
    let ran = place.run(&["--key", "outer", "--timeout", "1s"], inner);
    assert_eq!(ran.code, Some(124), "{}", ran.stderr);
    runs_no_more(&place, "inner");
}

#[test]
fn the_end_of_the_inner_one_is_a_failure_of_the_outer_one() {
    let place = Place::new();
    let inner = "exec $DOGPILE exec --key inner --timeout 1s -- sleep 600";
    let ran = place.run(&["--key", "outer", "--timeout", "10m"], inner);
    assert_eq!((ran.code, ran.stderr.lines().count()), (Some(124), 1), "{}", ran.stderr);
}

#[test]
fn without_a_cache_the_limit_holds() {
    let place = Place::new();
    let mut command = place.exec(&["--timeout", "1s"], "exec sleep 600");
    let output = command.env("DOGPILE_CACHE", "redis://127.0.0.1:1").output().unwrap();
    let ran = Ran::of(&output);
    assert_eq!(ran.code, Some(124), "{}", ran.stderr);
}
