//! The output of before, which stands in for a command that fails (`--stale-if-error`).

use std::time::Duration;

use dogpile::CachedValue;
use dogpile::backend::AnyBackend;
use dogpile::clock::{Clock, SystemClock};

use super::record::{Ending, Record};
use crate::error::CommandError;
use crate::inspect::printable;
use crate::show;

/// The time without another attempt, where none was chosen.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// As much of what the command said of its failure is told.
const LONGEST_HINT: usize = 200;

/// The origin of the warning that an output stands in for a failure. It is about the output, not the
/// cache, and shown whatever else is wrong.
pub(crate) const WARNING: &str = module_path!();

/// A run that failed before anything of it was passed on.
pub(super) struct Failed {
    pub(super) failure: Failure,
    /// The output that may stand in for it.
    pub(super) earlier: CachedValue<Record>,
}

pub(super) enum Failure {
    Ended(Record),
    NotStarted(CommandError),
}

impl Failure {
    /// Says what has failed, in half a line.
    fn words(&self) -> String {
        match self {
            Self::NotStarted(error) => printable(&error.to_string()),
            Self::Ended(record) => match record.ending {
                Ending::TimedOut => "the command ran for too long and was ended".to_owned(),
                Ending::Signalled(signal) => format!("signal {signal} ended the command"),
                Ending::Exited => {
                    format!("the command failed with code {}{}", record.code, hint(&record.stderr))
                }
            },
        }
    }
}

/// The last line that the command wrote to its standard error.
fn hint(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty());
    line.map_or(String::new(), |line| {
        let line: String = line.chars().take(LONGEST_HINT).collect();
        format!(" ({})", printable(&line))
    })
}

/// Warns that an output of this age stands in for `failure`; for that of another process, if this
/// one did not run the command.
pub(super) fn warn(failure: Option<&Failure>, age: Duration) {
    let what = failure.map_or_else(|| "the command failed a moment ago".to_owned(), Failure::words);
    let age = show::duration(age);
    tracing::warn!(target: WARNING, "{what}; its output of {age} ago stands in for it");
}

/// Has the command of the output under `stored` failed so lately that nobody tries again?
pub(super) fn rests(backend: &AnyBackend, stored: &str, retry_after: Option<Duration>) -> bool {
    let Ok(Some(entry)) = pollster::block_on(backend.get(stored)) else { return false };
    let rest = retry_after.unwrap_or(RETRY_AFTER).as_secs_f64();
    // A moment of a clock that is far ahead says nothing.
    entry.metadata.failed_at().is_some_and(|failed| (SystemClock.now() - failed).abs() <= rest)
}
