//! The addresses of the servers, and connecting to them.

use std::fmt;
use std::io;
use std::sync::Arc;

use futures_util::future::select_ok;
use redis::aio::MultiplexedConnection;
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_read_routing::RandomReplicaStrategy;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    ProtocolVersion, PushInfo, RedisConnectionInfo, RedisResult,
};
#[cfg(feature = "tls")]
use redis::{ClientTlsConfig, TlsCertificates, TlsMode};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

use super::connection::{Clustered, Connection, Multiplexed};
use super::single::{Login, Single};
#[cfg(feature = "tls")]
use crate::log;
use crate::process;
use crate::remote::pipelined::Stream;
use crate::remote::tls::Tls;

/// The address to connect to.
#[derive(Clone)]
pub(super) enum Endpoint {
    Single,
    /// The master of this name, as the sentinels know it.
    Sentinel {
        service: String,
        sentinels: Credentials,
        /// One of its replicas instead.
        replica: bool,
    },
    Cluster {
        read_from_replicas: bool,
    },
    /// The application's own connection, of the process of this generation.
    Existing {
        connection: Arc<dyn Connection>,
        generation: u32,
    },
}

/// The credentials.
#[derive(Clone, Default)]
pub(super) struct Credentials {
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
}

/// Everything that a connection is made of.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) endpoint: Endpoint,
    /// The server, the sentinels, or some nodes of the cluster.
    pub(super) addresses: Vec<ConnectionAddr>,
    pub(super) credentials: Credentials,
    pub(super) db: i64,
    pub(super) tls: Option<Tls>,
}

/// The certificates, as redis-rs wants them.
#[cfg(feature = "tls")]
fn certificates(tls: &Tls) -> TlsCertificates {
    let client = tls.client.clone();
    TlsCertificates {
        client_tls: client
            .map(|(client_cert, client_key)| ClientTlsConfig { client_cert, client_key }),
        root_cert: tls.root.clone(),
    }
}

/// Nothing of a target is fit for a log: addresses only.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe())
    }
}

/// A callback for pushes of invalidated keys.
pub(super) type OnPush = Arc<dyn Fn(PushInfo) + Send + Sync>;

impl Target {
    /// The server or servers in words, without secrets.
    pub(super) fn describe(&self) -> String {
        let addresses: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        let addresses = addresses.join(", ");
        match &self.endpoint {
            Endpoint::Single => addresses,
            Endpoint::Sentinel { service, .. } => format!("{service} by the sentinels {addresses}"),
            Endpoint::Cluster { .. } => format!("the cluster of {addresses}"),
            Endpoint::Existing { .. } => "the application's connection".to_owned(),
        }
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.endpoint, Endpoint::Cluster { .. })
    }

    /// Can connections be opened that get notifications of changed keys?
    pub(super) fn can_track(&self) -> bool {
        !matches!(self.endpoint, Endpoint::Existing { .. })
    }

    /// The same servers, but replicas.
    pub(super) fn reading(&self) -> Option<Self> {
        let mut target = self.clone();
        match &mut target.endpoint {
            Endpoint::Sentinel { replica: reads, .. }
            | Endpoint::Cluster { read_from_replicas: reads } => *reads = true,
            Endpoint::Single | Endpoint::Existing { .. } => return None,
        }
        Some(target)
    }

    /// One server of this cluster by itself.
    pub(super) fn server_of_cluster(&self, host: &str, port: u16) -> Self {
        let address = address_of(host, port, self.tls.is_some());
        Self { endpoint: Endpoint::Single, addresses: vec![address], ..self.clone() }
    }

    /// A new connection.
    pub(super) async fn connect(&self) -> RedisResult<Arc<dyn Connection>> {
        #[cfg(feature = "tls")]
        self.choose_cryptography();
        match &self.endpoint {
            Endpoint::Existing { connection, generation } => {
                let elsewhere = "it belongs to the process that this one was forked from";
                let error = (redis::ErrorKind::InvalidClientConfig, elsewhere);
                let is_ours = *generation == process::generation();
                if is_ours { Ok(connection.clone()) } else { Err(error.into()) }
            }
            Endpoint::Cluster { read_from_replicas } => {
                let client = self.cluster(*read_from_replicas)?;
                Ok(Arc::new(Clustered(client.get_async_connection().await?)))
            }
            Endpoint::Single => {
                let Credentials { username, password } = &self.credentials;
                let (username, password) = (username.as_deref(), password.as_deref());
                let login = Login { username, password, db: self.db };
                Ok(Arc::new(Single::connect(self.open().await?, login).await?))
            }
            Endpoint::Sentinel { .. } => {
                let config = ours(AsyncConnectionConfig::new());
                let connection = self.connect_one(ProtocolVersion::RESP2, &config).await?;
                Ok(Arc::new(Multiplexed(connection)))
            }
        }
    }

    /// A new connection on which `on_push` hears of changes: of the keys that it has read, or of all
    /// that begin with `prefix`.
    pub(super) async fn connect_tracking(
        &self,
        on_push: OnPush,
        prefix: Option<&str>,
    ) -> RedisResult<Arc<dyn Connection>> {
        #[cfg(feature = "tls")]
        self.choose_cryptography();
        let hear = move |push| {
            on_push(push);
            Ok::<(), redis::aio::SendError>(())
        };
        let config = ours(AsyncConnectionConfig::new()).set_push_sender(hear);
        let mut connection = self.connect_one(ProtocolVersion::RESP3, &config).await?;
        let mut tracking = redis::cmd("CLIENT");
        tracking.arg("TRACKING").arg("ON");
        if let Some(prefix) = prefix {
            tracking.arg("BCAST").arg("PREFIX").arg(prefix);
        }
        tracking.exec_async(&mut connection).await?;
        Ok(Arc::new(Multiplexed(connection)))
    }

    /// A stream to the first of the addresses.
    async fn open(&self) -> RedisResult<Stream> {
        let none = (redis::ErrorKind::InvalidClientConfig, "there is no address");
        Ok(match self.addresses.first().ok_or(none)? {
            ConnectionAddr::Tcp(host, port) => Stream::Tcp(reach(host, *port).await?),
            #[cfg(feature = "tls")]
            ConnectionAddr::TcpTls { host, port, .. } => {
                let no_tls = (redis::ErrorKind::InvalidClientConfig, "the address has no TLS");
                let tls = self.tls.as_ref().ok_or(no_tls)?;
                let stream = reach(host, *port).await?;
                Stream::Other(Box::new(crate::remote::tls::connect(tls, host, stream).await?))
            }
            #[cfg(unix)]
            ConnectionAddr::Unix(path) => Stream::Unix(UnixStream::connect(path).await?),
            _ => return Err((redis::ErrorKind::InvalidClientConfig, "this kind of address").into()),
        })
    }

    /// The client asks rustls for the cryptography of the process, and has it chosen if there
    /// is none, where it makes connections by itself: to sentinels, and to a cluster.
    #[cfg(feature = "tls")]
    fn choose_cryptography(&self) {
        if self.tls.is_some()
            && !matches!(self.endpoint, Endpoint::Single)
            && rustls::crypto::ring::default_provider().install_default().is_ok()
        {
            log::cryptography_chosen(&self.describe());
        }
    }

    /// A connection to one server, with TLS of our own.
    #[cfg(feature = "tls")]
    async fn connect_over_tls(
        &self,
        tls: &Tls,
        protocol: ProtocolVersion,
        config: &AsyncConnectionConfig,
    ) -> RedisResult<MultiplexedConnection> {
        let info = self.info(0)?;
        let ConnectionAddr::TcpTls { host, port, .. } = info.addr() else {
            let plain = "the address has no TLS";
            return Err((redis::ErrorKind::InvalidClientConfig, plain).into());
        };
        let stream = TcpStream::connect((host.as_str(), *port)).await?;
        stream.set_nodelay(true)?;
        let stream = crate::remote::tls::connect(tls, host, stream).await?;
        let settings = self.settings(protocol);
        let connecting = MultiplexedConnection::new_with_config(&settings, stream, config.clone());
        let (connection, driver) = connecting.await?;
        // It ends with the connection.
        tokio::spawn(driver);
        Ok(connection)
    }

    async fn connect_one(
        &self,
        protocol: ProtocolVersion,
        config: &AsyncConnectionConfig,
    ) -> RedisResult<MultiplexedConnection> {
        if let Endpoint::Sentinel { service, sentinels, replica } = &self.endpoint {
            let server =
                if *replica { SentinelServerType::Replica } else { SentinelServerType::Master };
            let mut client = self.sentinel(service, sentinels, server, protocol)?;
            return client.get_async_connection_with_config(config).await;
        }
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return self.connect_over_tls(tls, protocol, config).await;
        }
        self.single(protocol)?.get_multiplexed_async_connection_with_config(config).await
    }

    fn settings(&self, protocol: ProtocolVersion) -> RedisConnectionInfo {
        let mut settings = RedisConnectionInfo::default()
            .set_db(self.db)
            .set_protocol(protocol)
            .set_lib_name("dogpile", env!("CARGO_PKG_VERSION"));
        if let Some(username) = &self.credentials.username {
            settings = settings.set_username(username);
        }
        if let Some(password) = &self.credentials.password {
            settings = settings.set_password(password);
        }
        settings
    }

    fn single(&self, protocol: ProtocolVersion) -> RedisResult<Client> {
        let info = self.info(0)?.set_redis_settings(self.settings(protocol));
        Client::open(info)
    }

    fn info(&self, index: usize) -> RedisResult<ConnectionInfo> {
        let address = self.addresses.get(index).cloned();
        let none = (redis::ErrorKind::InvalidClientConfig, "there is no address");
        address.ok_or(none)?.into_connection_info()
    }

    fn sentinel(
        &self,
        service: &str,
        sentinels: &Credentials,
        server: SentinelServerType,
        protocol: ProtocolVersion,
    ) -> RedisResult<SentinelClient> {
        let addresses = self.addresses.iter().cloned();
        let mut builder = SentinelClientBuilder::new(addresses, service, server)?
            .set_client_to_redis_db(self.db)
            .set_client_to_redis_protocol(protocol);
        if let Some(username) = &self.credentials.username {
            builder = builder.set_client_to_redis_username(username);
        }
        if let Some(password) = &self.credentials.password {
            builder = builder.set_client_to_redis_password(password);
        }
        if let Some(username) = &sentinels.username {
            builder = builder.set_client_to_sentinel_username(username);
        }
        if let Some(password) = &sentinels.password {
            builder = builder.set_client_to_sentinel_password(password);
        }
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            builder = builder
                .set_client_to_redis_tls_mode(TlsMode::Secure)
                .set_client_to_redis_certificates(certificates(tls))
                .set_client_to_sentinel_tls_mode(TlsMode::Secure)
                .set_client_to_sentinel_certificates(certificates(tls));
        }
        builder.build()
    }

    fn cluster(&self, read_from_replicas: bool) -> RedisResult<ClusterClient> {
        let nodes: RedisResult<Vec<ConnectionInfo>> =
            (0..self.addresses.len()).map(|index| self.info(index)).collect();
        let mut builder: ClusterClientBuilder = ClusterClient::builder(nodes?);
        if let Some(username) = &self.credentials.username {
            builder = builder.username(username);
        }
        if let Some(password) = &self.credentials.password {
            builder = builder.password(password);
        }
        if read_from_replicas {
            builder = builder.read_routing_strategy(RandomReplicaStrategy);
        }
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            builder = builder.tls(TlsMode::Secure).certs(certificates(tls));
        }
        builder.build()
    }
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

/// Time-outs are ours: the client's would need a runtime around its caller.
fn ours(config: AsyncConnectionConfig) -> AsyncConnectionConfig {
    config.set_response_timeout(None).set_connection_timeout(None)
}

/// Returns the address of a server, reached by TLS or not.
pub(super) fn address_of(host: &str, port: u16, tls: bool) -> ConnectionAddr {
    let host = host.to_owned();
    if tls {
        ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(host, port)
    }
}
