//! Settings on their way to whoever takes them: each is asked for by name and
//! type, and what nobody asked for is an error.

use std::fmt;
use std::time::Duration;

use super::{ConfigError, Scalar, Settings, coerce};

/// The arguments of a backend, as its constructor takes them.
pub struct Arguments {
    owner: String,
    settings: Settings,
    asked: Vec<String>,
}

/// A type that a setting can be read as.
pub trait FromSetting: Sized {
    /// A description for messages: "a whole number".
    const EXPECTED: &'static str;

    /// Reads `text`; `None` if it is something else.
    fn from_setting(text: &str) -> Option<Self>;
}

impl Arguments {
    /// The arguments of `owner`.
    pub fn new(owner: &str, settings: Settings) -> Self {
        Self { owner: owner.to_owned(), settings, asked: Vec::new() }
    }

    /// The argument `name`; `None` if it is absent, empty or `none`.
    pub fn take<T: FromSetting>(&mut self, name: &str) -> Result<Option<T>, ConfigError> {
        self.asked.push(name.to_owned());
        let Some(text) = self.settings.remove(name) else { return Ok(None) };
        if text.trim().is_empty() {
            return Ok(None);
        }
        if let Some(value) = T::from_setting(&text) {
            return Ok(Some(value));
        }
        if coerce(&text) == Scalar::None {
            return Ok(None);
        }
        Err(ConfigError::Invalid {
            owner: self.owner.clone(),
            name: name.to_owned(),
            expected: T::EXPECTED.to_owned(),
            found: if may_be_secret(name) { "what it is".to_owned() } else { format!("`{text}`") },
        })
    }

    /// The argument `name`, which must be there.
    pub fn require<T: FromSetting>(&mut self, name: &str) -> Result<T, ConfigError> {
        let missing = || ConfigError::Missing { owner: self.owner.clone(), name: name.to_owned() };
        let missing = missing();
        self.take(name)?.ok_or(missing)
    }

    /// The comma-separated items of the argument `name`.
    pub fn take_list(&mut self, name: &str) -> Vec<String> {
        self.asked.push(name.to_owned());
        let text = self.settings.remove(name).unwrap_or_default();
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }

    /// The arguments whose names begin with `prefix`, without it.
    pub(crate) fn take_group(&mut self, prefix: &str) -> Settings {
        self.asked.push(format!("{prefix}*"));
        let group = self.settings.with_prefix(prefix);
        for (name, _) in group.iter() {
            self.settings.remove(&format!("{prefix}{name}"));
        }
        group
    }

    /// Returns an error that names the arguments that nobody took, if there are any.
    pub fn finish(self) -> Result<(), ConfigError> {
        self.check()
    }

    /// Returns an error that names the arguments that nobody has taken yet, if there are
    /// any: for what has effects, such as a file that is created, once all are taken.
    ///
    /// # Errors
    ///
    /// [`ConfigError::UnknownArguments`].
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.settings.is_empty() {
            return Ok(());
        }
        let names = self.settings.iter().map(|(name, _)| name.to_owned()).collect();
        let (owner, known) = (self.owner.clone(), self.asked.clone());
        Err(ConfigError::UnknownArguments { owner, names, known })
    }
}

impl fmt::Debug for Arguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arguments")
            .field("owner", &self.owner)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

pub(crate) fn may_be_secret(name: &str) -> bool {
    let name = name.to_lowercase();
    ["password", "secret", "token", "key", "url", "auth", "user"].iter().any(|s| name.contains(s))
}

macro_rules! numbers {
    ($($type:ty: $expected:literal),*) => {$(
        impl FromSetting for $type {
            const EXPECTED: &'static str = $expected;

            fn from_setting(text: &str) -> Option<Self> {
                text.trim().parse().ok()
            }
        }
    )*};
}

numbers! {
    u16: "a whole number from 0 to 65535",
    u32: "a whole number, not negative",
    u64: "a whole number, not negative",
    usize: "a whole number, not negative",
    i64: "a whole number",
    f64: "a number"
}

impl FromSetting for bool {
    const EXPECTED: &'static str = "`true` or `false`";

    fn from_setting(text: &str) -> Option<Self> {
        match coerce(text) {
            Scalar::Bool(value) => Some(value),
            Scalar::Int(0) => Some(false),
            Scalar::Int(1) => Some(true),
            _ => None,
        }
    }
}

impl FromSetting for String {
    const EXPECTED: &'static str = "a text";

    fn from_setting(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

impl FromSetting for Duration {
    const EXPECTED: &'static str = "a duration: a number of seconds, or with a unit such as `5m`";

    fn from_setting(text: &str) -> Option<Self> {
        match coerce(text) {
            Scalar::Int(seconds) => u64::try_from(seconds).ok().map(Self::from_secs),
            Scalar::Float(seconds) => Self::try_from_secs_f64(seconds).ok(),
            Scalar::Text(text) => humantime::parse_duration(&text).ok(),
            Scalar::Bool(_) | Scalar::None => None,
        }
    }
}

/// The content of a file.
#[cfg(any(feature = "redis", feature = "memcached"))]
pub(crate) struct FileContent(pub(crate) Vec<u8>);

#[cfg(any(feature = "redis", feature = "memcached"))]
impl FromSetting for FileContent {
    const EXPECTED: &'static str = "the path of a file that can be read";

    fn from_setting(text: &str) -> Option<Self> {
        if coerce(text) == Scalar::None {
            return None;
        }
        std::fs::read(text.trim()).ok().map(Self)
    }
}
