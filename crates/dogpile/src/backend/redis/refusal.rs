//! Servers whose rules of access forbid scripts.

use std::time::{Duration, Instant};

use super::connection::Answer;
use crate::sync::Mutex;

/// Knows whether a rule of access forbids scripts.
///
/// Rules change while a process lives, so what is known is asked again after a while.
pub(super) struct Refusal(Mutex<Option<Instant>>);

impl Refusal {
    const LASTS: Duration = Duration::from_secs(60);

    pub(super) fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// Are scripts not worth trying now?
    pub(super) fn is_known(&self) -> bool {
        self.is_known_at(Instant::now())
    }

    /// Were they ever refused?
    pub(super) fn was_met(&self) -> bool {
        self.0.lock().is_some()
    }

    fn is_known_at(&self, now: Instant) -> bool {
        let since = *self.0.lock();
        since.is_some_and(|since| now.saturating_duration_since(since) < Self::LASTS)
    }

    /// Is `answer` the refusal of scripts? Then it is known from now on.
    pub(super) fn is_in(&self, answer: &Answer) -> bool {
        let refused = answer.as_ref().is_err_and(|error| {
            error.code() == Some("NOPERM") && error.detail().is_some_and(forbids_scripts)
        });
        if refused {
            *self.0.lock() = Some(Instant::now());
        }
        refused
    }
}

/// Does the text of a `NOPERM` say that scripts are forbidden, rather than a key, a channel,
/// or a command within the script, which would be forbidden outside of it as well?
fn forbids_scripts(detail: &str) -> bool {
    let detail = detail.to_ascii_lowercase();
    detail.contains("run the 'eval")
}

#[cfg(test)]
mod tests {
    use redis::{RedisError, Value};

    use super::*;

    fn refused(text: &str) -> Answer {
        let read = redis::parse_redis_value(format!("-{text}\r\n").as_bytes()).unwrap();
        match read {
            Value::ServerError(error) => Err(RedisError::from(error)),
            other => Ok(other),
        }
    }

    /// The messages of Redis 6, 7.0 and 7.2 (Valkey's are the same).
    #[test]
    fn only_the_commands_own_refusal_is_one_of_scripts() {
        for of_scripts in [
            "NOPERM this user has no permissions to run the 'evalsha' command or its subcommand",
            "NOPERM this user has no permissions to run the 'evalsha' command",
            "NOPERM User app has no permissions to run the 'eval' command",
        ] {
            let refusal = Refusal::new();
            assert!(refusal.is_in(&refused(of_scripts)), "{of_scripts}");
            assert!(refusal.is_known());
        }
        for of_something_else in [
            "NOPERM this user has no permissions to access one of the keys used as arguments",
            "NOPERM No permissions to access a key",
            "NOPERM No permissions to access a channel",
            "NOPERM ACL failure in script: User app has no permissions to run the 'del' command",
            "NOSCRIPT No matching script.",
        ] {
            let refusal = Refusal::new();
            assert!(!refusal.is_in(&refused(of_something_else)), "{of_something_else}");
            assert!(!refusal.is_known());
        }
    }

    #[test]
    fn scripts_are_tried_again_after_a_while() {
        let refusal = Refusal::new();
        refusal.is_in(&refused("NOPERM User app has no permissions to run the 'evalsha' command"));
        let now = Instant::now();
        assert!(refusal.is_known_at(now + Refusal::LASTS / 2));
        assert!(!refusal.is_known_at(now + Refusal::LASTS));
    }
}
