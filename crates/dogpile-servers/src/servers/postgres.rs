//! PostgreSQL: a server with an empty database.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::ports::free_port;
use super::process::{Server, scratch};

/// A PostgreSQL server whose only user, `postgres`, needs no password. It is
/// quick rather than safe: what it writes is not synced.
#[derive(Debug)]
pub struct PostgresServer {
    server: Server,
    port: u16,
    programs: PathBuf,
}

/// Returns where Debian puts the programs of its newest version, or the others where one
/// looks for programs.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let number = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions.map(|version| version.path()).max_by_key(|path| number(path));
    newest.map(|version| version.join("bin")).unwrap_or_default()
}

/// It refuses to be root; then it is run as the user that its package has made.
fn as_its_user() -> Vec<String> {
    let user = Command::new("id").arg("-u").output().map(|output| output.stdout);
    if user.is_ok_and(|user| user.trim_ascii() != b"0") {
        return Vec::new();
    }
    let words = "setpriv --reuid postgres --regid postgres --clear-groups --pdeathsig KILL";
    words.split(' ').map(str::to_owned).collect()
}

impl PostgresServer {
    /// Starts one.
    pub fn start() -> Self {
        let (port, programs) = (free_port(), programs());
        let data = scratch().join(format!("postgres-{port}"));
        std::fs::create_dir_all(&data).expect("there is a temporary directory");
        let by = as_its_user();
        if !by.is_empty() {
            run(Command::new("chown").arg("postgres").arg(&data));
        }
        let program = |name: &str| programs.join(name).display().to_string();
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let path = data.display().to_string();
        let make = words(&["-D", &path, "-A", "trust", "-U", "postgres", "-N", "-E", "UTF8"]);
        let make = [by.clone(), vec![program("initdb")], make].concat();
        run(Command::new(&make[0]).args(&make[1..]).current_dir("/"));
        let serve = [
            words(&["-D", &path, "-k", &path, "-h", "127.0.0.1", "-p", &port.to_string()]),
            words(&["-c", "fsync=off", "-c", "full_page_writes=off"]),
        ];
        let serve = [by, vec![program("postgres")], serve.concat()].concat();
        let is_ready = || is_ready(&programs, port);
        Self { server: Server::start(serve, is_ready), port, programs: programs.clone() }
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of the database `postgres`.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// The URL of a new, empty database.
    pub fn database(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("own_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let port = self.port.to_string();
        let arguments = ["-h", "127.0.0.1", "-p", &port, "-U", "postgres", &name];
        run(Command::new(self.programs.join("createdb")).args(arguments));
        format!("postgres://postgres@127.0.0.1:{port}/{name}")
    }

    /// Ends it as a power failure does.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// Starts it again with the data that it had.
    pub fn restart(&mut self) {
        self.server.kill();
        let (programs, port) = (self.programs.clone(), self.port);
        self.server.launch(|| is_ready(&programs, port));
    }
}

fn is_ready(programs: &Path, port: u16) -> bool {
    let mut ask = Command::new(programs.join("pg_isready"));
    let asked = ask.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()]).status();
    asked.is_ok_and(|status| status.success())
}

fn run(command: &mut Command) {
    let output = command.output().expect("PostgreSQL is installed: run `cargo xtask servers`");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
