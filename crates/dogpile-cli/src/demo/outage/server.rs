//! A Redis or Valkey of the demonstration's own: by a socket in its folder, without persistence.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dogpile::backend::Redis;
use tokio::time::sleep;

use crate::error::CommandError;

const PROGRAMS: [&str; 2] = ["redis-server", "valkey-server"];

/// The longest time for a server to begin.
const PATIENCE: Duration = Duration::from_secs(5);

/// A server that ends when this is dropped.
pub(super) struct Server {
    program: &'static str,
    folder: PathBuf,
    process: Option<Child>,
}

impl Server {
    /// Starts the first of the programs that is installed.
    pub(super) async fn start(folder: &Path) -> Result<Self, CommandError> {
        for program in PROGRAMS {
            let mut server = Self { program, folder: folder.to_owned(), process: None };
            match server.spawn() {
                Ok(()) => return server.wait().await.map(|()| server),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(format!("there is no {} to be found", PROGRAMS.join(" or ")).into())
    }

    pub(super) fn program(&self) -> &'static str {
        self.program
    }

    /// Opens a backend over it.
    pub(super) fn open(&self) -> Result<Redis, CommandError> {
        let socket = self.socket();
        let socket = socket.to_str().ok_or("the temporary folder's name is not UTF-8")?;
        Ok(Redis::open(&format!("unix://{}", encoded(socket)))?)
    }

    /// Starts it again, empty.
    pub(super) async fn launch(&mut self) -> Result<(), CommandError> {
        self.kill();
        self.spawn()?;
        self.wait().await
    }

    /// Ends it as a power failure does.
    pub(super) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It fails only if the process has ended by itself.
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("redis.sock")
    }

    fn spawn(&mut self) -> io::Result<()> {
        let mut command = Command::new(self.program);
        command.args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"]);
        command.arg(self.socket()).arg("--dir").arg(&self.folder);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // A Ctrl-C is for this process, which ends the server then.
        command.process_group(0);
        self.process = Some(command.spawn()?);
        Ok(())
    }

    /// Waits until it answers.
    async fn wait(&mut self) -> Result<(), CommandError> {
        let began = Instant::now();
        while !self.answers() {
            let ended = self.process.as_mut().and_then(|process| process.try_wait().ok().flatten());
            if ended.is_some() || began.elapsed() > PATIENCE {
                return Err(format!("{} does not begin to answer", self.program).into());
            }
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    fn answers(&self) -> bool {
        let asked = || -> io::Result<bool> {
            let mut stream = UnixStream::connect(self.socket())?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(b"PING\r\n")?;
            let mut answer = [0; 5];
            stream.read_exact(&mut answer)?;
            Ok(&answer == b"+PONG")
        };
        asked().unwrap_or(false)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Writes a path as part of a URL.
fn encoded(path: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    path.bytes()
        .map(|byte| if is_plain(byte) { char::from(byte).into() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_encoded_for_its_url() {
        assert_eq!(encoded("/tmp/my folder/é.sock"), "/tmp/my%20folder/%C3%A9.sock");
    }
}
