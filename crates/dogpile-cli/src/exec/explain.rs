//! The origin of an output, for those who ask.

use std::fmt::{self, Write};
use std::time::Duration;

use serde::Serialize;

use crate::inspect::printable;
use crate::show;

/// The origins of an output.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Why {
    Hit,
    Stale,
    Waited,
    Ran,
    Killed,
    TimedOut,
    StaleOnError,
}

impl Why {
    fn words(self) -> &'static str {
        match self {
            Self::Hit => "hit: the remembered output is still good",
            Self::Stale => "stale: the remembered output is expired",
            Self::Waited => "waited: another process was running the command, this is its output",
            Self::Ran => "ran: there was no output to use",
            Self::Killed => "killed: a signal ended the command, nothing is remembered",
            Self::TimedOut => "timed out: the command ran for too long, nothing is remembered",
            Self::StaleOnError => "stale on error: an expired output stands in for a failure",
        }
    }
}

pub(super) struct Explanation<'a> {
    pub(super) why: Why,
    pub(super) age: Duration,
    /// `None`: never.
    pub(super) expires_in: Option<Duration>,
    /// It is being renewed in the background.
    pub(super) renewing: bool,
    pub(super) exit_code: u8,
    pub(super) key: &'a str,
    pub(super) cache: &'a str,
}

impl Explanation<'_> {
    /// Returns the lines to show; `json` wants one object.
    pub(super) fn text(&self, json: bool) -> Vec<u8> {
        let mut text = String::new();
        // Nothing fails that is written to a string.
        let _ = self.write(&mut text, json);
        text.into_bytes()
    }

    fn write(&self, out: &mut impl Write, json: bool) -> fmt::Result {
        if json {
            let explanation = serde_json::json!({
                "status": self.why,
                "age": self.age.as_secs_f64(),
                "expires_in": self.expires_in.map(|left| left.as_secs_f64()),
                "renewing": self.renewing,
                "exit_code": self.exit_code,
                "key": self.key,
                "cache": self.cache,
            });
            return writeln!(out, "{explanation}");
        }
        let renewing = if self.renewing { "; it is being renewed in the background" } else { "" };
        writeln!(out, "dogpile: {}{renewing}", self.why.words())?;
        let expires = match self.expires_in {
            None => "never expires".to_owned(),
            Some(Duration::ZERO) => "expired".to_owned(),
            Some(left) => format!("expires in {}", show::duration(left)),
        };
        writeln!(out, "dogpile: {} old, {expires}", show::duration(self.age))?;
        writeln!(out, "dogpile: key {} in {}", printable(self.key), printable(self.cache))
    }
}
