//! `dogpile exec` of what is being created: commands that wait, for others or for themselves.
#![cfg(target_os = "linux")]

#[expect(dead_code, reason = "others need more of it")]
mod place;

use std::process::Stdio;

use place::{DOGPILE, Place, Ran};

/// A process that asks for what is created around it, however that is hidden.
#[test]
fn a_command_that_waits_for_itself_is_told_so() {
    let place = Place::new();
    let cache = place.path("cache.db").display().to_string();
    for (key, inner) in [
        ("same", format!("{DOGPILE} exec --key same -- echo inner")),
        ("empty", format!("env -i {DOGPILE} exec --cache {cache} --key empty -- echo inner")),
        ("a\nb", format!("{DOGPILE} exec --key \"$(printf 'a\\nb')\" -- echo inner")),
        ("deep", format!("{DOGPILE} exec --key x -- sh -c '{DOGPILE} exec --key deep -- true'")),
        ("again", format!("{DOGPILE} exec --refresh --key again -- echo inner")),
    ] {
        let Ran { code, stderr: told, .. } = place.run(&["--cache", &cache, "--key", key], &inner);
        assert_eq!(code, Some(125), "{key:?}: {told}");
        assert!(told.contains("within itself"), "{key:?}: {told}");
    }
    let other = format!("{DOGPILE} exec --cache other.db --key same2 -- echo inner");
    assert_eq!(place.run(&["--key", "same2"], &other).stdout, "inner\n", "another cache");
    let part = format!("{DOGPILE} exec --key b -- echo inner");
    assert_eq!(place.run(&["--key", "c\nb"], &part).stdout, "inner\n", "a part of the key");
}

#[test]
fn two_commands_that_ask_for_each_other_are_told_so() {
    let place = Place::new();
    let started = ["a", "b"].map(|key| {
        let other = if key == "a" { "b" } else { "a" };
        let script = format!(
            "touch {key}; until [ -e {other} ]; do sleep 0.01; done; \
             exec {DOGPILE} exec --key {other} -- echo inner"
        );
        let mut command = place.exec(&["--key", key], &script);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    });
    let told = started.map(|child| Ran::of(&child.wait_with_output().unwrap()).stderr).concat();
    assert!(told.contains("each would wait for the other"), "{told}");
}

#[test]
fn waiting_has_a_limit_where_one_is_given() {
    let place = Place::new();
    let script = "touch begun; until [ -e go ]; do sleep 0.01; done; echo made";
    let holder = place.exec(&["--key", "k"], script).stdout(Stdio::piped()).spawn().unwrap();
    place.wait_for("begun");
    let Ran { code, stdout, stderr: told } = place.run(&["--key", "k", "--wait", "10ms"], script);
    assert_eq!((code, &*stdout), (Some(124), ""), "{told}");
    assert!(told.contains("after 10ms"), "{told}");
    place.touch("go");
    assert_eq!(holder.wait_with_output().unwrap().stdout, b"made\n");
    assert_eq!(place.run(&["--key", "k", "--wait", "10ms"], script).stdout, "made\n");
}
