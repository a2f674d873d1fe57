//! Kinds of arguments that several commands take.

use std::time::Duration;

/// A duration, or never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lifetime(pub(crate) Option<Duration>);

/// Reads `10m`, `1h 30m`, a number of seconds, or `never`.
pub(crate) fn lifetime(text: &str) -> Result<Lifetime, String> {
    if text == "never" {
        return Ok(Lifetime(None));
    }
    if let Ok(seconds) = text.parse::<f64>() {
        let duration = Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?;
        return Ok(Lifetime(Some(duration)));
    }
    match humantime::parse_duration(text) {
        Ok(duration) => Ok(Lifetime(Some(duration))),
        Err(_) => Err("write it like `30s`, `10m`, `1h 30m` or `never`".to_owned()),
    }
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
        assert_eq!(lifetime("never"), Ok(Lifetime(None)));
        for wrong in ["", "soon", "-5", "1e99", "NaN"] {
            assert!(lifetime(wrong).is_err(), "{wrong}");
        }
    }
}
