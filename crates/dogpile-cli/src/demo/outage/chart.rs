//! Latency and errors over time, drawn in text: one chart a way, all to the same scales, with
//! the phases under the time axis.

use std::io::{self, Write};
use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style as CellStyle};
use ratatui::widgets::{Sparkline, Widget};

use super::load::{Run, Sample};
use super::phases::{PHASES, Times};
use crate::demo::figures::with_unit;
use crate::demo::terminal::{Style, colour_of, wrapped, write_buffer};

/// The width of what is written before the bars.
const MARGIN: u16 = 7;

/// The rows of bars that show latencies; one more shows errors.
const ROWS: u16 = 4;

/// The least latency, below which all is instant.
const LEAST: Duration = Duration::from_micros(100);

/// The eighths that a character of a bar is drawn in.
const STEPS: u64 = 8;

/// Writes the charts of all ways.
pub(super) fn write(
    out: &mut impl Write,
    times: Times,
    runs: &[Run],
    style: Style,
) -> io::Result<()> {
    let columns: Vec<Vec<Column>> =
        runs.iter().map(|run| columns(&run.samples, times, style.width - MARGIN)).collect();
    let all = || columns.iter().flatten();
    let slowest = all().filter_map(|column| column.slowest).max().unwrap_or(LEAST);
    let scale = Scale {
        decades: decades(slowest).ceil().max(1.0),
        errors: all().map(|column| column.errors).max().unwrap_or(0).max(1),
    };
    let text = format!(
        "The slowest request of each moment (from {} to {}, logarithmic),\n\
         and how many requests failed (up to {} a column):",
        with_unit(LEAST),
        with_unit(scale.top()),
        scale.errors,
    );
    writeln!(out, "\n{}", wrapped(&text, style.width))?;
    let phases = PhaseLabels::of(times, style.width - MARGIN);
    for (run, columns) in runs.iter().zip(&columns) {
        let buffer = chart(run.name, columns, scale, &phases, style.width);
        write_buffer(out, &buffer, style.colours)?;
    }
    for line in &phases.legend {
        writeln!(out, "{line}")?;
    }
    writeln!(out)
}

/// The requests that were sent within one column of the chart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Column {
    slowest: Option<Duration>,
    errors: u64,
}

#[derive(Clone, Copy)]
struct Scale {
    /// The powers of ten from the least latency to the top.
    decades: f64,
    /// The number of errors of a full bar.
    errors: u64,
}

impl Scale {
    fn top(self) -> Duration {
        LEAST.mul_f64(10_f64.powf(self.decades))
    }

    /// The height of a latency's bar; what is instant has the least bar.
    fn latency_steps(self, latency: Duration) -> u64 {
        steps(decades(latency) / self.decades, u64::from(ROWS) * STEPS)
    }

    fn error_steps(self, errors: u64) -> u64 {
        if errors == 0 { 0 } else { steps(errors as f64 / self.errors as f64, STEPS) }
    }
}

/// The share of a full bar of `most` steps, at least one.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small number")]
fn steps(share: f64, most: u64) -> u64 {
    ((share * most as f64).round() as u64).clamp(1, most)
}

/// Returns the powers of ten by which a latency exceeds the least one.
fn decades(latency: Duration) -> f64 {
    (latency.as_secs_f64() / LEAST.as_secs_f64()).max(1.0).log10()
}

fn columns(samples: &[Sample], times: Times, width: u16) -> Vec<Column> {
    let mut columns = vec![Column::default(); width.into()];
    for sample in samples {
        let column = &mut columns[column_at(sample.sent, times, width).min(width - 1) as usize];
        column.slowest = column.slowest.max(Some(sample.latency));
        column.errors += u64::from(sample.failed);
    }
    columns
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a column's number")]
fn column_at(time: Duration, times: Times, width: u16) -> u16 {
    (time.as_secs_f64() / times.total.as_secs_f64() * f64::from(width)).round() as u16
}

/// The axis of time: where phases end, and what they are called.
struct PhaseLabels {
    axis: String,
    names: String,
    /// The names, where there is no room for them under the axis.
    legend: Vec<String>,
}

impl PhaseLabels {
    fn of(times: Times, width: u16) -> Self {
        let ends = times.ends().map(|(_, end)| usize::from(column_at(end, times, width)));
        let mut start = 0;
        let widths: Vec<usize> = ends.map(|end| end - std::mem::replace(&mut start, end)).collect();
        let names = PHASES.map(|(phase, _)| phase.name().to_owned());
        let is_room = names.iter().zip(&widths).all(|(name, width)| name.len() < *width);
        let numbered = |(number, name): (usize, &String)| format!("{} {name}", number + 1);
        let legend: Vec<String> =
            if is_room { Vec::new() } else { names.iter().enumerate().map(numbered).collect() };
        let labels: Vec<String> = if is_room {
            names.to_vec()
        } else {
            (1..=names.len()).map(|number| number.to_string()).collect()
        };
        let axis = widths.iter().map(|width| format!("┴{}", "─".repeat(width - 1)));
        let names =
            labels.iter().zip(&widths).map(|(label, width)| format!(" {:1$}", label, width - 1));
        Self {
            axis: axis.collect::<Vec<_>>().concat(),
            names: names.collect::<Vec<_>>().concat(),
            legend,
        }
    }
}

fn chart(name: &str, columns: &[Column], scale: Scale, phases: &PhaseLabels, width: u16) -> Buffer {
    let mut buffer = Buffer::empty(Rect::new(0, 0, width, ROWS + 4));
    let plain = CellStyle::new();
    buffer.set_string(0, 0, name, plain.fg(colour_of(name)));
    let labels =
        [(1, with_unit(scale.top())), (ROWS, with_unit(LEAST)), (ROWS + 1, "errors".into())];
    for (y, label) in labels {
        buffer.set_string(0, y, format!("{:>1$}", label, usize::from(MARGIN) - 1), plain);
    }
    for y in 1..=ROWS + 1 {
        buffer.set_string(MARGIN - 1, y, "│", plain);
    }
    let bars = |rows: u16, y: u16, colour: Color, data: Vec<u64>, buffer: &mut Buffer| {
        let area = Rect::new(MARGIN, y, width - MARGIN, rows);
        let bars = Sparkline::default().max(u64::from(rows) * STEPS).data(data);
        bars.style(plain.fg(colour)).render(area, buffer);
    };
    let slowest =
        |column: &Column| column.slowest.map_or(0, |slowest| scale.latency_steps(slowest));
    bars(ROWS, 1, colour_of(name), columns.iter().map(slowest).collect(), &mut buffer);
    let errors = columns.iter().map(|column| scale.error_steps(column.errors)).collect();
    bars(1, ROWS + 1, Color::Red, errors, &mut buffer);
    buffer.set_string(MARGIN, ROWS + 2, &phases.axis, plain);
    buffer.set_string(MARGIN, ROWS + 3, &phases.names, plain);
    buffer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(sent_ms: u64, latency_ms: u64, failed: bool) -> Sample {
        let [sent, latency] = [sent_ms, latency_ms].map(Duration::from_millis);
        Sample { sent, latency, failed }
    }

    fn written(width: u16, colours: bool) -> String {
        let samples = vec![sample(0, 1, false), sample(5_000, 90, true), sample(23_990, 9, false)];
        let run = Run { name: "naive", creations: 1, samples };
        let mut text = Vec::new();
        write(&mut text, Times::of(24), &[run], Style { width, colours }).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_column_has_its_slowest_request_and_its_errors() {
        let samples = [sample(100, 1, true), sample(200, 100, true), sample(9_990, 10, false)];
        let columns = columns(&samples, Times::of(10), 10);
        let slow = |latency| Some(Duration::from_millis(latency));
        assert_eq!(columns[0], Column { slowest: slow(100), errors: 2 });
        assert_eq!(columns[9], Column { slowest: slow(10), errors: 0 });
        assert_eq!(columns[5], Column::default());
    }

    #[test]
    fn phases_are_named_where_there_is_room_and_numbered_elsewhere() {
        let wide = written(80, false);
        let names = wide.lines().find(|line| line.contains("database fails")).unwrap();
        let rest = ["fine", "database slow", "store away"];
        assert!(rest.iter().all(|name| names.contains(name)), "{wide}");
        let narrow = written(40, false);
        assert!(narrow.contains("\n4 store away\n"), "{narrow}");
        for (text, width) in [(wide, 80), (narrow, 40)] {
            let chart = text.lines().filter(|line| line.contains('│') || line.contains('┴'));
            assert_eq!(chart.clone().count(), 6, "{text}");
            assert!(chart.clone().all(|line| line.chars().count() <= width), "{text}");
            assert!(!text.contains('\u{1b}'));
        }
    }

    #[test]
    fn errors_are_red_where_there_are_colours() {
        let text = written(80, true);
        let errors = text.lines().find(|line| line.contains("errors│")).unwrap();
        assert!(errors.contains("\u{1b}[31m█"), "{text}");
    }
}
