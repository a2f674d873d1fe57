//! A connection of our own to one server, which is quicker than the client library's: requests
//! that come together are written together, and callers read their answers by themselves.

use std::future::{Future, ready};
use std::io;
use std::pin::Pin;

use bytes::Bytes;
use redis::ErrorKind::AuthenticationFailed;
use redis::{Cmd, RedisError, RedisResult, Value, cmd};

use super::connection::{Answer, Batch, Boxed, Connection, checked};
use super::resp::{Ends, value};
use crate::remote::link::Probe;
use crate::remote::lone::{Greeting, Lone, Peer};
use crate::remote::pipelined::{Ended, Pipelined, Stream};

/// A connection to one server.
pub(super) struct Single {
    pipelined: Pipelined<Bytes>,
    /// For a read of a blocking caller that is alone.
    lone: Option<Lone<Ends>>,
}

/// The user and the database of a connection.
#[derive(Clone, Copy)]
pub(super) struct Login<'a> {
    pub(super) username: Option<&'a str>,
    pub(super) password: Option<&'a str>,
    pub(super) db: i64,
}

impl Single {
    /// Drives `stream` from the runtime that this is called on, and logs in.
    pub(super) async fn connect(stream: Stream, login: Login<'_>) -> RedisResult<Self> {
        let peer = Peer::of(&stream);
        let mut connection =
            Self { pipelined: Pipelined::new(stream, Ends::default()), lone: None };
        let mut login = login;
        match connection.log_in(login).await {
            // A server without users knows the password alone.
            Err(error)
                if login.username.is_some()
                    && error.to_string().contains("wrong number of arguments") =>
            {
                login.username = None;
                connection.log_in(login).await?;
            }
            other => other?,
        }
        connection.lone = peer.map(|peer| Lone::new(peer, login.greeting()));
        Ok(connection)
    }

    async fn log_in(&self, login: Login<'_>) -> RedisResult<()> {
        let (setup, needed) = login.commands();
        let answers = self.exchange(&setup.iter().collect::<Vec<_>>()).await?;
        let mut needed = answers.into_iter().take(needed);
        needed.try_for_each(|answer| checked(answer).map(drop)).map_err(|error| {
            let is_secret = repeats(&error, login.password);
            if is_secret { (AuthenticationFailed, REFUSED).into() } else { error }
        })
    }

    async fn exchange(&self, commands: &[&Cmd]) -> RedisResult<Vec<Value>> {
        let write = |into: &mut Vec<u8>| {
            commands.iter().for_each(|command| command.write_packed_command(into));
        };
        let answers = self.pipelined.exchange(commands.len(), write).await.map_err(dropped)?;
        let mut rest = &answers[..];
        commands.iter().map(|_| value(&mut rest)).collect()
    }

    /// Reads on the caller's thread. Nothing if that is not possible, or refused: a second connection may find
    /// that the server has a password by now, which the first does not need.
    fn read_alone(&self, command: &Cmd) -> Option<Value> {
        let write = |into: &mut Vec<u8>| command.write_packed_command(into);
        let answer = self.lone.as_ref()?.exchange(|| self.pipelined.is_unused(), write)?;
        value(&mut &answer[..]).and_then(checked).ok()
    }
}

impl Login<'_> {
    /// The commands that begin a connection, and the number of those that must not fail.
    fn commands(&self) -> (Vec<Cmd>, usize) {
        let db = self.db.to_string();
        let mut setup: Vec<Vec<&str>> = Vec::new();
        if let Some(password) = self.password {
            let words = [Some("AUTH"), self.username, Some(password)];
            setup.push(words.into_iter().flatten().collect());
        }
        if self.db != 0 {
            setup.push(vec!["SELECT", &db]);
        }
        let needed = setup.len();
        for (name, value) in [("LIB-NAME", "dogpile"), ("LIB-VER", env!("CARGO_PKG_VERSION"))] {
            setup.push(vec!["CLIENT", "SETINFO", name, value]);
        }
        (setup.into_iter().map(|words| Cmd::new().arg(words).take()).collect(), needed)
    }

    /// The same for a second connection.
    fn greeting(&self) -> Greeting {
        let (setup, needed) = self.commands();
        let mut requests = Vec::new();
        setup.iter().for_each(|command| command.write_packed_command(&mut requests));
        // `AUTH` and `SELECT`.
        let welcome = ["", "+OK\r\n", "+OK\r\n+OK\r\n"][needed];
        Greeting { requests, count: setup.len(), welcome }
    }
}

const REFUSED: &str = "the server refuses AUTH";

/// Does a server repeat what it was sent? It does for a command that it does not know, and may cut
/// that off anywhere.
fn repeats(error: &RedisError, password: Option<&str>) -> bool {
    let text = error.to_string();
    let is_in = |password: &str| text.contains("with args") || text.contains(password);
    error.code() != Some("WRONGPASS") && password.is_some_and(is_in)
}

fn dropped(Ended(why): Ended) -> RedisError {
    io::Error::new(io::ErrorKind::BrokenPipe, why).into()
}

impl Connection for Single {
    fn send<'a>(&'a self, command: &'a Cmd) -> Boxed<'a, Value> {
        Box::pin(async move {
            let write = |into: &mut Vec<u8>| command.write_packed_command(into);
            let answer = self.pipelined.exchange(1, write).await.map_err(dropped)?;
            checked(value(&mut &answer[..])?)
        })
    }

    fn read<'a>(&'a self, command: &'a Cmd) -> Boxed<'a, Value> {
        match self.read_alone(command) {
            Some(answer) => Box::pin(ready(Ok(answer))),
            None => self.send(command),
        }
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
