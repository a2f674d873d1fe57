//! The address of a server, and connecting to it.

use std::fmt;
use std::path::PathBuf;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

use super::connection::Connection;
use super::protocol::{Protocol, ProtocolError};
use crate::remote::pipelined::Stream;
use crate::remote::tls::Tls;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Everything that connections are made of.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) addresses: Vec<Address>,
    pub(super) protocol: Protocol,
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
    pub(super) tls: Option<Tls>,
}

/// Nothing else of a target is fit for a log.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.addresses.iter().map(ToString::to_string)).finish()
    }
}

impl Target {
    /// A new connection to one of the servers, which has answered: one that
    /// only takes connections, as what stands before a dead server may, is down.
    pub(super) async fn connect(&self, address: &Address) -> Result<Connection, String> {
        let mut stream = self.open(address).await?;
        let protocol = self.protocol;
        exchange(&mut stream, &protocol.probe(), |answer| Ok(protocol.read(answer)?.is_some()))
            .await?;
        Ok(Connection::new(stream, protocol))
    }

    /// The same as a bare stream.
    pub(super) async fn open(&self, address: &Address) -> Result<Stream, String> {
        let mut stream = self.reach(address).await.map_err(|error| error.to_string())?;
        if self.username.is_some() || self.password.is_some() {
            self.log_in(&mut stream).await?;
        }
        Ok(stream)
    }

    async fn reach(&self, address: &Address) -> std::io::Result<Stream> {
        match address {
            Address::Tcp { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                #[cfg(feature = "tls")]
                if let Some(tls) = &self.tls {
                    let stream = crate::remote::tls::connect(tls, host, stream).await?;
                    return Ok(Stream::Other(Box::new(stream)));
                }
                Ok(Stream::Tcp(stream))
            }
            #[cfg(unix)]
            Address::Unix(path) => Ok(Stream::Unix(UnixStream::connect(path).await?)),
            #[cfg(not(unix))]
            Address::Unix(_) => Err(std::io::ErrorKind::Unsupported.into()),
        }
    }

    async fn log_in(&self, stream: &mut Stream) -> Result<(), String> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let login = self.protocol.login(&text(&self.username), &text(&self.password));
        exchange(stream, &login, |answer| self.protocol.welcome(answer)).await
    }
}

/// Sends `request` and reads until `is_answered`.
async fn exchange(
    stream: &mut Stream,
    request: &[u8],
    is_answered: impl Fn(&mut BytesMut) -> Result<bool, ProtocolError>,
) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    let stream = stream.as_any();
    stream.write_all(request).await.map_err(failed)?;
    stream.flush().await.map_err(failed)?;
    let mut answer = BytesMut::new();
    loop {
        if stream.read_buf(&mut answer).await.map_err(failed)? == 0 {
            return Err("the server closes the connection at once".to_owned());
        }
        match is_answered(&mut answer) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(ProtocolError(why)) => return Err(why),
        }
    }
}
