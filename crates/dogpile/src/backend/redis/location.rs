//! URLs of Redis and Valkey servers.
//!
//! | URL | what |
//! |---|---|
//! | `redis://[user:password@]host[:port][/db]` | a server |
//! | `redis+unix:///path?db=0`, `unix:///path` | a server by its socket |
//! | `redis+sentinel://[user:password@]host:port,host:port/service[/db]` | the master of a service |
//! | `redis+cluster://[user:password@]host:port,host:port` | a cluster |
//!
//! `rediss` in place of `redis` is TLS, `valkey` and `valkeys` say the same.

use redis::{ConnectionAddr, IntoConnectionInfo};

use super::endpoint::{Credentials, Endpoint, Target};
use crate::backend::BackendError;
use crate::remote::tls::Tls;

const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// What `url` names. Errors do not repeat it: it may hold a password.
pub(super) fn parse(url: &str) -> Result<Target, BackendError> {
    let wrong = |why: &str| BackendError::other(format!("this is no Redis URL: {why}"));
    let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("there is no `://`"))?;
    let scheme = scheme.replace("valkey", "redis");
    let (kind, tls) = match scheme.as_str() {
        "redis+sentinel" => ("sentinel", false),
        "rediss+sentinel" => ("sentinel", true),
        "redis+cluster" => ("cluster", false),
        "rediss+cluster" => ("cluster", true),
        "redis" | "rediss" | "redis+unix" | "unix" => return parse_single(&scheme, rest),
        other => return Err(wrong(&format!("the scheme `{other}` is unknown"))),
    };
    let (credentials, places) = match rest.rsplit_once('@') {
        Some((credentials, places)) => (parse_credentials(credentials), places),
        None => (Credentials::default(), rest),
    };
    let mut parts = places.split('/');
    let port = if kind == "sentinel" { SENTINEL_PORT } else { PORT };
    let hosts = parts.next().unwrap_or_default().split(',').filter(|host| !host.is_empty());
    let addresses = hosts.map(|host| address(host, port, tls)).collect::<Result<Vec<_>, _>>()?;
    if addresses.is_empty() {
        return Err(wrong("there is no host"));
    }
    let endpoint = if kind == "sentinel" {
        let service = parts.next().filter(|service| !service.is_empty());
        let service = service.ok_or_else(|| wrong("name the service after the hosts"))?.to_owned();
        Endpoint::Sentinel { service, sentinels: Credentials::default(), replica: false }
    } else {
        Endpoint::Cluster { read_from_replicas: false }
    };
    let db = match parts.next().filter(|db| !db.is_empty()) {
        Some(db) => db.parse().map_err(|_| wrong("the database is no number"))?,
        None => 0,
    };
    Ok(Target { endpoint, addresses, credentials, db, tls: tls.then(Tls::default) })
}

fn parse_single(scheme: &str, rest: &str) -> Result<Target, BackendError> {
    if scheme == "rediss" && cfg!(not(feature = "tls")) {
        return Err(BackendError::other("TLS needs the feature `tls` of dogpile"));
    }
    let scheme = if scheme == "redis" || scheme == "rediss" { scheme } else { "redis+unix" };
    let info = format!("{scheme}://{rest}").into_connection_info();
    let wrong = |error: redis::RedisError| {
        let what = error.detail().map_or_else(|| error.category().to_owned(), str::to_owned);
        BackendError::other(format!("this is no Redis URL: {what}"))
    };
    let info = info.map_err(wrong)?;
    let settings = info.redis_settings();
    let credentials = Credentials {
        username: settings.username().map(str::to_owned),
        password: settings.password().map(str::to_owned),
    };
    Ok(Target {
        endpoint: Endpoint::Single,
        addresses: vec![info.addr().clone()],
        credentials,
        db: settings.db(),
        tls: (scheme == "rediss").then(Tls::default),
    })
}

/// `user:password`, `:password` or `password`.
fn parse_credentials(text: &str) -> Credentials {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    match text.split_once(':') {
        Some((username, password)) => {
            Credentials { username: some(username), password: some(password) }
        }
        None => Credentials { username: None, password: some(text) },
    }
}

/// `host` or `host:port`.
pub(super) fn address(
    text: &str,
    default_port: u16,
    tls: bool,
) -> Result<ConnectionAddr, BackendError> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => {
            let port = port.parse();
            (host, port.map_err(|_| BackendError::other(format!("`{text}` has no good port")))?)
        }
        None => (text, default_port),
    };
    Ok(address_of(host, port, tls))
}

pub(super) fn address_of(host: &str, port: u16, tls: bool) -> ConnectionAddr {
    let host = host.to_owned();
    if tls {
        ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(host, port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(url: &str) -> String {
        parse(url).unwrap().describe()
    }

    #[test]
    fn urls_name_servers_of_every_kind() {
        assert_eq!(described("redis://host"), "host:6379");
        #[cfg(feature = "tls")]
        assert_eq!(described("valkeys://user:secret@host:1/2"), "host:1");
        assert_eq!(described("unix:///run/redis.sock"), "/run/redis.sock");
        let sentinel = parse("redis+sentinel://:pass@a:1,b/main/3").unwrap();
        assert_eq!(sentinel.describe(), "main by the sentinels a:1, b:26379");
        assert_eq!((sentinel.db, sentinel.credentials.password.as_deref()), (3, Some("pass")));
        assert_eq!(described("rediss+cluster://a,b:7001"), "the cluster of a:6379, b:7001");
    }

    #[test]
    fn mistakes_are_named_and_secrets_are_not() {
        for (url, word) in [
            ("host", "://"),
            ("radis://u:secret@h", "radis"),
            ("redis+sentinel://u:secret@h:1", "service"),
            ("redis+cluster://u:secret@", "no host"),
            ("redis+cluster://u:secret@h:port", "port"),
            ("redis://u:secret@h:port", ""),
            ("redis://u:secret@h/db", ""),
        ] {
            let error = parse(url).map(|target| target.describe()).unwrap_err().to_string();
            assert!(error.contains(word) && !error.contains("secret"), "{url}: {error}");
        }
    }
}
