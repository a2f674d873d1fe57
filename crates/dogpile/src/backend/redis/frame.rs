//! The stored form of an entry, and reading it back.

use std::borrow::Cow;

use bytes::Bytes;
use redis::{Cmd, Value, cmd};

use super::Shared;
use super::connection::Answer;
use super::link::Link;
use crate::backend::{BackendError, IfChanged, Version};
use crate::value::{Entry, Malformed};

/// The stored form of an entry.
pub(super) struct Frame {
    pub(super) bytes: Bytes,
    /// Its time to live, in milliseconds; none for one that ends by a change only.
    pub(super) retention: Option<u64>,
}

impl Frame {
    /// The retention as the scripts have it.
    pub(super) fn retention(&self) -> Bytes {
        self.retention.unwrap_or(0).to_string().into()
    }

    /// The command that stores it under `key`.
    pub(super) fn storing(&self, key: &str) -> Cmd {
        let mut set = cmd("SET");
        set.arg(key).arg(&self.bytes[..]);
        if let Some(milliseconds) = self.retention {
            set.arg("PX").arg(milliseconds);
        }
        set
    }
}

/// Returns the entry that a read has found. An error may be about the kind of the key.
pub(super) fn entry_of(link: &Link, answer: Answer) -> Result<Option<Entry>, BackendError> {
    match answer {
        Ok(answer) => Ok(entry(answer)),
        Err(error) if error.code() == Some("WRONGTYPE") => Ok(entry(Value::Okay)),
        Err(error) => Err(link.backend_error(&error)),
    }
}

/// Returns the entry that a read has found. A key of another kind is a value that cannot be
/// read.
fn entry(answer: Value) -> Option<Entry> {
    match answer {
        Value::Nil => None,
        Value::BulkString(frame) => Some(Entry::from_frame(&frame.into())),
        _ => Some(Entry::unreadable(Malformed::new("the key holds no string"))),
    }
}

/// Compares what a read has found with the version that was asked about.
pub(super) fn if_changed(
    link: &Link,
    answer: Answer,
    since: Option<Version>,
    is_followed: bool,
) -> Result<IfChanged, BackendError> {
    let version = match &answer {
        Ok(Value::BulkString(frame)) => Some(Version::of_bytes(frame)),
        _ => None,
    };
    if version.is_some() && version == since {
        return Ok(IfChanged::NotModified { is_followed });
    }
    Ok(IfChanged::compare(entry_of(link, answer)?, version, since, is_followed))
}

impl Shared {
    /// Returns the stored form of `entry`.
    pub(super) fn frame(&self, entry: &Entry) -> Result<Frame, BackendError> {
        let refused = || BackendError::refused("Redis keeps bytes, not objects");
        let bytes = entry.to_frame().ok_or_else(refused)?;
        let retention = self
            .options
            .retention
            .or(entry.metadata.retention())
            .filter(|_| !entry.metadata.kept)
            .map(|time| {
                let milliseconds = time.as_millis().max(1);
                u64::try_from(milliseconds).unwrap_or(u64::MAX)
            });
        Ok(Frame { bytes, retention })
    }
}

/// The number of keys that are read by one command: the server does nothing else meanwhile.
const TOGETHER: usize = 4_096;

/// Reads several keys, most at once.
pub(super) async fn get_multi(
    link: &Link,
    keys: &[Cow<'_, str>],
) -> Result<Vec<Option<Entry>>, BackendError> {
    let mut entries = Vec::with_capacity(keys.len());
    for keys in keys.chunks(TOGETHER) {
        let mut get = cmd("MGET");
        for key in keys {
            get.arg(&**key);
        }
        match link.read(&get).await?.map_err(|error| link.backend_error(&error))? {
            Value::Array(answers) => entries.extend(answers.into_iter().map(entry)),
            _ => return Err(BackendError::other("MGET is not answered by a list")),
        }
    }
    Ok(entries)
}
