//! Latency over time, drawn in text: one chart per way, all to the same
//! scales, so that they can be compared at a glance.

use std::io::{self, Write};
use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style as CellStyle;
use ratatui::symbols::Marker;
use ratatui::text::Line;
use ratatui::widgets::{Axis, Chart, Dataset, GraphType, Widget};

use super::load::{Run, Sample};
use super::terminal::{Style, colour_of, write_buffer};

const HEIGHT: u16 = 9;

/// From a hundredth of a millisecond, below which all is instant.
const LEAST_MS: f64 = 0.01;

/// Writes the charts of all runs.
pub(super) fn write(
    out: &mut impl Write,
    seconds: u32,
    runs: &[Run],
    style: Style,
) -> io::Result<()> {
    let slowest = runs.iter().map(|run| run.latencies().max).max().unwrap_or_default();
    let top = height(Duration::from_secs_f64(slowest.as_secs_f64().max(0.001))).ceil();
    writeln!(
        out,
        "\nThe slowest request of each moment, in milliseconds (logarithmic), over time:"
    )?;
    for run in runs {
        let points = slowest_per_column(&run.samples, seconds, style.width);
        let area = Rect::new(0, 0, style.width, HEIGHT);
        let mut buffer = Buffer::empty(area);
        chart(run.name, &points, seconds, top).render(area, &mut buffer);
        write_buffer(out, &buffer, style.colours)?;
    }
    writeln!(out)
}

/// The slowest request sent in each of as many spans of time as there are dots
/// in a row, as (seconds, height).
fn slowest_per_column(samples: &[Sample], seconds: u32, width: u16) -> Vec<(f64, f64)> {
    let total = f64::from(seconds);
    let columns = usize::from(width);
    let mut slowest = vec![None::<Duration>; columns];
    for sample in samples {
        let at = sample.sent.as_secs_f64() / total * columns as f64;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a small column number"
        )]
        let column = (at as usize).min(columns - 1);
        slowest[column] = slowest[column].max(Some(sample.latency));
    }
    let points = slowest.into_iter().enumerate();
    points
        .filter_map(|(column, slowest)| {
            Some(((column as f64 + 0.5) / columns as f64 * total, height(slowest?)))
        })
        .collect()
}

/// Returns the powers of ten by which a latency exceeds the least one: bars grow from
/// zero.
fn height(latency: Duration) -> f64 {
    (latency.as_secs_f64() * 1e3 / LEAST_MS).max(1.0).log10()
}

fn chart<'a>(name: &'a str, points: &'a [(f64, f64)], seconds: u32, top: f64) -> Chart<'a> {
    let data = Dataset::default()
        .marker(Marker::Braille)
        .graph_type(GraphType::Bar)
        .style(CellStyle::new().fg(colour_of(name)))
        .data(points);
    let time = Axis::default()
        .bounds([0.0, f64::from(seconds)])
        .labels([Line::from("0 s"), Line::from(format!("{seconds} s"))]);
    let latency = Axis::default()
        .bounds([0.0, top])
        .labels([0.0, top].map(|height| Line::from(label(height))));
    Chart::new(vec![data])
        .block(ratatui::widgets::Block::new().title(name))
        .x_axis(time)
        .y_axis(latency)
}

fn label(height: f64) -> String {
    let milliseconds = LEAST_MS * 10_f64.powf(height);
    format!("{milliseconds:>7}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(sent_ms: u64, latency_ms: u64) -> Sample {
        let [sent, latency] = [sent_ms, latency_ms].map(Duration::from_millis);
        Sample { sent, latency }
    }

    #[test]
    fn a_column_shows_its_slowest_request() {
        let samples = [sample(0, 1), sample(10, 100), sample(990, 10), sample(5_000, 10)];
        let points = slowest_per_column(&samples, 1, 10);
        assert_eq!(points, [(0.05, 4.0), (0.95, 3.0)]);
    }

    #[test]
    fn a_chart_without_colours_has_no_escapes() {
        let run = Run {
            name: "naive",
            queries: 1,
            took: Duration::from_secs(1),
            samples: vec![sample(0, 1), sample(500, 90)],
        };
        let mut text = Vec::new();
        write(&mut text, 1, &[run], Style { width: 60, colours: false }).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("naive") && text.contains("1 s") && !text.contains('\u{1b}'));
    }
}
