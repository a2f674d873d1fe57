//! `dogpile exec` in the environments that commands are run in: it is as if it were not
//! there.
#![cfg(target_os = "linux")]

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

const DOGPILE: &str = env!("CARGO_BIN_EXE_dogpile");

/// A directory that everybody may look into.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        Self(directory)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `dogpile exec` of a shell script, with a cache in this directory.
    fn exec(&self, options: &[&str], script: &str) -> Command {
        let mut command = Command::new(DOGPILE);
        command.current_dir(self.0.path()).env("DOGPILE_CACHE", "cache.db").arg("exec");
        command.args(options).args(["--", "sh", "-c", script]);
        command
    }

    fn run(&self, options: &[&str], script: &str) -> Output {
        self.exec(options, script).output().unwrap()
    }

    /// A line of shell in this directory, `$DOGPILE` is the command.
    fn shell(&self, line: &str) -> Command {
        let mut command = Command::new("sh");
        command.current_dir(self.0.path()).env("DOGPILE", DOGPILE);
        command.env("DOGPILE_CACHE", "cache.db").args(["-c", line]);
        command
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn wait_for(&self, name: &str) {
        wait_until(name, || !self.read(name).is_empty());
    }
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what}: it never happens");
        thread::sleep(Duration::from_millis(5));
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn signal(process: u32, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(process).unwrap()), signal).unwrap();
}

/// The command ran, and one line says why nothing was remembered.
fn ran_with_one_warning(output: &Output, what: &str) {
    assert_eq!((output.status.code(), text(&output.stdout).trim()), (Some(3), "out"), "{what}");
    let told = text(&output.stderr);
    assert_eq!(told.lines().filter(|line| line.contains("WARN")).count(), 1, "{what}: {told}");
    assert_eq!(told.lines().count(), 2, "{what}: {told}");
}

const SCRIPT: &str = "echo out; echo err >&2; exit 3";

/// Everybody may do everything to root, so somebody else is taken.
fn as_nobody(command: &mut Command) -> &mut Command {
    if nix::unistd::geteuid().is_root() {
        command.uid(65_534).gid(65_534);
    }
    command
}

#[test]
fn without_a_place_the_command_runs_with_one_warning() {
    let place = Place::new();
    let exec = || {
        let mut command = Command::new(DOGPILE);
        command.args(["exec", "--", "sh", "-c", SCRIPT]).current_dir(place.0.path());
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        command
    };
    for _ in 0..2 {
        ran_with_one_warning(&exec().output().unwrap(), "no HOME");
        ran_with_one_warning(&exec().env("HOME", "").output().unwrap(), "an empty HOME");
        ran_with_one_warning(&exec().env("HOME", "relative").output().unwrap(), "no path");
        let not_utf8 = place.path("").join(OsStr::from_bytes(b"\xff"));
        ran_with_one_warning(&exec().env("HOME", not_utf8).output().unwrap(), "no text");
        let mut read_only = exec();
        read_only.env("HOME", place.0.path());
        ran_with_one_warning(&as_nobody(&mut read_only).output().unwrap(), "a read-only HOME");
        let mut read_only = exec();
        read_only.env("DOGPILE_CACHE", place.path("cache.db"));
        ran_with_one_warning(&as_nobody(&mut read_only).output().unwrap(), "a read-only folder");
        ran_with_one_warning(&exec().env("HOME", "/dev/null").output().unwrap(), "HOME=/dev/null");
        let nobody = exec().env("DOGPILE_CACHE", "redis://127.0.0.1:1").output().unwrap();
        ran_with_one_warning(&nobody, "a server that is not there");
    }
    assert_eq!(fs::read_dir(place.0.path()).unwrap().count(), 0, "nothing is left");
}

#[test]
fn an_empty_setting_is_an_absent_one() {
    let place = Place::new();
    let run = |cache: &str| {
        let mut command = place.exec(&[], "echo run >> log; wc -l < log");
        command.env("DOGPILE_CACHE", cache).env("HOME", place.0.path());
        let output = command.env("XDG_CACHE_HOME", "").output().unwrap();
        assert_eq!(text(&output.stderr), "");
        text(&output.stdout)
    };
    assert_eq!((run("").trim(), run("").trim()), ("1", "1"), "the user's own cache");
    let mut names: Vec<_> = fs::read_dir(place.0.path()).unwrap().map(Result::unwrap).collect();
    names.sort_by_key(fs::DirEntry::file_name);
    let names: Vec<String> = names.iter().map(|e| e.file_name().display().to_string()).collect();
    assert_eq!(names, [".cache", "log"]);
}

/// Wrong words are no reason to run the command: nobody would ever see them.
#[test]
fn wrong_words_are_told_and_nothing_runs() {
    let place = Place::new();
    let cache = |location| vec!["--cache", location];
    for (options, words) in [
        (cache("radis://user:secret@host"), "radis"),
        (cache("redis://user:secret@host?max_bits=1"), "max_bits"),
        (cache("file:c.db?max_bits=1"), "max_bits"),
        (cache("no/such/folder/c.db"), "no directory"),
        (cache("127.0.0.1:6379"), "scheme"),
        (cache("redis://user:1?secret@host"), "%3F"),
        (vec!["--env", "FOO=bar"], "--env FOO"),
        (vec!["--stale", "never"], "0s"),
        (vec!["--expiration", "1700000000"], "ten years"),
        (vec!["--expiration", "10M"], "months"),
    ] {
        let output = place.run(&options, "echo ran >> log");
        let told = text(&output.stderr);
        assert!(matches!(output.status.code(), Some(2 | 125)), "{options:?}: {told}");
        assert!(told.contains(words) && !told.contains("secret"), "{options:?}: {told}");
    }
    assert_eq!(place.read("log"), "");
    let output = Command::new(DOGPILE).args(["exec", "echo", "hi"]).output().unwrap();
    let told = text(&output.stderr);
    assert!(output.status.code() == Some(2) && told.contains("after `--`"), "{told}");
    let mut help = Command::new(DOGPILE);
    help.args(["exec", "--help"]).env("DOGPILE_CACHE", "redis://:secret@host");
    let help = help.output().unwrap();
    assert!(!text(&help.stdout).contains("secret"));
}

/// Whether the command runs or its output is replayed, a reader that has read enough and
/// one that cannot be written to make the same difference.
#[test]
fn run_and_replay_pass_on_in_one_way() {
    for (script, code) in [(SCRIPT, 3), ("echo out; echo err >&2", 128 + 13)] {
        let place = Place::new();
        for what in ["run", "replay"] {
            let mut command = place.exec(&["--remember-failures"], script);
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            let output = command.stdout(writer).stderr(Stdio::piped()).output().unwrap();
            assert_eq!(
                (output.status.code(), &*output.stderr),
                (Some(code), &b"err\n"[..]),
                "{what}"
            );
        }
    }
    for (script, code) in [(SCRIPT, 3), ("echo out; echo err >&2", 125)] {
        let place = Place::new();
        for what in ["run", "replay"] {
            let full = File::options().write(true).open("/dev/full").unwrap();
            let mut command = place.exec(&["--remember-failures"], script);
            let output = command.stdout(full).stderr(Stdio::piped()).output().unwrap();
            let told = text(&output.stderr);
            assert_eq!(output.status.code(), Some(code), "{what}: {told}");
            assert!(
                told.starts_with("err\n") && told.contains("standard output"),
                "{what}: {told}"
            );
        }
    }
}

/// What is said besides the command's own words changes its exit code no more than those do.
#[test]
fn an_explanation_that_nobody_reads_keeps_the_exit_code() {
    let place = Place::new();
    let ended = |stderr: Stdio, script: &str| {
        let mut command = place.exec(&["--explain"], script);
        command.stdout(Stdio::null()).stderr(stderr).status().unwrap().code()
    };
    for (script, codes) in [("exit 3", [3, 3]), ("exit 0", [128 + 13, 125])] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let full = File::options().write(true).open("/dev/full").unwrap();
        let ended = [writer.into(), full.into()].map(|stderr| ended(stderr, script));
        assert_eq!(ended, codes.map(Some), "{script}");
    }
}

/// A command that does not come to its end is not talked about beyond what is told of it.
#[test]
fn a_command_that_does_not_end_is_told_of_once() {
    let place = Place::new();
    let killed = place.run(&[], "echo last >&2; kill -TERM $$");
    assert_eq!((killed.status.code(), &*text(&killed.stderr)), (Some(128 + 15), "last\n"));
    let missing = place.shell("exec $DOGPILE exec -- no-such-program").output().unwrap();
    let told = text(&missing.stderr);
    assert_eq!((missing.status.code(), told.lines().count()), (Some(127), 1), "{told}");
}

/// What shells and `env` have `sh` run is run here too.
#[test]
fn a_script_without_a_first_line_for_the_kernel_runs() {
    let place = Place::new();
    for (name, content) in [("script", &b"echo $0 $1; exit 3\n"[..]), ("other", b"\x7fother\0\n")] {
        fs::write(place.path(name), content).unwrap();
        fs::set_permissions(place.path(name), Permissions::from_mode(0o755)).unwrap();
    }
    let found = "PATH=$PWD:$PATH";
    for (prefix, program) in [("", "./script"), (found, "script")] {
        let run = |line: &str| {
            let output = place.shell(&format!("{prefix} {line}")).output().unwrap();
            (output.status.code(), text(&output.stdout))
        };
        let direct = run(&format!("env {program} 'an argument'"));
        assert_eq!(direct.0, Some(3));
        assert_eq!(run(&format!("$DOGPILE exec -- {program} 'an argument'")), direct);
    }
    let other = place.shell("exec $DOGPILE exec -- ./other").output().unwrap();
    assert_eq!(other.status.code(), Some(126), "a program of another machine");
}

#[test]
fn closed_streams_do_no_harm() {
    let place = Place::new();
    for line in [
        "$DOGPILE exec -- sh -c 'echo run >> log; echo out' >&- 2>&- <&-",
        "$DOGPILE exec -- sh -c 'echo run >> log; echo out' <&-",
    ] {
        assert_eq!(place.shell(line).output().unwrap().status.code(), Some(0));
    }
    assert_eq!(place.read("log").lines().count(), 1, "the cache is whole");
}

#[test]
fn ignored_signals_stay_ignored() {
    let place = Place::new();
    let script = "touch begun; echo $PPID > pid; until [ -e go ]; do sleep 0.01; done; echo done";
    // What `nohup` does, and a shell that starts a job in the background.
    let line = format!("trap '' HUP INT; exec $DOGPILE exec -- sh -c '{script}'");
    let child = place.shell(&line).stdout(Stdio::piped()).spawn().unwrap();
    place.wait_for("pid");
    for hang_up in [Signal::SIGHUP, Signal::SIGINT] {
        signal(child.id(), hang_up);
    }
    fs::write(place.path("go"), "").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b"done\n"[..]));
    let status = |line: &str| place.shell(line).output().unwrap().stdout;
    let direct = status("trap '' TERM; grep SigIgn /proc/self/status");
    assert_eq!(status("trap '' TERM; $DOGPILE exec -- grep SigIgn /proc/self/status"), direct);
}

/// Counts each SIGINT as it is delivered, until SIGUSR1 comes.
const COUNTER: &str = r#"
import os, signal
(heard, told) = os.pipe()
os.set_blocking(told, False)
signal.set_wakeup_fd(told)
for number in (signal.SIGINT, signal.SIGUSR1): signal.signal(number, lambda *_: None)
open("pid.new", "w").write(str(os.getppid())); os.rename("pid.new", "pid")
count = 0
while True:
    number = os.read(heard, 1)[0]
    if number == signal.SIGUSR1: break
    count += 1
    open("count.new", "w").write(str(count)); os.rename("count.new", "count")
"#;

/// `dogpile exec` of the counter in a terminal, with `redirection`.
fn in_a_terminal(place: &Place, redirection: &str) -> Child {
    fs::write(place.path("counter.py"), COUNTER).unwrap();
    let line = format!("$DOGPILE exec -- python3 counter.py {redirection}");
    let mut terminal = Command::new("script");
    terminal.args(["-qec", &line, "/dev/null"]).current_dir(place.0.path());
    terminal.env("DOGPILE", DOGPILE).env("DOGPILE_CACHE", "cache.db").env("SHELL", "/bin/sh");
    terminal.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = terminal.spawn().unwrap();
    place.wait_for("pid");
    child
}

/// The number of interrupts that the command had, once it has ended.
fn interrupts(place: &Place, mut terminal: Child) -> String {
    place.wait_for("count");
    signal(place.read("pid").parse().unwrap(), Signal::SIGUSR1);
    let _ = terminal.wait();
    place.read("count")
}

#[test]
fn a_terminals_interrupt_comes_once() {
    for redirection in ["", "</dev/null"] {
        let place = Place::new();
        let mut terminal = in_a_terminal(&place, redirection);
        terminal.stdin.as_mut().unwrap().write_all(b"\x03").unwrap();
        assert_eq!(interrupts(&place, terminal), "1", "{redirection}");
    }
}

#[test]
fn an_interrupt_by_kill_comes_through() {
    for redirection in ["", "</dev/null"] {
        let place = Place::new();
        let terminal = in_a_terminal(&place, redirection);
        signal(place.read("pid").parse().unwrap(), Signal::SIGINT);
        assert_eq!(interrupts(&place, terminal), "1", "{redirection}");
    }
}

/// A daemon that holds the pipes open holds neither the command nor its key.
#[test]
fn what_the_command_leaves_behind_is_not_waited_for() {
    let place = Place::new();
    let script = "echo begun > log; (until [ -e end ]; do sleep 0.01; done; touch ended) & \
        seq 20000; echo last >&2";
    for _ in 0..2 {
        let output = place.run(&[], script);
        assert_eq!(text(&output.stdout).lines().count(), 20_000);
        assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b"last\n"[..]));
        assert!(!place.path("ended").exists(), "it still runs");
    }
    fs::write(place.path("end"), "").unwrap();
    wait_until("the daemon's end", || place.path("ended").exists());
}

/// A reader that is slower than the command gets everything that the command wrote.
#[test]
fn a_slow_reader_gets_it_all() {
    let place = Place::new();
    let mut command = place.exec(&[], "sleep 60 & seq 30000; touch done");
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    // More than its own pipe and ours hold: the command blocks until it is read.
    let mut output = String::new();
    child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    assert!(output.ends_with("30000\n"), "{}", output.len());
    assert!(child.wait().unwrap().success());
}

#[test]
fn the_process_in_the_background_inherits_what_it_needs() {
    let place = Place::new();
    let script = "ls /proc/self/fd | wc -l > fds; env > env; pwd > pwd; touch run";
    let line = format!(
        "exec 7>seven 8<.; NOTIFY_SOCKET=/x MAKEFLAGS='--jobserver-auth=7,8' MINE=yes \
         $DOGPILE exec --expiration 0 --explain --json -- sh -c '{script}' 2>said"
    );
    place.shell(&line).status().unwrap();
    let inherited: u32 = place.read("fds").trim().parse().unwrap();
    wait_until("it is stale", || {
        fs::remove_file(place.path("run")).unwrap_or_default();
        place.shell(&line).status().unwrap();
        place.read("said").contains("\"stale\"")
    });
    wait_until("the renewal", || place.path("run").exists());
    let renewed: u32 = place.read("fds").trim().parse().unwrap();
    assert!(inherited >= 6, "a command in the foreground inherits all: {inherited}");
    assert_eq!(renewed, 4, "the standard ones, and that of the listing");
    let env = place.read("env");
    assert!(env.contains("MINE=yes"), "{env}");
    assert!(!env.contains("NOTIFY_SOCKET") && !env.contains("MAKEFLAGS"), "{env}");
    assert_eq!(place.read("pwd").trim(), place.0.path().canonicalize().unwrap().to_str().unwrap());
}

/// A command that writes to both streams, and leaves a line for each run.
const COUNTED: &str = "echo run >> $LOG; echo out 2>/dev/null; echo err >&2; exit 3";

/// An environment: its name, a line of shell in which `$RUN` stands for `dogpile exec --` or
/// for nothing, and whether the output is remembered there.
type Environment = (&'static str, &'static str, bool);

const ENVIRONMENTS: [Environment; 25] = [
    ("nothing special", r#"$RUN sh -c "$COUNTED""#, true),
    ("no HOME", r#"unset HOME DOGPILE_CACHE; $RUN sh -c "$COUNTED""#, false),
    (
        "a HOME that is not there",
        r#"unset DOGPILE_CACHE; HOME=/no/home $NOBODY $RUN sh -c "$COUNTED""#,
        false,
    ),
    ("a read-only folder", r#"DOGPILE_CACHE=$PWD/c.db $NOBODY $RUN sh -c "$COUNTED""#, false),
    ("a full device for the cache", r#"DOGPILE_CACHE=$DISK/c.db $RUN sh -c "$COUNTED""#, false),
    ("a full device for stdout", r#"$RUN sh -c "$COUNTED" >/dev/full"#, true),
    ("a full device for both", r#"$RUN sh -c "$COUNTED" >/dev/full 2>&1"#, true),
    ("stdin closed", r#"$RUN sh -c "$COUNTED" <&-"#, true),
    ("stdout closed", r#"$RUN sh -c "$COUNTED" >&-"#, true),
    ("stderr closed", r#"$RUN sh -c "$COUNTED" 2>&-"#, true),
    ("all closed", r#"$RUN sh -c "$COUNTED" <&- >&- 2>&-"#, true),
    (
        "signals ignored",
        r#"trap '' HUP INT QUIT TERM USR1 USR2; exec $RUN sh -c "
            kill -TERM \$\$; kill -HUP \$\$; grep SigIgn /proc/self/status; $COUNTED""#,
        true,
    ),
    (
        "the end of children ignored",
        r#"exec python3 -c "import os, signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
os.execvp(sys.argv[1], sys.argv[1:])" $RUN sh -c "$COUNTED""#,
        true,
    ),
    ("files of 4 KiB at most", r#"ulimit -f 8; exec $RUN sh -c "$COUNTED""#, false),
    ("few descriptors", r#"ulimit -n 24; $RUN sh -c "$COUNTED""#, true),
    ("a terminal", r#"script -qec "$RUN sh -c '$COUNTED'" /dev/null"#, true),
    ("no terminal to control", r#"setsid -w $RUN sh -c "$COUNTED""#, true),
    (
        "a pipe that closes",
        r#"{ $RUN sh -c "echo run >> $LOG; seq 100000 2>/dev/null; echo err >&2; exit 3"
            echo $? >&2; } | head -1"#,
        true,
    ),
    (
        "a daemon left behind",
        r#"$RUN sh -c "(until [ -e $PWD/end ] || ! [ -d $PWD ]; do sleep 0.01; done) & $COUNTED" >$LOG.1 2>$LOG.2
            code=$?; cat $LOG.1; cat $LOG.2 >&2; exit $code"#,
        true,
    ),
    ("a descriptor inherited", r#"exec 7<$LOG.7; $RUN sh -c "cat <&7; $COUNTED""#, true),
    ("input for somebody else", r#"echo in | { $RUN sh -c "$COUNTED"; cat; }"#, true),
    (
        "a directory that is gone",
        r#"mkdir gone; cd gone; rmdir ../gone; $RUN sh -c "$COUNTED""#,
        true,
    ),
    ("files for the owner alone", r#"umask 077; $RUN sh -c "umask; $COUNTED""#, true),
    ("words that are no text", r#"$RUN sh -c "echo \$1; $COUNTED" sh "$(printf '\377')""#, true),
    ("a subshell in the background", r#"{ $RUN sh -c "$COUNTED"; } & wait $!"#, true),
];

/// The visible results of a command: the two streams, line by line, and its end. Lines of
/// dogpile's own are left out of the second.
#[derive(Debug, PartialEq)]
struct Seen {
    stdout: Vec<u8>,
    stderr: Vec<String>,
    code: Option<i32>,
}

impl Seen {
    fn of(output: &Output) -> Self {
        // Two streams that are one terminal have no order.
        let mut stdout: Vec<&[u8]> = output.stdout.split_inclusive(|byte| *byte == b'\n').collect();
        stdout.sort_unstable();
        let told = text(&output.stderr);
        let own = |line: &&str| line.contains("WARN") || line.starts_with("dogpile: ");
        let stderr = told.lines().filter(|line| !own(line)).map(str::to_owned).collect();
        Self { stdout: stdout.concat(), stderr, code: output.status.code() }
    }
}

/// A command under `exec`, and its replay, show the same as the command alone.
#[test]
fn in_every_environment_it_is_as_if_it_were_not_there() {
    let full = Place::new();
    let disk = full.path("disk");
    fs::create_dir(&disk).unwrap();
    let mounted = SmallDisk::mount(&disk);
    if mounted.is_some() {
        fill(&disk);
    }
    for (name, line, is_remembered) in ENVIRONMENTS {
        if mounted.is_none() && line.contains("$DISK") {
            eprintln!("{name}: not tested");
            continue;
        }
        let place = Place::new();
        let (log, seven) = (place.path("log"), place.path("log.7"));
        let run = |by: &str| {
            let mut command = place.shell(line);
            command.env("RUN", by).env("COUNTED", COUNTED).env("LOG", &log).env("DISK", &disk);
            command.env("DOGPILE_CACHE", place.path("cache.db")).env("NOBODY", nobody());
            command.env("SHELL", "/bin/sh").env_remove("XDG_CACHE_HOME");
            Seen::of(&command.output().unwrap())
        };
        fs::write(&log, "").unwrap();
        fs::write(&seven, "seven\n").unwrap();
        fs::set_permissions(&log, Permissions::from_mode(0o666)).unwrap();
        let direct = run("");
        assert_eq!(place.read("log"), "run\n", "{name}: {direct:?}");
        fs::write(&log, "").unwrap();
        for what in ["run", "replay"] {
            assert_eq!(
                run(&format!("{DOGPILE} exec --remember-failures --")),
                direct,
                "{name}: {what}"
            );
        }
        let runs = place.read("log").lines().count();
        assert_eq!(runs, if is_remembered { 1 } else { 2 }, "{name}: runs");
        fs::write(place.path("end"), "").unwrap();
    }
}

/// Everybody may do everything to root, so somebody else is taken: the words to begin with.
fn nobody() -> &'static str {
    let is_root = nix::unistd::geteuid().is_root();
    if is_root { "setpriv --reuid 65534 --regid 65534 --clear-groups" } else { "" }
}

#[test]
fn what_is_too_long_is_passed_on_and_not_remembered() {
    let place = Place::new();
    for _ in 0..2 {
        let output = place.run(&["--max-output", "1K"], "echo run >> log; seq 10000");
        assert_eq!(text(&output.stdout).lines().count(), 10_000);
        assert!(text(&output.stderr).contains("1024 bytes"), "{}", text(&output.stderr));
    }
    assert_eq!(place.read("log").lines().count(), 2);
    assert!(place.run(&["--max-output", "1G"], "seq 10000").stderr.is_empty());
}

/// A disk of some kilobytes; unmounted on drop.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(path: &Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=256k,mode=755", "tmpfs"]).arg(path);
        let mounted = mount.status().is_ok_and(|status| status.success());
        if !mounted {
            eprintln!("cannot mount a small disk here: not tested");
        }
        mounted.then(|| Self(path.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Leaves no room in `folder`.
fn fill(folder: &Path) {
    let fill = File::create(folder.join("fill")).unwrap();
    while (&fill).write_all(&[0; 512]).is_ok() {}
}

/// What can be read and not written freezes nobody: past its expiration the command runs
/// here.
#[test]
fn a_cache_that_cannot_be_written_freezes_nobody() {
    let place = Place::new();
    let folder = place.path("disk");
    fs::create_dir(&folder).unwrap();
    let Some(_disk) = SmallDisk::mount(&folder) else { return };
    let cache = folder.join("cache.db").display().to_string();
    let script = "echo run >> log; wc -l < log; echo err >&2";
    let run = || place.run(&["--cache", &cache, "--expiration", "0", "--key", "k"], script);
    assert_eq!(text(&run().stderr), "err\n");
    fill(&folder);
    wait_until("the run here", || text(&run().stderr).contains("WARN"));
    let before = place.read("log").lines().count();
    let output = run();
    assert_eq!(text(&output.stdout).trim(), (before + 1).to_string());
    assert_eq!(text(&output.stderr).lines().count(), 2, "{}", text(&output.stderr));
}
