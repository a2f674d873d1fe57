//! Settings: a flat map from dotted names to texts, wherever it came from, and how what it holds
//! is taken from it. What the names are is the business of those who take them: `config` for a
//! region, the `settings` of each backend for that.

mod arguments;
mod coerce;
mod error;

use std::collections::BTreeMap;
use std::fmt;

#[cfg(any(feature = "redis", feature = "memcached"))]
pub(crate) use arguments::FileContent;
pub(crate) use arguments::may_be_secret;
pub use arguments::{Arguments, FromSetting};
pub use coerce::{Scalar, coerce};
pub use error::ConfigError;

/// A flat map of settings. Names match regardless of case, and a hyphen is an underscore:
/// `[Users]` in a file and `DOGPILE__USERS__EXPIRATION_TIME` in the environment mean one region.
/// Its `Debug` form shows names only: values may be secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Settings(BTreeMap<String, Setting>);

/// A setting, by its name as names are compared.
#[derive(Clone, PartialEq, Eq)]
struct Setting {
    /// The name as it was written.
    name: String,
    value: String,
}

/// Returns a name as names are compared: its characters, one by one.
fn compared(name: &str) -> String {
    name.chars().map(compared_char).collect()
}

fn compared_char(c: char) -> char {
    let mut lower = c.to_lowercase();
    match (c, lower.next(), lower.next()) {
        ('-', ..) => '_',
        (_, Some(lower), None) => lower,
        _ => c,
    }
}

impl Settings {
    /// The settings in a TOML document: the names of nested tables are joined
    /// by dots, the items of arrays by commas.
    ///
    /// ```
    /// # use dogpile::config::Settings;
    /// let settings = Settings::from_toml(
    ///     r#"
    ///     [cache.users]
    ///     backend = "memory"
    ///     expiration_time = "5m"
    ///     arguments.max_entries = 10_000
    ///     "#,
    /// )?;
    /// assert_eq!(settings.get("cache.users.arguments.max_entries"), Some("10000"));
    /// # Ok::<(), dogpile::config::ConfigError>(())
    /// ```
    #[cfg(feature = "toml")]
    pub fn from_toml(document: &str) -> Result<Self, ConfigError> {
        let table: toml::Table = document
            .parse()
            .map_err(|error| ConfigError::Toml { message: place_and_message(document, &error) })?;
        let mut settings = Self::default();
        settings.flatten("", toml::Value::Table(table));
        Ok(settings)
    }

    #[cfg(feature = "toml")]
    fn flatten(&mut self, name: &str, value: toml::Value) {
        match value {
            toml::Value::Table(table) => {
                for (key, value) in table {
                    let dot = if name.is_empty() { "" } else { "." };
                    self.flatten(&format!("{name}{dot}{key}"), value);
                }
            }
            toml::Value::Array(items) => {
                let items: Vec<String> = items.into_iter().map(item).collect();
                self.insert(name.to_owned(), items.join(","));
            }
            value => self.insert(name.to_owned(), text(value)),
        }
    }

    fn insert(&mut self, name: String, value: String) {
        self.0.insert(compared(&name), Setting { name, value });
    }

    /// The settings in the environment variables that begin with `prefix` and
    /// two underscores; two underscores are a dot, and case does not matter.
    ///
    /// `DOGPILE__USERS__EXPIRATION_TIME=5m` is `users.expiration_time` to
    /// `Settings::from_env("DOGPILE")`. Variables that are not Unicode are
    /// left out.
    pub fn from_env(prefix: &str) -> Self {
        let unicode = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self::from_variables(prefix, std::env::vars_os().filter_map(unicode))
    }

    /// As [`from_env`](Self::from_env), from variables given here.
    pub fn from_variables(
        prefix: &str,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let prefix = format!("{}__", prefix.to_lowercase());
        let setting = |(name, value): (String, String)| {
            let name = name.to_lowercase();
            let name = name.strip_prefix(&prefix)?.replace("__", ".");
            Some((name, value))
        };
        variables.into_iter().filter_map(setting).collect()
    }

    /// These settings and `other`'s; where both have one, `other`'s, unless that is empty: an
    /// empty setting is an absent one.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        for (name, setting) in other.0 {
            if !setting.value.trim().is_empty() || !self.0.contains_key(&name) {
                self.0.insert(name, setting);
            }
        }
        self
    }

    /// The settings whose names begin with `prefix`, without it.
    #[must_use]
    pub fn with_prefix(&self, prefix: &str) -> Self {
        let (prefix, length) = (compared(prefix), prefix.chars().count());
        let below = |(name, setting): (&String, &Setting)| {
            let name = name.strip_prefix(&prefix)?.to_owned();
            let written = setting.name.chars().skip(length).collect();
            Some((name, Setting { name: written, value: setting.value.clone() }))
        };
        Self(self.0.iter().filter_map(below).collect())
    }

    /// The settings whose names do not begin with `prefix`: what is left when those of all
    /// regions are taken away belongs to none, such as a region whose name is misspelled.
    ///
    /// ```
    /// # use dogpile::config::Settings;
    /// let settings = Settings::from_iter([("users.backend", "memory"), ("usres.expiration_time", "5m")]);
    /// let left = settings.without_prefix("users.");
    /// assert_eq!(left.iter().next(), Some(("usres.expiration_time", "5m")));
    /// ```
    #[must_use]
    pub fn without_prefix(&self, prefix: &str) -> Self {
        let prefix = compared(prefix);
        let others = self.0.iter().filter(|(name, _)| !name.starts_with(&prefix));
        Self(others.map(|(name, setting)| (name.clone(), setting.clone())).collect())
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(&compared(name)).map(|setting| setting.value.as_str())
    }

    /// All names, as they were written, and values, ordered by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.values().map(|setting| (setting.name.as_str(), setting.value.as_str()))
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn remove(&mut self, name: &str) -> Option<String> {
        self.0.remove(&compared(name)).map(|setting| setting.value)
    }
}

/// Returns the position and the kind of an error. The line itself may hold a password.
#[cfg(feature = "toml")]
fn place_and_message(document: &str, error: &toml::de::Error) -> String {
    let at = error.span().map_or(0, |span| span.start);
    let before = document.get(..at).unwrap_or("");
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
    format!("line {line}, column {column}: {}", error.message())
}

/// An item of an array. A host and its port are also written as Python has them, `["h", 26379]`
/// or with names.
#[cfg(feature = "toml")]
fn item(value: toml::Value) -> String {
    let (host, port) = match &value {
        toml::Value::Array(parts) => match &parts[..] {
            [toml::Value::String(host), toml::Value::Integer(port)] => (host, *port),
            _ => return text(value),
        },
        toml::Value::Table(parts) => match (parts.get("host"), parts.get("port")) {
            (Some(toml::Value::String(host)), Some(toml::Value::Integer(port)))
                if parts.len() == 2 =>
            {
                (host, *port)
            }
            _ => return text(value),
        },
        _ => return text(value),
    };
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(feature = "toml")]
fn text(value: toml::Value) -> String {
    match value {
        toml::Value::String(text) => text,
        other => other.to_string(),
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Settings {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(settings: I) -> Self {
        let mut all = Self::default();
        for (name, value) in settings {
            all.insert(name.into(), value.into());
        }
        all
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(|(name, _)| name)).finish()
    }
}
