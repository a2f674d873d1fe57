//! Files that nobody writes to, as far as their metadata say.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::place::with_suffix;

/// A file that was still at some moment: without a log or a journal, and not changed a moment before.
///
/// Then all that is stored is in the file itself. Whoever writes makes a log first, and the file
/// is changed before that is gone. So what was read meanwhile is of one moment if the file
/// [lasts](Self::lasts) afterwards.
#[derive(Debug)]
pub(super) struct Still {
    path: PathBuf,
    found: State,
}

/// A file's identity, size, and the moments of its last changes.
type State = (u64, u64, u64, [i64; 4]);

/// File systems tell changes apart that are further from each other than a tick of the kernel's
/// clock, which takes 10 milliseconds at most.
const TOLD_APART: Duration = Duration::from_millis(30);

/// Some have whole seconds only, or every second one.
const SECONDS_APART: Duration = Duration::from_millis(2_030);

impl Still {
    /// `None` if somebody writes to the file, or may have a moment ago.
    pub(super) fn of(path: &Path) -> Option<Self> {
        // Where SQLite puts the log of a file that a link leads to.
        let path = fs::canonicalize(path).ok()?;
        let metadata = fs::metadata(&path).ok()?;
        let changed = metadata.modified().ok()?;
        let still = Self { path, found: state(&metadata) };
        (is_settled(changed, SystemTime::now()) && still.has_no_log()).then_some(still)
    }

    /// Has nobody written to the file?
    pub(super) fn lasts(&self) -> bool {
        self.has_no_log() && fs::metadata(&self.path).is_ok_and(|found| state(&found) == self.found)
    }

    fn has_no_log(&self) -> bool {
        ["-wal", "-journal"].iter().all(|suffix| {
            fs::metadata(with_suffix(&self.path, suffix)).map_or(true, |found| found.len() == 0)
        })
    }
}

/// Would a change at the moment `now` have another time than that at `changed`? It may come from the
/// future, after a clock was set back: a change would be before it.
fn is_settled(changed: SystemTime, now: SystemTime) -> bool {
    let of_epoch = changed.duration_since(SystemTime::UNIX_EPOCH);
    let has_parts = of_epoch.is_ok_and(|since| since.subsec_nanos() != 0);
    let between = now.duration_since(changed).unwrap_or_else(|future| future.duration());
    between >= if has_parts { TOLD_APART } else { SECONDS_APART }
}

#[cfg(unix)]
fn state(found: &Metadata) -> State {
    use std::os::unix::fs::MetadataExt;

    let times = [found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()];
    (found.dev(), found.ino(), found.len(), times)
}

#[cfg(not(unix))]
fn state(found: &Metadata) -> State {
    let changed = found.modified().ok();
    let since = changed.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
    let nanos = since.map_or(0, |since| since.as_nanos());
    (0, 0, found.len(), [i64::try_from(nanos).unwrap_or(i64::MAX), 0, 0, 0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(age: Duration) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("cache.db");
        fs::write(&path, "12").unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
        (directory, path)
    }

    #[test]
    fn a_file_that_others_write_to_is_not_still() {
        let hour = Duration::from_secs(3_600);
        let (_directory, path) = file(hour);
        let still = Still::of(&path).unwrap();
        assert!(still.lasts());
        for suffix in ["-wal", "-journal"] {
            fs::write(with_suffix(&path, suffix), "1").unwrap();
            assert!(!still.lasts() && Still::of(&path).is_none(), "{suffix}");
            fs::remove_file(with_suffix(&path, suffix)).unwrap();
        }
        assert!(still.lasts());
        // As large as before, and the log is gone again.
        fs::write(&path, "34").unwrap();
        assert!(!still.lasts());
    }

    #[test]
    fn what_may_change_within_the_same_tick_is_not_still() {
        let at = |millis| SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
        for (changed, now, settled) in [
            (10_001, 10_001, false),
            (10_001, 10_011, false),
            (10_001, 10_041, true),
            // The clock was set back.
            (10_001, 9_991, false),
            (10_001, 8_000, true),
            // The file system may know whole seconds only.
            (10_000, 10_999, false),
            (10_000, 11_999, false),
            (10_000, 12_100, true),
        ] {
            assert_eq!(is_settled(at(changed), at(now)), settled, "{changed} {now}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn the_log_of_a_file_behind_a_link_is_beside_the_file() {
        let (directory, path) = file(Duration::from_secs(3_600));
        let link = directory.path().join("link.db");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(Still::of(&link).is_some());
        fs::write(with_suffix(&path, "-wal"), "1").unwrap();
        assert!(Still::of(&link).is_none());
    }
}
