//! Backends by location: a path or a URL, as commands and short settings
//! name them.

use super::{ConfigError, Settings, registry};
use crate::backend::AnyBackend;

/// The backend at `location`: a path (`cache.db`), or a URL whose scheme is a
/// registered backend's name (`file:cache.db`, `memory:`).
///
/// What follows a `?` in a URL are further arguments, as they stand:
/// `file:cache.db?max_bytes=1000000&max_age=7d`. A path is taken as it is. The
/// rest of a URL is the argument `filename` of the file backend, and the whole
/// of it, without the question mark's part, the argument `url` of others.
///
/// ```
/// let backend = dogpile::config::backend_at("memory:?max_entries=100")?;
/// # let _ = backend;
/// let error = dogpile::config::backend_at("radis://localhost").unwrap_err();
/// assert!(error.to_string().contains("known are"));
/// # Ok::<(), dogpile::config::ConfigError>(())
/// ```
pub fn backend_at(location: &str) -> Result<AnyBackend, ConfigError> {
    let Some((scheme, _)) =
        location.split_once(':').filter(|(scheme, rest)| is_scheme(scheme, rest))
    else {
        return registry::backend("file", Settings::from_iter([("filename", location)]));
    };
    let (place, arguments) = location.split_once('?').unwrap_or((location, ""));
    let arguments = arguments.split('&').filter(|argument| !argument.is_empty());
    let arguments =
        arguments.map(|argument| argument.split_once('=').unwrap_or((argument, "true")));
    let mut settings = Settings::from_iter(arguments);
    let rest = &place[scheme.len() + 1..];
    match scheme {
        "file" | "dbm" => {
            // Both `file:relative` and `file:///absolute` are written.
            let filename = rest.strip_prefix("//").unwrap_or(rest);
            settings = settings.merge(Settings::from_iter([("filename", filename)]));
        }
        _ if rest.is_empty() => {}
        _ => settings = settings.merge(Settings::from_iter([("url", place)])),
    }
    registry::backend(scheme, settings)
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
        assert!(error("null:?color=red").contains("color"));
        assert!(error("null://somewhere").contains("url"));
    }

    #[cfg(feature = "file")]
    #[test]
    fn paths_and_file_urls_are_files() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("with:colon?.db").display().to_string();
        assert_eq!(file_of(&path), path);
        let plain = directory.path().join("plain.db").display().to_string();
        assert_eq!(file_of(&format!("file:{plain}")), plain);
        assert_eq!(file_of(&format!("file://{plain}?max_entries=5")), plain);
        assert!(error(&format!("file:{plain}?max_entries=many")).contains("max_entries"));
    }

    #[cfg(feature = "file")]
    fn file_of(location: &str) -> String {
        let backend = backend_at(location).unwrap();
        backend.actual::<crate::backend::File>().unwrap().path().display().to_string()
    }
}
