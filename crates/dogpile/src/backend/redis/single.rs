//! A connection of our own to one server, which is quicker than the client library's: requests
//! that come together are written together, and callers read their answers by themselves.

use std::future::Future;
use std::io;
use std::pin::Pin;

use bytes::Bytes;
use futures_util::future::select_ok;
use redis::{Cmd, ConnectionAddr, ErrorKind, RedisError, RedisResult, Value, cmd};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

use super::connect::Target;
use super::connection::{Answer, Batch, Boxed, Connection, checked};
use super::resp::{Ends, value};
use crate::remote::link::Probe;
use crate::remote::pipelined::{Ended, Pipelined, Stream};

/// A connection to one server.
pub(super) struct Single(Pipelined<Bytes>);

impl Single {
    /// Connects to the first address of `target`, and logs in.
    pub(super) async fn connect(target: &Target) -> RedisResult<Self> {
        let connection = Self(Pipelined::new(open(target).await?, Ends::default()));
        let username = target.credentials.username.as_deref();
        match connection.log_in(target, username).await {
            // A server without users knows the password alone.
            Err(error)
                if username.is_some()
                    && error.to_string().contains("wrong number of arguments") =>
            {
                connection.log_in(target, None).await?;
            }
            other => other?,
        }
        Ok(connection)
    }

    async fn log_in(&self, target: &Target, username: Option<&str>) -> RedisResult<()> {
        let mut setup = Vec::new();
        if let Some(password) = &target.credentials.password {
            setup.push(cmd("AUTH").arg(username).arg(password).take());
        }
        if target.db != 0 {
            setup.push(cmd("SELECT").arg(target.db).take());
        }
        let needed = setup.len();
        for (name, value) in [("LIB-NAME", "dogpile"), ("LIB-VER", env!("CARGO_PKG_VERSION"))] {
            setup.push(cmd("CLIENT").arg("SETINFO").arg(name).arg(value).take());
        }
        let answers = self.exchange(&setup.iter().collect::<Vec<_>>()).await?;
        answers.into_iter().take(needed).try_for_each(|answer| checked(answer).map(drop))
    }

    async fn exchange(&self, commands: &[&Cmd]) -> RedisResult<Vec<Value>> {
        let write = |into: &mut Vec<u8>| {
            commands.iter().for_each(|command| command.write_packed_command(into));
        };
        let answers = self.0.exchange(commands.len(), write).await.map_err(dropped)?;
        let mut rest = &answers[..];
        commands.iter().map(|_| value(&mut rest)).collect()
    }
}

fn dropped(Ended(why): Ended) -> RedisError {
    io::Error::new(io::ErrorKind::BrokenPipe, why).into()
}

async fn open(target: &Target) -> RedisResult<Stream> {
    let none = (ErrorKind::InvalidClientConfig, "there is no address");
    Ok(match target.addresses.first().ok_or(none)? {
        ConnectionAddr::Tcp(host, port) => Stream::Tcp(reach(host, *port).await?),
        #[cfg(feature = "tls")]
        ConnectionAddr::TcpTls { host, port, .. } => {
            let no_tls = (ErrorKind::InvalidClientConfig, "the address has no TLS");
            let tls = target.tls.as_ref().ok_or(no_tls)?;
            let stream = reach(host, *port).await?;
            Stream::Other(Box::new(crate::remote::tls::connect(tls, host, stream).await?))
        }
        #[cfg(unix)]
        ConnectionAddr::Unix(path) => Stream::Unix(UnixStream::connect(path).await?),
        _ => return Err((ErrorKind::InvalidClientConfig, "this kind of address").into()),
    })
}

/// Connects to whichever address of `host` is the quickest.
async fn reach(host: &str, port: u16) -> io::Result<TcpStream> {
    let addresses = tokio::net::lookup_host((host, port)).await?;
    let attempts: Vec<_> = addresses.map(|address| Box::pin(TcpStream::connect(address))).collect();
    if attempts.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the host has no address"));
    }
    let (stream, _) = select_ok(attempts).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl Connection for Single {
    fn send<'a>(&'a self, command: &'a Cmd) -> Boxed<'a, Value> {
        Box::pin(async move {
            let write = |into: &mut Vec<u8>| command.write_packed_command(into);
            let answer = self.0.exchange(1, write).await.map_err(dropped)?;
            checked(value(&mut &answer[..])?)
        })
    }

    fn send_all<'a>(&'a self, batch: &'a Batch) -> Boxed<'a, Vec<Answer>> {
        Box::pin(async move {
            let commands: Vec<&Cmd> = batch.commands().collect();
            if commands.is_empty() {
                return Ok(Vec::new());
            }
            Ok(self.exchange(&commands).await?.into_iter().map(checked).collect())
        })
    }

    fn send_transaction<'a>(&'a self, batch: &'a Batch) -> Boxed<'a, Option<Vec<Value>>> {
        Box::pin(async move {
            let (begin, end) = (cmd("MULTI"), cmd("EXEC"));
            let commands = [&begin].into_iter().chain(batch.commands()).chain([&end]);
            let mut answers = self.exchange(&commands.collect::<Vec<_>>()).await?;
            let done = answers.pop();
            // What was refused says why, and the end only that something was.
            answers.into_iter().try_for_each(|answer| checked(answer).map(drop))?;
            super::connection::all_done(done)
        })
    }
}

/// Nothing falls between: a request that is handed over while its connection ends has its error.
impl Probe for Single {
    fn lost(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::pending())
    }
}
