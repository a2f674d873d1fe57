//! Kinds of arguments that several commands take.

use std::ffi::OsString;
use std::time::Duration;

/// A duration, or never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lifetime(pub(crate) Option<Duration>);

/// Longer than anybody keeps an output: a typing error, such as a date in seconds.
const LONGEST: Duration = Duration::from_secs(10 * 366 * 24 * 3_600);

/// Shorter than a command takes.
const SHORTEST: Duration = Duration::from_millis(1);

/// Reads `10m`, `1h 30m`, a number of seconds, or `never`.
pub(crate) fn lifetime(text: &str) -> Result<Lifetime, String> {
    if text.trim() == "never" {
        return Ok(Lifetime(None));
    }
    match duration(text) {
        Ok(duration) => Ok(Lifetime(Some(duration))),
        Err(error) => Err(format!("{error}; or `never`")),
    }
}

/// Reads how long an expired output is served, which is never without an end.
pub(crate) fn stale(text: &str) -> Result<Duration, String> {
    if text.trim() == "never" {
        let message = "`never` has two meanings here: `0s` never serves an expired output; without \
            `--stale` it is served until there is another";
        return Err(message.to_owned());
    }
    duration(text)
}

/// Reads `10m`, `1h 30m` or a number of seconds, and refuses what can only be a mistake.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if has_months(text) {
        return Err("`M` means months: write `10m` for minutes, `10months` for months".to_owned());
    }
    let duration = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?,
        Err(_) => humantime::parse_duration(text)
            .map_err(|_| "write it like `30s`, `10m` or `1h 30m`".to_owned())?,
    };
    if duration > LONGEST {
        return Err("this is longer than ten years: write it like `30s`, `10m` or `1h`".to_owned());
    }
    if !duration.is_zero() && duration < SHORTEST {
        return Err("this is shorter than a millisecond: write it like `30s` or `0s`".to_owned());
    }
    Ok(duration)
}

/// Is `M` a unit in `text`? It is one letter away from minutes.
fn has_months(text: &str) -> bool {
    let mut units = text.split(|c: char| !c.is_ascii_alphabetic());
    units.any(|unit| unit == "M")
}

/// Reads the name of an environment variable.
pub(crate) fn variable(text: &str) -> Result<OsString, String> {
    if let Some((name, _)) = text.split_once('=') {
        let message = "give the name alone, its value is looked up";
        return Err(format!("{message}: `--env {name}`; to set it: `env {text} dogpile exec ...`"));
    }
    if text.is_empty() { Err("a variable has a name".to_owned()) } else { Ok(text.into()) }
}

/// Reads a number of bytes: `65536`, `64K`, `10M`, `1G`.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let factor: Option<u64> = match unit.trim().trim_end_matches("iB") {
        "" | "B" => Some(1),
        "k" | "K" => Some(1 << 10),
        "M" => Some(1 << 20),
        "G" => Some(1 << 30),
        _ => None,
    };
    let bytes = digits.parse::<u64>().ok().zip(factor);
    bytes
        .and_then(|(number, factor)| number.checked_mul(factor))
        .ok_or_else(|| "write it like `65536`, `64K`, `10M` or `1G`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_people_write_them() {
        let seconds = |n| Ok(Lifetime(Some(Duration::from_secs(n))));
        assert_eq!(lifetime("10m"), seconds(600));
        assert_eq!(lifetime("1h 30m"), seconds(5_400));
        assert_eq!(lifetime("45"), seconds(45));
        assert_eq!(lifetime("6months"), seconds(6 * 2_630_016));
        assert_eq!(lifetime("never"), Ok(Lifetime(None)));
        for wrong in ["", "soon", "-5", "1e99", "NaN", "10M", "1h 5M", "1700000000", "5ns", "11y"] {
            assert!(lifetime(wrong).is_err(), "{wrong}");
        }
        assert_eq!(stale("0s"), Ok(Duration::ZERO));
        assert!(stale("never").unwrap_err().contains("0s"));
    }

    #[test]
    fn names_and_sizes_are_what_they_look_like() {
        assert_eq!(variable("HOME"), Ok("HOME".into()));
        assert!(variable("FOO=bar").unwrap_err().contains("`--env FOO`"));
        assert!(variable("").is_err());
        assert_eq!(
            ["7", "7B", "2K", "3MiB", "1G"].map(bytes).map(Result::unwrap)[2..],
            [2_048, 3 << 20, 1 << 30]
        );
        for wrong in ["", "K", "1X", "-1", "99999999999999999999", "99999999999G"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }
}
