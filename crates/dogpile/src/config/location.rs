//! Backends by location: a path or a URL, as commands and short settings
//! name them.

use std::fmt::{self, Write as _};
use std::path::Path;

use super::registry;
use crate::backend::AnyBackend;
use crate::settings::{ConfigError, Settings, may_be_secret};
use crate::url;

/// The place of a backend: a path (`cache.db`), or a URL whose scheme is a registered backend's
/// name (`file:cache.db`, `memory:`).
///
/// What follows a `?` in a URL are further arguments: `file:cache.db?max_bytes=1000000&retention=7d`.
/// In URLs `%20` is a blank and so on, in paths everything means itself. The rest of a URL is
/// the argument `filename` of the file backend, and the whole of it, without the question
/// mark's part, the argument `url` of others.
///
/// Its `Display` form is fit for messages: it has no user, no password and no setting that
/// may be a secret.
///
/// ```
/// use dogpile::config::Location;
///
/// let location = Location::parse("redis://ada:secret@host/2?lock_timeout=5s")?;
/// assert_eq!(location.to_string(), "redis://***@host/2?lock_timeout=5s");
/// # Ok::<(), dogpile::config::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct Location {
    backend: String,
    settings: Settings,
    shown: String,
}

impl Location {
    /// Reads a path or a URL. Nothing is opened.
    ///
    /// # Errors
    ///
    /// If it is a URL that is written wrongly.
    pub fn parse(location: &str) -> Result<Self, ConfigError> {
        let location = location.trim();
        let scheme = location.split_once(':').filter(|(scheme, rest)| is_scheme(scheme, rest));
        let Some((scheme, rest)) = scheme else {
            refuse_server(location)?;
            refuse_slip(location)?;
            return Ok(Self {
                backend: "file".to_owned(),
                settings: Settings::from_iter([("filename", location)]),
                shown: location.to_owned(),
            });
        };
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut settings = read_query(scheme, query)?;
        match scheme {
            "file" | "dbm" => {
                // Both `file:relative` and `file:///absolute` are written.
                let filename = decoded(scheme, place.strip_prefix("//").unwrap_or(place))?;
                settings = settings.merge(Settings::from_iter([("filename", filename)]));
            }
            _ if place.is_empty() => {}
            _ => {
                let url = format!("{scheme}:{place}");
                settings = settings.merge(Settings::from_iter([("url", url)]));
            }
        }
        let shown = if place.starts_with("//") && !place.contains('@') && query.contains('@') {
            // A login with a question mark looks like this.
            format!("{scheme}://***")
        } else {
            format!("{scheme}:{}{}", without_login(place), shown_query(&settings))
        };
        Ok(Self { backend: scheme.to_owned(), settings, shown })
    }

    /// The path of the file, if it is one.
    pub fn path(&self) -> Option<&Path> {
        let is_file = matches!(self.backend.as_str(), "file" | "dbm");
        self.settings.get("filename").filter(|_| is_file).map(Path::new)
    }

    /// The same with an argument of the backend's, unless the location has one of that name.
    #[must_use]
    pub fn or_setting(mut self, name: &str, value: &str) -> Self {
        self.settings = Settings::from_iter([(name, value)]).merge(self.settings);
        self
    }

    /// Opens the backend.
    ///
    /// # Errors
    ///
    /// If there is no backend of this name, an argument is unknown or malformed, or the
    /// backend cannot be opened.
    pub fn open(&self) -> Result<AnyBackend, ConfigError> {
        registry::backend(&self.backend, self.settings.clone())
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Location({self})")
    }
}

/// Opens the backend at a [`Location`].
///
/// ```
/// let backend = dogpile::config::backend_at("memory:?max_entries=100")?;
/// # let _ = backend;
/// let error = dogpile::config::backend_at("radis://localhost").unwrap_err();
/// assert!(error.to_string().contains("known are"));
/// # Ok::<(), dogpile::config::ConfigError>(())
/// ```
///
/// # Errors
///
/// See [`Location::parse`] and [`Location::open`].
pub fn backend_at(location: &str) -> Result<AnyBackend, ConfigError> {
    Location::parse(location)?.open()
}

/// Names and values of what follows the question mark.
fn read_query(scheme: &str, query: &str) -> Result<Settings, ConfigError> {
    let mut settings = Settings::default();
    for setting in query.split('&').filter(|setting| !setting.is_empty()) {
        let (name, value) = setting.split_once('=').unwrap_or((setting, "true"));
        let name = url::setting_name(name).map_err(|why| malformed(scheme, why))?;
        let value = decoded(scheme, value)?;
        if settings.get(&name).is_some() {
            return Err(malformed(scheme, &format!("`{name}` is there twice")));
        }
        settings = settings.merge(Settings::from_iter([(name, value)]));
    }
    Ok(settings)
}

fn decoded(scheme: &str, text: &str) -> Result<String, ConfigError> {
    url::decode(text).map_err(|why| malformed(scheme, why))
}

/// Refuses a URL without its colon: as a path it would be shown, with its password.
fn refuse_slip(path: &str) -> Result<(), ConfigError> {
    match path.split_once("//") {
        Some((scheme, _)) if registry::is_registered(scheme) => {
            Err(malformed(scheme, "missing `:` before `//`"))
        }
        _ => Ok(()),
    }
}

fn malformed(scheme: &str, why: &str) -> ConfigError {
    ConfigError::Location { scheme: scheme.to_owned(), message: why.to_owned() }
}

/// Refuses a server without a scheme, such as `cache.internal:6379`: a file of that name would
/// be nobody's wish, and a cache that no other machine shares.
fn refuse_server(location: &str) -> Result<(), ConfigError> {
    let Some((host, port)) = location.rsplit_once(':') else { return Ok(()) };
    let is_path = location.contains(['/', '\\']) || location.starts_with('.');
    if is_path || host.is_empty() || port.parse::<u16>().is_err() {
        return Ok(());
    }
    // A login is nobody's business.
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let why = "a server's location begins with a scheme, such as `redis://`; that of a file of this name begins with `./`";
    Err(malformed(host, why))
}

/// A place without who logs in there.
fn without_login(place: &str) -> String {
    match place.rsplit_once('@') {
        Some((before, hosts)) => {
            let slashes = if before.starts_with("//") { "//" } else { "" };
            format!("{slashes}***@{hosts}")
        }
        None => place.to_owned(),
    }
}

fn shown_query(settings: &Settings) -> String {
    let mut shown = String::new();
    for (name, value) in settings.iter().filter(|(name, _)| !["filename", "url"].contains(name)) {
        let value = if may_be_secret(name) { "***" } else { value };
        let mark = if shown.is_empty() { '?' } else { '&' };
        let _ = write!(shown, "{mark}{name}={value}");
    }
    shown
}

/// A single letter is a drive of Windows's, and a colon may stand in a path.
fn is_scheme(scheme: &str, rest: &str) -> bool {
    let named = scheme.len() > 1
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.' | '_'));
    named && (rest.starts_with("//") || registry::is_registered(scheme))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(location: &str) -> String {
        backend_at(location).unwrap_err().to_string()
    }

    #[test]
    fn schemes_are_backends_and_what_follows_their_arguments() {
        assert!(backend_at("null:").is_ok());
        let unknown = error("radis://user:secret@host/0");
        assert!(unknown.contains("`radis`") && unknown.contains("known are"), "{unknown}");
        assert!(!unknown.contains("secret"));
        let slip = error("null//:secret@host/0");
        assert!(slip.contains("missing `:`") && !slip.contains("secret"), "{slip}");
        assert!(error("null:?color=red").contains("color"));
        assert!(error("null://somewhere").contains("url"));
    }

    #[test]
    fn a_server_without_a_scheme_is_not_taken_for_a_file() {
        for location in ["localhost:6379", "10.0.0.1:11211", "cache.internal:6379", "[::1]:6379"] {
            let error = Location::parse(location).unwrap_err().to_string();
            assert!(error.contains("scheme"), "{location}: {error}");
        }
        let login = Location::parse("ada:secret@localhost:6379").unwrap_err().to_string();
        assert!(login.contains("scheme") && !login.contains("secret"), "{login}");
        for path in ["./localhost:6379", "a/b:1", "c:d.db", "x:70000", "notes.db", ":1"] {
            let location = Location::parse(path).unwrap();
            assert_eq!(location.path(), Some(Path::new(path)));
        }
    }

    #[test]
    fn no_secret_is_shown() {
        for (location, shown) in [
            ("redis://:pass@h:1/2?lock_prefix=x", "redis://***@h:1/2?lock_prefix=x"),
            ("redis://h?password=p&db=1", "redis://h?db=1&password=***"),
            ("rediss+cluster://u:p%40@a,b", "rediss+cluster://***@a,b"),
            ("redis://:pa?s=s@h", "redis://***"),
            ("redis://u:1234?s=s@h&db=1", "redis://***"),
            ("/var/cache/x.db", "/var/cache/x.db"),
        ] {
            assert_eq!(Location::parse(location).unwrap().to_string(), shown);
        }
        let cut = Location::parse("redis://u:1234?secret@h").unwrap_err().to_string();
        assert!(cut.contains("%3F") && !cut.contains("secret"), "{cut}");
        assert!(Location::parse("redis://h?a=%zz").unwrap_err().to_string().contains("percent"));
        assert!(Location::parse("redis://h?a=1&a=2").unwrap_err().to_string().contains("twice"));
    }

    #[cfg(feature = "file")]
    #[test]
    fn paths_and_file_urls_are_files() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("with:colon?.db").display().to_string();
        assert_eq!(file_of(&path), path);
        let plain = directory.path().join("plain.db").display().to_string();
        assert_eq!(file_of(&format!("file:{plain}")), plain);
        let encoded = path.replace('?', "%3F");
        assert_eq!(file_of(&format!("file:{encoded}")), path);
        assert_eq!(file_of(&format!("file://{plain}?max_entries=5")), plain);
        assert!(error(&format!("file:{plain}?max_entries=many")).contains("max_entries"));
    }

    #[cfg(feature = "file")]
    fn file_of(location: &str) -> String {
        let backend = backend_at(location).unwrap();
        backend.actual::<crate::backend::File>().unwrap().path().display().to_string()
    }
}
