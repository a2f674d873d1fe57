//! Warnings on standard error: a file moved aside, a value not stored.

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use crate::late_log::LateLog;

/// The warnings given so far, where one line is all that may be printed.
#[derive(Default)]
struct Said {
    /// This command has spoken for itself.
    is_told: bool,
    /// The library's first warning.
    kept: Vec<u8>,
    /// What the library says from now on is not kept.
    is_over: bool,
}

static SAID: Mutex<Said> = Mutex::new(Said { is_told: false, kept: Vec::new(), is_over: false });

fn said() -> MutexGuard<'static, Said> {
    SAID.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins to show warnings. Of a command that stands before another one only one is shown,
/// unless more is asked for by `DOGPILE_LOG`: one cause has many consequences.
pub(crate) fn show(once: bool) {
    let asked = std::env::var("DOGPILE_LOG").ok().filter(|level| !level.is_empty());
    let level = match asked.as_deref() {
        Some("debug") => Level::DEBUG,
        Some("error") => Level::ERROR,
        _ => Level::WARN,
    };
    let is_one_line = once && asked.is_none();
    let log = LateLog::new(level, move |level| {
        let log = tracing_subscriber::fmt().with_max_level(level).with_ansi(false).without_time();
        if is_one_line {
            Box::new(log.with_target(false).with_writer(OneLine).finish())
        } else {
            Box::new(log.with_writer(io::stderr).finish())
        }
    });
    // There is no other yet.
    let _ = tracing::subscriber::set_global_default(log);
}

/// Keeps no further warning of the library's. What becomes of a command that did not come to its
/// end is said by this command's exit code and its own messages.
pub(crate) fn no_more() {
    said().is_over = true;
}

/// Shows what the library said, if nothing else was.
pub(crate) fn end() {
    let mut said = said();
    if !said.is_told {
        // Nobody is left to be told if this fails.
        let _ = io::stderr().write_all(&said.kept);
    }
    said.kept.clear();
}

/// Writes the first line of this command's own at once, and keeps the first of the library's
/// for the end: what is wrong with a server it says again and again, and this command once.
struct OneLine;

enum Line {
    Shown,
    Kept,
    Dropped,
}

impl<'a> MakeWriter<'a> for OneLine {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line::Kept
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Line {
        let mut said = said();
        if event.target() == crate::exec::WARNING {
            said.is_told = true;
            return Line::Shown;
        }
        if said.is_told {
            return Line::Dropped;
        }
        // The library's events are called by its name alone.
        said.is_told = event.target() != "dogpile";
        if said.is_told {
            Line::Shown
        } else if said.kept.is_empty() && !said.is_over {
            Line::Kept
        } else {
            Line::Dropped
        }
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Shown => io::stderr().write(bytes),
            Self::Kept => said().kept.write(bytes),
            Self::Dropped => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
