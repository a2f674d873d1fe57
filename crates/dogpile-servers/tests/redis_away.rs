//! A Redis that is killed and comes back with what it held, under four processes that ask for one key
//! all the time.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dogpile::backend::Redis;
use dogpile::{Config, Region};
use dogpile_servers::RedisServer;

const PROCESSES: usize = 4;
/// The time for which a process keeps what it creates meanwhile.
const KEPT: Duration = Duration::from_secs(2);
const AWAY: Duration = Duration::from_secs(5);

const URL: &str = "DOGPILE_AWAY_URL";
const SOURCE: &str = "DOGPILE_AWAY_SOURCE";

fn region(url: &str) -> Region {
    let region = Region::new("away");
    let config = Config::new(Redis::open(url).unwrap()).expiration(Duration::from_secs(3_600));
    region.configure(config.keep_when_down(KEPT)).unwrap();
    region
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n> {line}").unwrap();
    out.flush().unwrap();
}

/// A process of the fleet: asks for the key all the time, says what it creates, and whenever it
/// gets another value.
#[tokio::test]
async fn child() {
    let (Ok(url), Ok(source)) = (std::env::var(URL), std::env::var(SOURCE)) else { return };
    let (region, commands) = (region(&url), Arc::new(Mutex::new(Vec::new())));
    let told = commands.clone();
    std::thread::spawn(move || {
        std::io::stdin().lines().for_each(|line| told.lock().unwrap().push(line.unwrap()));
        std::process::exit(0);
    });
    let mut last = None;
    loop {
        let creator = async || {
            say("creates");
            std::fs::read_to_string(&source).unwrap()
        };
        let value = Some(region.get_or_create("hot", creator).await);
        if value != last {
            say(&format!("has {}", value.as_deref().unwrap()));
            last = value;
        }
        let command = commands.lock().unwrap().pop();
        match command.as_deref() {
            Some("delete") => {
                let deleted = region.delete("hot").await;
                say(if deleted.is_ok() { "deletes" } else { "owes a deletion" });
            }
            Some(_) => say("is there"),
            None => {}
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A process, and what it has said until now.
struct Process {
    child: Child,
    stdin: ChildStdin,
    said: Arc<Mutex<Vec<String>>>,
}

impl Process {
    fn start(url: &str, source: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "child", "--nocapture"]).env(URL, url).env(SOURCE, source);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let said = Arc::new(Mutex::new(Vec::new()));
        let heard = said.clone();
        std::thread::spawn(move || hear(stdout, &heard));
        Self { child, stdin, said }
    }

    fn count(&self, line: &str) -> usize {
        self.said.lock().unwrap().iter().filter(|said| *said == line).count()
    }

    /// Returns the last value that it got.
    fn value(&self) -> Option<String> {
        let said = self.said.lock().unwrap();
        said.iter().rev().find_map(|line| Some(line.strip_prefix("has ")?.to_owned()))
    }
}

fn hear(stdout: ChildStdout, said: &Mutex<Vec<String>>) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        if let Some(line) = line.strip_prefix("> ") {
            said.lock().unwrap().push(line.to_owned());
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
    began.elapsed()
}

fn all_have(processes: &[Process], value: &str) -> bool {
    processes.iter().all(|process| process.value().as_deref() == Some(value))
}

#[test]
fn a_hot_key_costs_one_creation_a_process_and_time_and_a_deletion_is_not_lost() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    std::fs::write(&source, "1").unwrap();
    let mut server = RedisServer::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let start = |_| Process::start(&server.url(), &source);
    let processes: Vec<Process> = (0..PROCESSES).map(start).collect();
    wait_until("all have the first value", || all_have(&processes, "1"));
    let creations = |processes: &[Process]| -> Vec<usize> {
        processes.iter().map(|process| process.count("creates")).collect()
    };
    assert_eq!(creations(&processes).iter().sum::<usize>(), 1);

    let began = Instant::now();
    let before = creations(&processes);
    server.kill();
    let has_created = |process: &Process, before: usize| process.count("creates") > before;
    wait_until("each creates for itself", || {
        processes.iter().zip(&before).all(|(process, before)| has_created(process, *before))
    });
    std::fs::write(&source, "2").unwrap();
    writeln!(&processes[0].stdin, "delete").unwrap();
    wait_until("a deletion fails", || processes[0].count("owes a deletion") == 1);
    // It is this time that the test is about.
    std::thread::sleep(AWAY.saturating_sub(began.elapsed()));
    let during = creations(&processes);
    let times = usize::try_from(began.elapsed().as_millis() / KEPT.as_millis()).unwrap();
    for (number, (during, before)) in during.iter().zip(&before).enumerate() {
        // The deletion takes what was kept.
        let most = times + 1 + usize::from(number == 0);
        let creations = during - before;
        assert!((2..=most).contains(&creations), "process {number}: {creations} of {most}");
    }

    server.restart();
    // What it held is there again, and fresh, but for the deletion. Who created meanwhile may see it
    // until the deletion is made up for.
    let client = region(&server.url());
    let took = wait_until("all obey the deletion", || {
        let found = client.blocking().get::<String>("hot");
        found.is_ok_and(|found| found.as_deref() == Some("2")) && all_have(&processes, "2")
    });
    assert!(took < Duration::from_secs(5), "{took:?}");
    let outdated =
        || processes.iter().map(|process| process.count("has 1")).collect::<Vec<usize>>();
    let known = outdated();
    for round in 1..=20 {
        processes.iter().for_each(|process| writeln!(&process.stdin, "answer").unwrap());
        wait_until("all answer", || {
            processes.iter().all(|process| process.count("is there") == round)
        });
    }
    assert_eq!(outdated(), known, "nobody gets it again");
    assert!(all_have(&processes, "2"));
    let after: usize = creations(&processes).iter().sum();
    let of_return = after - during.iter().sum::<usize>();
    assert!(of_return <= 2 * PROCESSES, "{of_return} creations at the return");
    println!(
        "{during:?} creations while it was away, obeyed {took:?} after its return, {of_return} then"
    );
}
