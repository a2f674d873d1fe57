//! The syntax that all URLs have in common, whichever backend they are for.
//!
//! ```text
//! scheme://[user[:password]@]host[:port],host[:port][/segment/segment][?name=value]
//! ```

use std::fmt;

/// The parts of a URL, decoded.
#[derive(Clone, Default)]
#[cfg_attr(
    not(any(feature = "redis", feature = "memcached")),
    expect(dead_code, reason = "no backend has URLs")
)]
pub(crate) struct Url {
    pub(crate) scheme: String,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    /// The part between `://` and the path, without the login, not decoded.
    pub(crate) hosts: Vec<Host>,
    /// The part after the hosts, decoded.
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
}

/// A server by name or number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) port: Option<u16>,
}

/// Nothing else of it is fit for a log.
impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Url").field("scheme", &self.scheme).finish_non_exhaustive()
    }
}

#[cfg(any(feature = "redis", feature = "memcached"))]
impl Url {
    /// Reads a URL. Errors do not repeat it: it may hold a password.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url.trim().split_once("://").ok_or("missing `://`")?;
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = match place.find('/') {
            Some(at) => place.split_at(at),
            None => (place, ""),
        };
        if path.contains('@') {
            return Err("`@` after the first `/`: in a password `/` is written `%2F`, in a path `@` is written `%40`".to_owned());
        }
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Some(login), hosts),
            None => (None, authority),
        };
        let (username, password) = read_login(login.unwrap_or(""))?;
        Ok(Self {
            scheme: scheme.to_owned(),
            username,
            password,
            hosts: hosts_of(hosts)?,
            path: decode(path)?,
            query: read_query(query)?,
        })
    }

    /// The parts of the path between slashes.
    pub(crate) fn segments(&self) -> Vec<&str> {
        self.path.split('/').filter(|segment| !segment.is_empty()).collect()
    }
}

/// Several servers, separated by commas, with or without blanks.
#[cfg(any(feature = "redis", feature = "memcached"))]
pub(crate) fn hosts_of(text: &str) -> Result<Vec<Host>, String> {
    text.split(',').map(str::trim).filter(|host| !host.is_empty()).map(Host::parse).collect()
}

#[cfg(any(feature = "redis", feature = "memcached"))]
fn read_login(login: &str) -> Result<(Option<String>, Option<String>), String> {
    let some = |text: &str| Ok::<_, String>(Some(decode(text)?).filter(|text| !text.is_empty()));
    match login.split_once(':') {
        Some((username, password)) => Ok((some(username)?, some(password)?)),
        None => Ok((some(login)?, None)),
    }
}

#[cfg(any(feature = "redis", feature = "memcached"))]
fn read_query(query: &str) -> Result<Vec<(String, String)>, String> {
    let mut read: Vec<(String, String)> = Vec::new();
    for setting in query.split('&').filter(|setting| !setting.is_empty()) {
        let (name, value) = setting.split_once('=').unwrap_or((setting, "true"));
        let (name, value) = (setting_name(name)?, decode(value)?);
        if read.iter().any(|(known, _)| *known == name) {
            return Err(format!("`{name}` is there twice"));
        }
        read.push((name, value));
    }
    Ok(read)
}

#[cfg(any(feature = "redis", feature = "memcached"))]
impl Host {
    /// Reads `host`, `host:port`, `[address]:port`, or an IPv6 address without a port.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.parse::<std::net::Ipv6Addr>().is_ok() {
            return Ok(Self { name: text.to_owned(), port: None });
        }
        let (name, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (name, port) = rest.split_once(']').ok_or("`[` without `]` in an address")?;
                let port = match port.strip_prefix(':') {
                    None if !port.is_empty() => return Err("invalid port".to_owned()),
                    port => port,
                };
                (address_of(name)?, port)
            }
            None => match text.split_once(':') {
                Some((name, port)) => (check_name(name)?.to_owned(), Some(port)),
                None => (check_name(text)?.to_owned(), None),
            },
        };
        let port =
            port.map(|port| port.parse().ok().filter(|port| *port > 0).ok_or("invalid port"));
        Ok(Self { name, port: port.transpose()? })
    }
}

/// Returns the address that is written in brackets. A zone may follow it, whose percent sign is
/// `%25` in URLs.
#[cfg(any(feature = "redis", feature = "memcached"))]
fn address_of(text: &str) -> Result<String, String> {
    let (address, zone) = match text.split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (text, None),
    };
    address.parse::<std::net::Ipv6Addr>().map_err(|_| "invalid IPv6 address")?;
    Ok(match zone {
        None => address.to_owned(),
        Some(zone) => {
            let encoded = zone.strip_prefix("25").filter(|zone| !zone.is_empty());
            format!("{address}%{}", encoded.unwrap_or(zone))
        }
    })
}

/// Refuses what cannot be a host's name: parts of other spellings, such as a list's.
#[cfg(any(feature = "redis", feature = "memcached"))]
fn check_name(name: &str) -> Result<&str, String> {
    let may_be = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
    match name {
        "" => Err("missing host".to_owned()),
        _ if name.chars().all(may_be) => Ok(name),
        _ => Err("invalid host: write `host:port`, several separated by commas".to_owned()),
    }
}

/// Reads the name of a setting. No setting has `@` in its name: a password with `?` was cut.
pub(crate) fn setting_name(text: &str) -> Result<String, &'static str> {
    if text.contains('@') {
        return Err("a `?` in a login is written `%3F`");
    }
    decode(text)
}

/// Writes a path so that it means itself within a URL.
#[cfg(all(feature = "config", feature = "memcached"))]
pub(crate) fn encode(path: &str) -> String {
    path.replace('%', "%25").replace('?', "%3F").replace('@', "%40")
}

/// Replaces `%20` by a blank, and so on.
pub(crate) fn decode(text: &str) -> Result<String, &'static str> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let digit = |at: usize| after.get(at).and_then(|&digit| char::from(digit).to_digit(16));
        let (Some(high), Some(low)) = (digit(0), digit(1)) else {
            return Err("two hexadecimal digits follow a percent sign: `%` itself is `%25`");
        };
        bytes.push(u8::try_from(high * 16 + low).unwrap_or_default());
        rest = &after[2..];
    }
    String::from_utf8(bytes).map_err(|_| "what the percent signs stand for is not UTF-8")
}

#[cfg(all(test, any(feature = "redis", feature = "memcached")))]
mod tests {
    use super::*;

    fn hosts(url: &str) -> Vec<(String, Option<u16>)> {
        let hosts = Url::parse(url).unwrap().hosts.into_iter();
        hosts.map(|host| (host.name, host.port)).collect()
    }

    #[test]
    fn all_parts_are_decoded_and_blanks_do_not_matter() {
        let url = Url::parse("s://a%2Fb:c%40%3a@h/x%20y/2?n%61me=%26").unwrap();
        assert_eq!((url.username.as_deref(), url.password.as_deref()), (Some("a/b"), Some("c@:")));
        assert_eq!(
            (url.segments(), &*url.query),
            (vec!["x y", "2"], &[("name".into(), "&".into())][..])
        );
        let two = [("a".to_owned(), Some(1)), ("b".to_owned(), None)];
        assert_eq!(hosts("s://a:1, b"), two);
        assert_eq!(hosts("s://u:p@a:1 , b,"), two);
        let six =
            [("::1".to_owned(), Some(7_000)), ("::1".into(), None), ("fe80::1%eth0".into(), None)];
        assert_eq!(hosts("s://[::1]:7000,::1,[fe80::1%eth0]"), six);
        let zones = ["fe80::1%eth0", "fe80::1%1", "fe80::1%25"].map(|zone| (zone.to_owned(), None));
        assert_eq!(hosts("s://[fe80::1%25eth0],[fe80::1%251],[fe80::1%25]"), zones);
    }

    #[test]
    fn mistakes_are_named_and_secrets_are_not() {
        for (url, word) in [
            ("host", "missing `://`"),
            ("s://u:secret@h:port", "invalid port"),
            ("s://u:secret@h:0", "invalid port"),
            ("s://u:secret@h:70000", "invalid port"),
            ("s://u:secret@[::1", "without `]`"),
            ("s://u:secret@[secret]", "IPv6"),
            ("s://[[\"secret\", 26379]]", "without `]`"),
            ("s://a b", "invalid host"),
            ("s://u:secret%zz@h", "percent"),
            ("s://u:sec/ret@h", "%2F"),
            ("s://u:1?secret@h", "%3F"),
            ("s:///run/redis@1.sock", "%40"),
            ("s://h?a=1&a=2", "twice"),
            ("s://:1", "missing host"),
        ] {
            let error = Url::parse(url).unwrap_err();
            assert!(error.contains(word) && !error.contains("secret"), "{url}: {error}");
        }
    }
}
