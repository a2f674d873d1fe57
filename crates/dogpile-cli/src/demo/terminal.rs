//! The place that results are written to: its width, and whether it shows colours.

use std::io::{self, IsTerminal, Write};

use ratatui::buffer::Buffer;
use ratatui::style::Color;

/// The width of a text, and whether it has colours.
#[derive(Clone, Copy)]
pub(super) struct Style {
    pub(super) width: u16,
    pub(super) colours: bool,
}

impl Style {
    /// 80 columns without colours, unless a terminal says more.
    pub(super) fn of_stdout() -> Self {
        let terminal = io::stdout().is_terminal();
        let width = terminal_size::terminal_size().filter(|_| terminal);
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            width: width.map_or(80, |(width, _)| width.0.clamp(40, 160)),
            colours: terminal && !no_colour,
        }
    }
}

/// Returns the colour of a way, the same in every picture.
pub(super) fn colour_of(way: &str) -> Color {
    match way {
        "dogpile" => Color::Green,
        "naive" => Color::Yellow,
        "resilient" => Color::Cyan,
        _ => Color::Red,
    }
}

/// Writes what was drawn, line by line.
pub(super) fn write_buffer(out: &mut impl Write, buffer: &Buffer, colours: bool) -> io::Result<()> {
    for y in 0..buffer.area.height {
        let mut line = String::new();
        let mut current = Color::Reset;
        for x in 0..buffer.area.width {
            let cell = &buffer[(x, y)];
            if colours && cell.fg != current && cell.symbol() != " " {
                current = cell.fg;
                line.push_str(escape(current));
            }
            line.push_str(cell.symbol());
        }
        let reset = if current == Color::Reset { "" } else { escape(Color::Reset) };
        writeln!(out, "{}{reset}", line.trim_end())?;
    }
    Ok(())
}

/// Breaks lines between words where they are wider than `width`.
pub(super) fn wrapped(text: &str, width: u16) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        let mut current = String::new();
        for word in line.split(' ') {
            let needed = current.chars().count() + 1 + word.chars().count();
            if !current.is_empty() && needed > width.into() {
                lines.push(std::mem::take(&mut current));
            }
            if !current.is_empty() {
                current.push(' ');
            }
            current.push_str(word);
        }
        lines.push(current);
    }
    lines.join("\n")
}

fn escape(colour: Color) -> &'static str {
    match colour {
        Color::Red => "\u{1b}[31m",
        Color::Yellow => "\u{1b}[33m",
        Color::Green => "\u{1b}[32m",
        Color::Cyan => "\u{1b}[36m",
        _ => "\u{1b}[0m",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_between_words() {
        assert_eq!(wrapped("one two three\nfour", 7), "one two\nthree\nfour");
        assert_eq!(wrapped("longer than that", 5), "longer\nthan\nthat");
    }
}
