//! A table in text: one line a way, or one column where the terminal is too narrow for that.

use std::io::{self, Write};

/// A table with names at the left, and figures under headings.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

/// The spaces between two columns.
const GAP: usize = 2;

impl Table {
    pub(super) fn with_headings(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(|&heading| heading.to_owned()).collect()] }
    }

    pub(super) fn push(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    /// Writes it, turned by a quarter if it does not fit into `width` columns.
    pub(super) fn write(&self, out: &mut impl Write, width: usize) -> io::Result<()> {
        let widths = widths(&self.rows);
        if widths.iter().sum::<usize>() + GAP * (widths.len() - 1) <= width {
            return write_rows(out, &self.rows, &widths);
        }
        let columns = 0..self.rows[0].len();
        let turned: Vec<Vec<String>> = columns
            .map(|column| self.rows.iter().map(|row| row[column].clone()).collect())
            .collect();
        write_rows(out, &turned, &self::widths(&turned))
    }
}

fn widths(rows: &[Vec<String>]) -> Vec<usize> {
    let columns = 0..rows[0].len();
    columns
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect()
}

fn write_rows(out: &mut impl Write, rows: &[Vec<String>], widths: &[usize]) -> io::Result<()> {
    for row in rows {
        write!(out, "{:1$}", row[0], widths[0])?;
        for (cell, width) in row.iter().zip(widths).skip(1) {
            write!(out, "{:GAP$}{cell:>width$}", "")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_turned_where_it_does_not_fit() {
        let mut table = Table::with_headings(&["way", "requests", "p50"]);
        table.push(["naive", "1000", "4.2 µs"].map(str::to_owned).to_vec());
        let written = |width| {
            let mut text = Vec::new();
            table.write(&mut text, width).unwrap();
            String::from_utf8(text).unwrap()
        };
        let wide = "way    requests     p50\nnaive      1000  4.2 µs\n";
        assert_eq!(written(23), wide);
        assert_eq!(written(22), "way        naive\nrequests    1000\np50       4.2 µs\n");
    }
}
