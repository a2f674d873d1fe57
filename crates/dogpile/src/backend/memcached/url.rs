//! URLs of memcached servers.
//!
//! | URL | what |
//! |---|---|
//! | `memcached://[user:password@]host[:port],host[:port]` | servers |
//! | `memcacheds://...` | the same, by TLS |
//! | `memcached+binary://...`, `memcacheds+binary://...` | the same, by the binary protocol |
//! | `memcached+unix:///path` | a server by its socket |

use super::connect::{Address, Target};
use super::protocol::Protocol;
use crate::backend::BackendError;
use crate::remote::prefix::KeyPrefix;
use crate::remote::tls::Tls;
use crate::url::{Host, Url};

const PORT: u16 = 11211;

/// Returns the servers of `url`. Errors do not repeat it: it may hold a password.
/// Beside that, the key prefix that it asks for.
pub(super) fn parse(url: &str) -> Result<(Target, KeyPrefix), BackendError> {
    read(url).map_err(|why| BackendError::other(format!("invalid memcached URL: {why}")))
}

fn read(url: &str) -> Result<(Target, KeyPrefix), String> {
    let url = Url::parse(url)?;
    let mut prefix = KeyPrefix::default();
    let (scheme, protocol) = match url.scheme.strip_suffix("+binary") {
        Some(scheme) => (scheme, Protocol::Binary),
        None => (url.scheme.as_str(), Protocol::Meta),
    };
    let (addresses, tls) = match scheme {
        "memcached+unix" => (vec![socket(&url)?], None),
        "memcached" => (hosts(&url)?, None),
        "memcacheds" => (hosts(&url)?, Some(Tls::default())),
        other => return Err(format!("unknown scheme `{other}`")),
    };
    let (mut username, mut password) = (url.username, url.password);
    for (name, value) in url.query {
        match name.as_str() {
            "username" => username = Some(value),
            "password" => password = Some(value),
            "key_prefix" => prefix = KeyPrefix::new(&value),
            name => {
                let known =
                    "`key_prefix`, `username` and `password`; others are set on the builder";
                return Err(format!("unknown setting `{name}`; known are {known}"));
            }
        }
    }
    if username.is_some() {
        // With a name, both are sent.
        password = password.or_else(|| Some(String::new()));
    }
    Ok((Target { addresses, protocol, username, password, tls }, prefix))
}

fn socket(url: &Url) -> Result<Address, String> {
    if url.hosts.is_empty() && url.path.len() > 1 {
        Ok(Address::Unix(url.path.clone().into()))
    } else {
        Err("write the socket's absolute path: `memcached+unix:///run/memcached.sock`".to_owned())
    }
}

fn hosts(url: &Url) -> Result<Vec<Address>, String> {
    match (&url.hosts[..], &url.segments()[..]) {
        ([], _) => Err("no host".to_owned()),
        (hosts, []) => Ok(hosts.iter().cloned().map(address_of).collect()),
        _ => Err("nothing follows the hosts".to_owned()),
    }
}

fn address_of(host: Host) -> Address {
    Address::Tcp { host: host.name, port: host.port.unwrap_or(PORT) }
}

/// `host`, `host:port`, `[address]:port`, or the path of a socket.
pub(super) fn address(place: &str) -> Result<Address, BackendError> {
    let place = place.trim();
    if place.starts_with('/') {
        return Ok(Address::Unix(place.into()));
    }
    let host = Host::parse(place);
    host.map(address_of).map_err(|why| BackendError::other(format!("invalid address: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_servers() {
        let (target, _) = parse("memcached://a,b:1,[::1]:2,[::1]").unwrap();
        let named = r#"["a:11211", "b:1", "[::1]:2", "[::1]:11211"]"#;
        assert_eq!(format!("{target:?}"), named);
        let (target, _) = parse("memcacheds+binary://ada:se@cret@a/").unwrap();
        assert_eq!(target.protocol, Protocol::Binary);
        assert!(target.tls.is_some());
        assert_eq!(target.username.as_deref(), Some("ada"));
        assert_eq!(target.password.as_deref(), Some("se@cret"));
        assert_eq!(format!("{target:?}"), r#"["a:11211"]"#);
        let (socket, _) = parse("memcached+unix:///run/memcached.sock").unwrap();
        assert_eq!(socket.addresses, [Address::Unix("/run/memcached.sock".into())]);
    }

    #[test]
    fn mistakes_are_named_and_secrets_are_not() {
        for (url, word) in [
            ("host", "://"),
            ("memcache://u:secret@h", "memcache"),
            ("memcached://u:secret@", "no host"),
            ("memcached://u:secret@h:port", "port"),
            ("memcached://u:secret@h/1", "nothing follows"),
            ("memcached://u:secret@h?max_item_bytes=1", "unknown setting `max_item_bytes`"),
        ] {
            let error = parse(url).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains(word) && !error.contains("secret"), "{url}: {error}");
        }
    }
}
