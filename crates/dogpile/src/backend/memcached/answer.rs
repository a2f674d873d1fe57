//! The meaning of answers: what was found, and what is no sensible answer.

use super::item;
use super::protocol::Reply;
use crate::backend::{BackendError, IfChanged};
use crate::value::Entry;

/// The answer to a request.
pub(super) type Answer = Result<Reply, BackendError>;

/// An answer that says that something went wrong, or nothing sensible.
pub(super) fn strange(reply: &Reply) -> BackendError {
    match reply {
        Reply::Failed(why) if why.to_lowercase().contains("too large") => BackendError::refused(
            format!("the server refuses the value: {why} (what was stored under the key is gone)"),
        ),
        Reply::Failed(why) => BackendError::other(format!("the server refuses: {why}")),
        _ => BackendError::other("the server's answer does not fit the request"),
    }
}

/// Returns the entry that a read has found.
pub(super) fn found(answer: Answer) -> Result<Option<Entry>, BackendError> {
    match answer? {
        Reply::Item { flags, value, .. } => Ok(Some(item::unpack(flags, &value))),
        Reply::Missing => Ok(None),
        other => Err(strange(&other)),
    }
}

/// Returns what a read has found that is not to be compared, or is another version.
pub(super) fn read(answer: Answer) -> Result<IfChanged, BackendError> {
    let version = match &answer {
        Ok(Reply::Item { number, .. }) => number.version(),
        _ => None,
    };
    Ok(IfChanged::Read { entry: found(answer)?, version, is_followed: false })
}

/// Checks that a change was made, or found nothing to change.
pub(super) fn changed(answer: Answer) -> Result<(), BackendError> {
    match answer? {
        Reply::Done { .. } | Reply::Missing => Ok(()),
        other => Err(strange(&other)),
    }
}
