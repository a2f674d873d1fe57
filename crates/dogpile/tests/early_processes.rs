//! Early creation and conditional creators between processes over one file, of which some are killed.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use dogpile::backend::{AnyBackend, File};
use dogpile::{CachedValue, Config, Early, Region};

const HOUR: Duration = Duration::from_secs(3_600);
const PATH: &str = "DOGPILE_BROKEN_FILE";

fn opened(file: File) -> Region {
    let region = Region::new("processes");
    let config = Config::over(AnyBackend::new(file)).expiration(HOUR).early(Early::at(0.0));
    region.configure(config).unwrap();
    region
}

fn at(path: &Path) -> Region {
    opened(File::builder(path).open().unwrap())
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n> {line}").unwrap();
    out.flush().unwrap();
}

/// Waits until the system's coarse clock has moved, by which values are judged.
async fn until_early(path: &Path) {
    let region = at(path);
    while region.get_with_metadata::<i32>("k").await.unwrap().unwrap().age.is_zero() {
        tokio::task::yield_now().await;
    }
}

/// The other process: asks once, and its creator does what it is told.
#[tokio::test]
async fn child() {
    let Some(path) = std::env::var_os(PATH) else { return };
    let region = at(Path::new(&path));
    let creator = async |old: Option<CachedValue<i32>>| {
        say(&format!("creates from {:?}", old.map(|old| old.value)));
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).unwrap();
        line.trim().parse::<i32>().map_err(|_| "no number")
    };
    let got = region.entry("k").try_get_or_update(creator).await;
    say(&format!("has {got:?}"));
}

struct Process {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Process {
    fn asking(path: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "child", "--nocapture"]).env(PATH, path);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, stdin, stdout: BufReader::new(stdout) }
    }

    fn says(&mut self) -> String {
        let mut line = String::new();
        while self.stdout.read_line(&mut line).unwrap() > 0 {
            if let Some(said) = line.strip_prefix("> ") {
                return said.trim().to_owned();
            }
            line.clear();
        }
        panic!("it says nothing more");
    }

    fn tell(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn one_process_creates_an_early_value_and_the_next_one_if_that_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache");
    at(&path).set("k", &1).await.unwrap();
    until_early(&path).await;
    let mut first = Process::asking(&path);
    assert_eq!(first.says(), "creates from Some(1)");
    assert_eq!(Process::asking(&path).says(), "has Ok(1)");
    drop(first);
    let mut second = Process::asking(&path);
    assert_eq!(second.says(), "creates from Some(1)");
    second.tell("2");
    assert_eq!(second.says(), "has Ok(2)");
    until_early(&path).await;
    let mut third = Process::asking(&path);
    assert_eq!(third.says(), "creates from Some(2)");
    at(&path).delete("k").await.unwrap();
    third.tell("2");
    assert_eq!(third.says(), "has Ok(2)");
    assert_eq!(at(&path).get::<i32>("k").await.unwrap(), None, "it was deleted meanwhile");
}

#[tokio::test]
async fn after_a_failure_no_process_tries_for_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache");
    at(&path).set("k", &1).await.unwrap();
    until_early(&path).await;
    let mut first = Process::asking(&path);
    assert_eq!(first.says(), "creates from Some(1)");
    first.tell("down");
    assert_eq!(first.says(), "has Ok(1)");
    assert_eq!(Process::asking(&path).says(), "has Ok(1)");
    at(&path).set("k", &2).await.unwrap();
    until_early(&path).await;
    let mut third = Process::asking(&path);
    assert_eq!(third.says(), "creates from Some(2)", "a set ends it");
    third.tell("3");
    assert_eq!(third.says(), "has Ok(3)");
}
