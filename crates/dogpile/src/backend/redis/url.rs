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

use redis::ConnectionAddr;

use super::connect::{Credentials, Endpoint, Target, address_of};
use crate::backend::BackendError;
use crate::remote::prefix::KeyPrefix;
use crate::remote::tls::Tls;
use crate::url::Url;

const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// The meaning of a URL's scheme.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Single,
    Socket,
    Sentinel,
    Cluster,
}

/// Returns the servers of `url`. Errors do not repeat it: it may hold a password.
/// Beside that, the key prefix that it asks for.
pub(super) fn parse(url: &str) -> Result<(Target, KeyPrefix), BackendError> {
    read(url).map_err(|why| BackendError::other(format!("invalid Redis URL: {why}")))
}

fn read(url: &str) -> Result<(Target, KeyPrefix), String> {
    let url = Url::parse(url)?;
    let mut prefix = KeyPrefix::default();
    let (kind, tls) = kind_of(&url.scheme)?;
    let (endpoint, db) = endpoint_of(kind, &url)?;
    let addresses = addresses_of(kind, tls, &url)?;
    let mut credentials =
        Credentials { username: url.username.clone(), password: url.password.clone() };
    let mut by_query = None;
    for (name, value) in &url.query {
        match name.as_str() {
            "db" => by_query = Some(number(value)?),
            "username" | "user" => credentials.username = Some(value.clone()),
            "password" | "pass" => credentials.password = Some(value.clone()),
            "key_prefix" => prefix = KeyPrefix::new(value),
            name => {
                let known =
                    "`db`, `key_prefix`, `username` and `password`; others are set on the builder";
                return Err(format!("unknown setting `{name}`; known are {known}"));
            }
        }
    }
    if db.is_some() && by_query.is_some() && db != by_query {
        return Err("two different databases".to_owned());
    }
    let db = db.or(by_query).unwrap_or(0);
    if kind == Kind::Cluster && db != 0 {
        return Err("a cluster has no databases but 0".to_owned());
    }
    let tls = tls.then(Tls::default);
    Ok((Target { endpoint, addresses, credentials, db, tls }, prefix))
}

fn kind_of(scheme: &str) -> Result<(Kind, bool), String> {
    let plain = scheme.replace("valkey", "redis");
    let (server, kind) = plain.split_once('+').unwrap_or((&plain, ""));
    let kind = match (server, kind) {
        ("unix", "") | ("redis", "unix") => return Ok((Kind::Socket, false)),
        ("redis" | "rediss", "") => Kind::Single,
        ("redis" | "rediss", "sentinel") => Kind::Sentinel,
        ("redis" | "rediss", "cluster") => Kind::Cluster,
        _ => return Err(format!("unknown scheme `{scheme}`")),
    };
    let tls = server == "rediss";
    if tls && cfg!(not(feature = "tls")) {
        return Err("TLS needs the feature `tls` of dogpile".to_owned());
    }
    Ok((kind, tls))
}

/// The kind of server, and the database that the path names.
fn endpoint_of(kind: Kind, url: &Url) -> Result<(Endpoint, Option<i64>), String> {
    let segments = url.segments();
    match (kind, &segments[..]) {
        (Kind::Socket, _) | (Kind::Single, []) => Ok((Endpoint::Single, None)),
        (Kind::Single, [db]) => Ok((Endpoint::Single, Some(number(db)?))),
        (Kind::Sentinel, []) => Err("name the service after the hosts".to_owned()),
        (Kind::Sentinel, [service, db @ ..]) if db.len() < 2 => {
            let service = (*service).to_owned();
            let db = db.first().map(|db| number(db)).transpose()?;
            let sentinels = Credentials::default();
            Ok((Endpoint::Sentinel { service, sentinels, replica: false }, db))
        }
        (Kind::Cluster, []) => Ok((Endpoint::Cluster { read_from_replicas: false }, None)),
        (Kind::Cluster, [db]) => {
            Ok((Endpoint::Cluster { read_from_replicas: false }, Some(number(db)?)))
        }
        _ => Err("the path has too many parts".to_owned()),
    }
}

fn addresses_of(kind: Kind, tls: bool, url: &Url) -> Result<Vec<ConnectionAddr>, String> {
    if kind == Kind::Socket {
        return if url.hosts.is_empty() && url.path.len() > 1 {
            Ok(vec![ConnectionAddr::Unix(url.path.clone().into())])
        } else {
            Err("write the socket's absolute path: `unix:///run/redis.sock`".to_owned())
        };
    }
    match &url.hosts[..] {
        [] => return Err("no host".to_owned()),
        [_, _, ..] if kind == Kind::Single => {
            return Err("more than one host: use `redis+cluster` or `redis+sentinel`".to_owned());
        }
        _ => {}
    }
    let port = if kind == Kind::Sentinel { SENTINEL_PORT } else { PORT };
    let address = |host: &crate::url::Host| address_of(&host.name, host.port.unwrap_or(port), tls);
    Ok(url.hosts.iter().map(address).collect())
}

fn number(db: &str) -> Result<i64, String> {
    let number = db.parse::<u32>().map(i64::from);
    number.map_err(|_| "the database is not a number".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(url: &str) -> String {
        parse(url).unwrap().0.describe()
    }

    #[test]
    fn urls_name_servers_of_every_kind() {
        assert_eq!(described("redis://host"), "host:6379");
        #[cfg(feature = "tls")]
        assert_eq!(described("valkeys://user:secret@host:1/2"), "host:1");
        assert_eq!(described("unix:///run/redis.sock"), "/run/redis.sock");
        let (sentinel, _) = parse("redis+sentinel://:pass@a:1,b/main/3").unwrap();
        assert_eq!(sentinel.describe(), "main by the sentinels a:1, b:26379");
        assert_eq!((sentinel.db, sentinel.credentials.password.as_deref()), (3, Some("pass")));
        assert_eq!(described("rediss+cluster://a,b:7001"), "the cluster of a:6379, b:7001");
    }

    #[test]
    fn all_kinds_of_urls_are_read_alike() {
        let password = |url| parse(url).unwrap().0.credentials.password;
        for url in [
            "redis://:a%2Fb@h",
            "redis+sentinel://:a%2Fb@h/main",
            "redis+cluster://:a%2Fb@h",
            "unix://:a%2Fb@/s",
            "unix:///s?password=a%2Fb",
        ] {
            assert_eq!(password(url).as_deref(), Some("a/b"), "{url}");
        }
        assert_eq!(described("redis+cluster://[::1]:7000, b:2"), "the cluster of ::1:7000, b:2");
        assert_eq!(described("redis://::1"), described("redis://[::1]"));
        assert_eq!(
            (parse("unix:///s?db=2").unwrap().0.db, parse("redis://h?db=2").unwrap().0.db),
            (2, 2)
        );
        assert_eq!(described("unix:///my%20socket"), "/my socket");
    }

    #[test]
    fn mistakes_are_named_and_secrets_are_not() {
        for (url, word) in [
            ("host", "://"),
            ("radis://u:secret@h", "radis"),
            ("redis+sentinel://u:secret@h:1", "service"),
            ("redis+cluster://u:secret@", "no host"),
            ("redis+cluster://u:secret@h:port", "port"),
            ("redis+cluster://u:secret@h/1", "no databases"),
            ("redis://u:secret@h?lock_timeout=1", "unknown setting `lock_timeout`"),
            ("redis://u:secret@h/1?db=2", "two different"),
            ("redis://u:secret@a,b", "more than one"),
            ("unix://relative.sock", "absolute"),
            ("redis://u:secret@h:port", ""),
            ("redis://u:secret@h/db", ""),
        ] {
            let error = parse(url).map(|(target, _)| target.describe()).unwrap_err().to_string();
            assert!(error.contains(word) && !error.contains("secret"), "{url}: {error}");
        }
    }
}
