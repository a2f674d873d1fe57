//! The arguments of the file backend, Python's `dbm` ones among them.

use super::{Damage, File};
use crate::backend::Named;
use crate::settings::{Arguments, ConfigError, FromSetting, Scalar, coerce};

impl Named for File {
    const NAMES: &'static [&'static str] = &["file", "dbm"];

    fn from_arguments(_name: &str, arguments: &mut Arguments) -> Result<Self, ConfigError> {
        let filename: String = arguments.require("filename")?;
        let mut builder = Self::builder(filename);
        if let Some(bytes) = arguments.take("max_bytes")? {
            builder = builder.max_bytes(bytes);
        }
        if let Some(entries) = arguments.take("max_entries")? {
            builder = builder.max_entries(entries);
        }
        if let Some(age) = arguments.take("retention")? {
            builder = builder.retention(age);
        }
        if let Some(timeout) = arguments.take("busy_timeout")? {
            builder = builder.busy_timeout(timeout);
        }
        if let Some(on_damage) = arguments.take::<Damage>("on_damage")? {
            builder = builder.on_damage(on_damage);
        }
        if let Some(Mode(mode)) = arguments.take("mode")? {
            builder = builder.mode(mode);
        }
        if let Some(yes) = arguments.take("read_only")? {
            builder = builder.read_only(yes);
        }
        if let Some(yes) = arguments.take("distributed_lock")? {
            builder = builder.creation_locks(yes);
        }
        match arguments.take::<Switch>("dogpile_lockfile")? {
            Some(Switch::Off) => builder = builder.creation_locks(false),
            Some(Switch::Path(path)) => builder = builder.lock_file(path),
            Some(Switch::On) | None => {}
        }
        // SQLite keeps readers and writers apart by itself.
        arguments.take::<Switch>("rw_lockfile")?;
        arguments.check()?;
        builder.open().map_err(|error| ConfigError::of_backend("file", &error))
    }
}

/// The permissions of a file.
struct Mode(u32);

impl FromSetting for Mode {
    const EXPECTED: &'static str = "the permissions of a file in octal, such as `0600`";

    fn from_setting(text: &str) -> Option<Self> {
        u32::from_str_radix(text.trim(), 8).ok().filter(|mode| *mode <= 0o777).map(Self)
    }
}

/// The value of Python's lock file arguments: a path, or whether there is one.
enum Switch {
    On,
    Off,
    Path(String),
}

impl FromSetting for Switch {
    const EXPECTED: &'static str = "a path, or `false`";

    fn from_setting(text: &str) -> Option<Self> {
        Some(match coerce(text) {
            Scalar::Bool(true) => Self::On,
            Scalar::Bool(false) => Self::Off,
            Scalar::None => return None,
            _ => Self::Path(text.to_owned()),
        })
    }
}

impl FromSetting for Damage {
    const EXPECTED: &'static str = "`move_aside` or `refuse`";

    fn from_setting(text: &str) -> Option<Self> {
        match text.trim() {
            "move_aside" => Some(Self::MoveAside),
            "refuse" => Some(Self::Refuse),
            _ => None,
        }
    }
}
