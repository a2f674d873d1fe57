//! The arguments of most calls, read without clap, which takes longer than SQLite takes to open a
//! file. All others are left to clap: it knows every option, and says what is wrong.

use std::ffi::OsString;

use super::{EXPIRATION, MAX_OUTPUT, Options};
use crate::arguments::{bytes, lifetime, stale};

impl Options {
    /// Reads the arguments after `exec` where they are a few options with values, each given once,
    /// and a command after `--`. `cache` is the cache if they name none.
    pub(crate) fn usual(
        arguments: impl IntoIterator<Item = OsString>,
        cache: Option<OsString>,
    ) -> Option<Self> {
        let (mut at, mut expiration, mut stale_for) = (None, None, None);
        let mut arguments = arguments.into_iter();
        loop {
            let argument = arguments.next()?.into_string().ok()?;
            if argument == "--" {
                break;
            }
            let (name, value) = match argument.split_once('=') {
                Some((name, value)) => (name, value.to_owned()),
                None => (&*argument, arguments.next()?.into_string().ok()?),
            };
            let option = match name {
                "--cache" => &mut at,
                "--expiration" => &mut expiration,
                "--stale" => &mut stale_for,
                _ => return None,
            };
            // A value that looks like an option may be one, and the value left out.
            if value.is_empty() || value.starts_with('-') || option.replace(value).is_some() {
                return None;
            }
        }
        let command: Vec<OsString> = arguments.collect();
        if command.is_empty() {
            return None;
        }
        let cache = match (at, cache) {
            (None, Some(cache)) => Some(cache.into_string().ok()?),
            (at, _) => at,
        };
        let stale = match stale_for {
            Some(time) => Some(stale(&time).ok()?),
            None => None,
        };
        Some(Self {
            cache,
            expiration: lifetime(expiration.as_deref().unwrap_or(EXPIRATION)).ok()?,
            stale,
            wait: None,
            timeout: None,
            stale_if_error: None,
            retry_after: None,
            key: None,
            cwd: false,
            env: Vec::new(),
            file: Vec::new(),
            remember_failures: false,
            ok_only: false,
            max_output: bytes(MAX_OUTPUT).ok()?,
            refresh: false,
            invalidate: false,
            explain: false,
            json: false,
            background: false,
            command,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args, FromArgMatches};

    use super::*;

    fn by_clap(line: &str) -> Option<Options> {
        let exec = Options::augment_args(clap::Command::new("exec"));
        let matches = exec.try_get_matches_from(["exec"].into_iter().chain(words(line))).ok()?;
        Options::from_arg_matches(&matches).ok()
    }

    fn words(line: &str) -> impl Iterator<Item = &str> {
        line.split(' ').filter(|word| !word.is_empty())
    }

    fn usual(line: &str) -> Option<Options> {
        // Of the environment that clap reads.
        Options::usual(words(line).map(OsString::from), std::env::var_os(crate::exec::CACHE))
    }

    #[test]
    fn usual_arguments_are_read_as_clap_reads_them() {
        for line in [
            "-- date",
            "-- date -u -- x --cache=y",
            "-- --cache",
            "--expiration 1h -- date",
            "--expiration=never -- date",
            "--cache a.db --expiration 90 --stale 5s -- date",
            "--stale=0s --cache=file:a.db?mode=0600 -- -x",
        ] {
            let read = usual(line);
            assert!(read.is_some() && read == by_clap(line), "{line}: {read:?}");
        }
    }

    #[test]
    fn what_clap_refuses_or_knows_better_is_left_to_it() {
        for line in [
            "",
            "--",
            "date",
            "--cache a.db",
            "--cache a.db --",
            "--cache -- date",
            "--cache --stale -- date",
            "--cache= -- date",
            "--cache a.db --cache b.db -- date",
            "--expiration soon -- date",
            "--expiration -5 -- date",
            "--stale never -- date",
            "--stale --explain -- date",
            "--expire 5 -- date",
            "--cwd -- date",
            "--help -- date",
        ] {
            assert_eq!(usual(line), None, "{line}");
        }
    }

    #[test]
    fn the_environment_names_a_cache_where_the_arguments_do_not() {
        let cache = |arguments: &[&str]| {
            let arguments = arguments.iter().map(OsString::from);
            Options::usual(arguments, Some("b.db".into())).and_then(|options| options.cache)
        };
        assert_eq!(cache(&["--", "date"]).as_deref(), Some("b.db"));
        assert_eq!(cache(&["--cache", "a.db", "--", "date"]).as_deref(), Some("a.db"));
    }
}
