//! memcached: a server, as often as one likes.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::ports::free_port;
use super::process::{Server, scratch};

/// A memcached server with 64 MiB.
#[derive(Debug)]
pub struct MemcachedServer {
    server: Server,
    port: u16,
}

/// A server that takes connections is ready; what it answers depends on its
/// protocol.
fn is_up(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

impl MemcachedServer {
    /// Starts one.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// Starts one with more options of `memcached`.
    pub fn with(options: &[&str]) -> Self {
        Self::run(&[], options)
    }

    /// Starts `memcached` by the command `by`.
    fn run(by: &[&str], options: &[&str]) -> Self {
        let port = free_port();
        let fixed = ["memcached", "-u", "root", "-l", "127.0.0.1", "-U", "0", "-p"];
        let port_text = port.to_string();
        let words = [by, &fixed, &[&port_text], options].concat();
        let command = words.into_iter().map(str::to_owned).collect();
        Self { server: Server::start(command, || is_up(port)), port }
    }

    /// Starts one whose only user is `app` with the password `secret`, by SASL.
    /// It speaks the binary protocol only.
    pub fn with_sasl() -> Self {
        let directory = scratch().join(format!("sasl-{}", free_port()));
        fs::create_dir_all(&directory).expect("there is a temporary directory");
        let users = directory.join("users");
        let users = users.display();
        let config = format!("mech_list: plain\nauxprop_plugin: sasldb\nsasldb_path: {users}\n");
        fs::write(directory.join("memcached.conf"), config).expect("it can be written");
        let add = format!("echo secret | saslpasswd2 -p -a memcached -c -f {users} app");
        let added = Command::new("sh").args(["-c", &add]).status();
        assert!(added.is_ok_and(|status| status.success()), "saslpasswd2 is installed");
        Self::run(&["env", &format!("SASL_CONF_PATH={}", directory.display())], &["-S"])
    }

    /// Its address, `127.0.0.1:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("memcached://{}", self.address())
    }

    /// Sends one line of the text protocol; the raw answer.
    pub fn ask(&self, line: &str) -> String {
        let asked = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_read_timeout(Some(Duration::from_secs(2)))?;
            stream.write_all(format!("{line}\r\n").as_bytes())?;
            let mut answer = vec![0; 64 * 1024];
            let length = stream.read(&mut answer)?;
            Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
        };
        asked().unwrap_or_default()
    }

    /// A number that the server counts, by its name in `stats`.
    pub fn count(&self, name: &str) -> u64 {
        let stats = self.ask("stats");
        let line = stats.lines().find_map(|line| line.strip_prefix(&format!("STAT {name} ")));
        line.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
    }

    /// Ends it as a power failure does.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// Starts it again, empty, on the same port.
    pub fn restart(&mut self) {
        self.server.kill();
        let port = self.port;
        self.server.launch(|| is_up(port));
    }

    /// Stops it: it is there, and does not answer.
    pub fn pause(&self) {
        self.server.pause();
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.server.resume();
    }
}

/// A server on a socket of the file system.
#[derive(Debug)]
pub struct MemcachedSocket {
    _server: Server,
    socket: PathBuf,
}

impl MemcachedSocket {
    /// Starts one.
    pub fn start() -> Self {
        let socket = scratch().join(format!("memcached-{}.sock", free_port()));
        let words = ["memcached", "-u", "root", "-s"].map(str::to_owned);
        let command = words.into_iter().chain([socket.display().to_string()]).collect();
        let server = Server::start(command, || socket.exists());
        Self { _server: server, socket }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("memcached+unix://{}", self.socket.display())
    }
}
