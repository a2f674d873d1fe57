//! URLs of memcached servers.
//!
//! | URL | what |
//! |---|---|
//! | `memcached://[user:password@]host[:port],host[:port]` | servers |
//! | `memcacheds://...` | the same, by TLS |
//! | `memcached+binary://...`, `memcacheds+binary://...` | the same, by the binary protocol |
//! | `memcached+unix:///path` | a server by its socket |

use super::endpoint::{Address, Target};
use super::protocol::Protocol;
use crate::backend::BackendError;
use crate::remote::tls::Tls;

const PORT: u16 = 11211;

/// What `url` names. Errors do not repeat it: it may hold a password.
pub(super) fn parse(url: &str) -> Result<Target, BackendError> {
    let wrong = |why: &str| BackendError::other(format!("this is no memcached URL: {why}"));
    let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("there is no `://`"))?;
    let (scheme, protocol) = match scheme.strip_suffix("+binary") {
        Some(scheme) => (scheme, Protocol::Binary),
        None => (scheme, Protocol::Meta),
    };
    let (credentials, places) = match rest.rsplit_once('@') {
        Some((credentials, places)) => (Some(credentials), places),
        None => (None, rest),
    };
    let (username, password) = credentials.map_or((None, None), |credentials| {
        let (username, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        (Some(username.to_owned()), Some(password.to_owned()))
    });
    let (addresses, tls) = match scheme {
        "memcached+unix" => (vec![Address::Unix(places.into())], None),
        "memcached" => (hosts(places)?, None),
        "memcacheds" => (hosts(places)?, Some(Tls::default())),
        other => return Err(wrong(&format!("the scheme `{other}` is unknown"))),
    };
    Ok(Target { addresses, protocol, username, password, tls })
}

fn hosts(places: &str) -> Result<Vec<Address>, BackendError> {
    let places = places.trim_end_matches('/').split(',').filter(|place| !place.is_empty());
    let addresses = places.map(address).collect::<Result<Vec<_>, _>>()?;
    if addresses.is_empty() {
        return Err(BackendError::other("this is no memcached URL: there is no host"));
    }
    Ok(addresses)
}

/// `host`, `host:port`, `[address]:port`, or the path of a socket.
pub(super) fn address(place: &str) -> Result<Address, BackendError> {
    let place = place.trim();
    if place.starts_with('/') {
        return Ok(Address::Unix(place.into()));
    }
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            let wrong = |_| BackendError::other(format!("`{place}` has no good port"));
            (host, port.parse().map_err(wrong)?)
        }
        _ => (place, PORT),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok(Address::Tcp { host, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_servers() {
        let target = parse("memcached://a,b:1,[::1]:2,[::1]").unwrap();
        let named = r#"["a:11211", "b:1", "[::1]:2", "[::1]:11211"]"#;
        assert_eq!(format!("{target:?}"), named);
        let target = parse("memcacheds+binary://ada:se@cret@a/").unwrap();
        assert_eq!(target.protocol, Protocol::Binary);
        assert!(target.tls.is_some());
        assert_eq!(target.username.as_deref(), Some("ada"));
        assert_eq!(target.password.as_deref(), Some("se@cret"));
        assert_eq!(format!("{target:?}"), r#"["a:11211"]"#);
        let socket = parse("memcached+unix:///run/memcached.sock").unwrap();
        assert_eq!(socket.addresses, [Address::Unix("/run/memcached.sock".into())]);
    }

    #[test]
    fn mistakes_are_named_and_secrets_are_not() {
        for (url, word) in [
            ("host", "://"),
            ("memcache://u:secret@h", "memcache"),
            ("memcached://u:secret@", "no host"),
            ("memcached://u:secret@h:port", "port"),
        ] {
            let error = parse(url).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains(word) && !error.contains("secret"), "{url}: {error}");
        }
    }
}
