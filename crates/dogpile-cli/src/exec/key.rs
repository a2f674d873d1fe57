//! The key that an output is remembered under: a given name, or a hash of
//! everything that the output depends on.

use std::ffi::OsStr;
use std::fmt::Write;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::Options;
use crate::error::CommandError;

/// The key of an invocation: `exec:NAME`, or `exec:PROGRAM:` and a hash of
/// command, arguments and what else was said to matter.
pub(super) fn of(options: &Options) -> Result<String, CommandError> {
    if let Some(name) = &options.key {
        return Ok(format!("exec:{name}"));
    }
    let mut parts = Parts(Sha256::new());
    for word in &options.command {
        parts.add("word", word.as_encoded_bytes());
    }
    if options.cwd {
        let here = std::env::current_dir();
        let here = here.map_err(|error| format!("the current directory: {error}"))?;
        parts.add("cwd", here.as_os_str().as_encoded_bytes());
    }
    for name in &options.env {
        parts.add("env", name.as_encoded_bytes());
        match std::env::var_os(name) {
            Some(value) => parts.add("is", value.as_encoded_bytes()),
            None => parts.add("unset", b""),
        }
    }
    for path in &options.file {
        parts.add("file", path.as_os_str().as_encoded_bytes());
        parts.add_content(path)?;
    }
    let program = options.command.first().map_or("", |program| name_of(program));
    Ok(format!("exec:{program}:{}", parts.hex()))
}

/// A readable part of the key, for those who list keys.
fn name_of(program: &OsStr) -> &str {
    Path::new(program).file_name().and_then(OsStr::to_str).unwrap_or("")
}

/// A hash that knows where one part ends and the next begins.
struct Parts(Sha256);

impl Parts {
    fn add(&mut self, kind: &str, part: &[u8]) {
        self.0.update(kind);
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part);
    }

    /// A file that is not there is as good a state as any content.
    fn add_content(&mut self, path: &Path) -> Result<(), CommandError> {
        let mut content = Sha256::new();
        match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.add("absent", b""),
            Err(error) => return Err(format!("`{}`: {error}", path.display()).into()),
            Ok(mut file) => {
                let mut buffer = vec![0; 64 * 1024];
                loop {
                    let read = file.read(&mut buffer);
                    match read.map_err(|error| format!("`{}`: {error}", path.display()))? {
                        0 => break,
                        length => content.update(&buffer[..length]),
                    }
                }
                self.add("content", &content.finalize());
            }
        }
        Ok(())
    }

    fn hex(self) -> String {
        hex(&self.0.finalize())
    }
}

/// Returns a short name of `key` in `cache`, the same in every process: two caches with one
/// key have two.
pub(super) fn identity(cache: &str, key: &str) -> String {
    /// As much as fits into the name of a thread; others of one machine at one moment differ.
    const DIGITS: usize = 12;
    let mut parts = Parts(Sha256::new());
    parts.add("cache", cache.as_bytes());
    parts.add("key", key.as_bytes());
    let mut identity = parts.hex();
    identity.truncate(DIGITS);
    identity
}

fn hex(bytes: &[u8]) -> String {
    let mut hex = String::new();
    for byte in bytes {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}
