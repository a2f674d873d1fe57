//! MariaDB: a server with an empty database.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::ports::free_port;
use super::process::{Server, scratch};

/// A MariaDB server whose user `root` needs no password. It is quick rather than safe:
/// what it writes is not synced.
#[derive(Debug)]
pub struct MariaDbServer {
    _server: Server,
    port: u16,
    socket: PathBuf,
}

impl MariaDbServer {
    /// Starts one.
    pub fn start() -> Self {
        let port = free_port();
        let data = scratch().join(format!("mariadb-{port}"));
        let socket = data.with_extension("sock");
        std::fs::create_dir_all(&data).expect("there is a temporary directory");
        let directory = format!("--datadir={}", data.display());
        let mut make = Command::new("mariadb-install-db");
        make.args(["--no-defaults", "--user=root", "--skip-test-db", &directory]);
        run(make.arg("--auth-root-authentication-method=normal"));
        let serve = [
            "mariadbd",
            "--no-defaults",
            "--user=root",
            "--bind-address=127.0.0.1",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-buffer-pool-size=64M",
            &directory,
            &format!("--port={port}"),
            &format!("--socket={}", socket.display()),
        ];
        let serve = serve.map(str::to_owned).to_vec();
        let server = Server::start(serve, || is_ready(&socket));
        run(client("mariadb", &socket).args(["-e", "CREATE DATABASE app"]));
        Self { _server: server, port, socket }
    }

    /// The URL of the database `app`.
    pub fn url(&self) -> String {
        format!("mysql://root@127.0.0.1:{}/app", self.port)
    }

    /// The URL of a new, empty database.
    pub fn database(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("own_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let create = format!("CREATE DATABASE {name}");
        run(client("mariadb", &self.socket).args(["-e", &create]));
        format!("mysql://root@127.0.0.1:{}/{name}", self.port)
    }
}

fn client(program: &str, socket: &Path) -> Command {
    let mut command = Command::new(program);
    let socket: PathBuf = socket.into();
    command.args(["--no-defaults", "-u", "root", "-S"]).arg(socket);
    command
}

fn is_ready(socket: &Path) -> bool {
    let pinged = client("mariadb-admin", socket).arg("ping").output();
    pinged.is_ok_and(|output| output.status.success())
}

fn run(command: &mut Command) {
    let output = command.output().expect("MariaDB is installed: run `cargo xtask servers`");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
