//! Durations, sizes and bars as people read them.

use std::time::Duration;

/// `3d 4h`, `2m 5s`, `1.3 s`, `250 ms`, `2.1 µs`: two parts at most.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match seconds {
        0.0 => "0 s".to_owned(),
        s if s < 1e-6 => format!("{:.0} ns", s * 1e9),
        s if s < 1e-3 => format!("{:.1} µs", s * 1e6),
        s if s < 1.0 => format!("{:.1} ms", s * 1e3),
        s if s < 60.0 => format!("{s:.1} s"),
        _ => {
            let long = humantime::format_duration(Duration::from_secs(duration.as_secs()));
            let long = long.to_string();
            long.split(' ').take(2).collect::<Vec<_>>().join(" ")
        }
    }
}

/// `512 B`, `1.5 KiB`, `3.2 MiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut size = bytes as f64;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{size:.1} {}", UNITS[unit]) }
}

/// A bar for `share` of `width` characters, in eighths.
pub(crate) fn bar(share: f64, width: u32) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is clamped")]
    let eighths = (share.clamp(0.0, 1.0) * f64::from(width) * 8.0).round() as usize;
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_as_people_read_them() {
        assert_eq!(duration(Duration::from_micros(2)), "2.0 µs");
        assert_eq!(duration(Duration::from_secs(3_725)), "1h 2m");
        assert_eq!(duration(Duration::ZERO), "0 s");
        assert_eq!([bytes(512), bytes(1536)], ["512 B", "1.5 KiB"]);
        assert_eq!([bar(0.0, 4), bar(0.5, 4), bar(2.0, 4)], ["", "██", "████"]);
    }
}
