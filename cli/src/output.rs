//! What a command prints: a table for people, JSON or YAML for programs.
use std::io::{self, IsTerminal as _, Write as _};

use clap::ValueEnum;
use serde::Serialize;

use crate::failure::{Exit, Failure};

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// Columns for people.
    #[default]
    Table,
    /// One JSON value; of streams, one per line.
    Json,
    /// One YAML document; of streams, one each.
    Yaml,
}

/// What a cell is about, shown as colour on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Nothing to say.
    Plain,
    /// As it should be.
    Good,
    /// Look at it.
    Warn,
    /// Wrong.
    Bad,
}

/// One cell of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell(pub(crate) String, pub(crate) Tone);

impl<S: Into<String>> From<S> for Cell {
    fn from(text: S) -> Self {
        Self(text.into(), Tone::Plain)
    }
}

impl Cell {
    /// `yes` or `no`, good or bad.
    pub(crate) fn yes(is: bool) -> Self {
        if is { Self("yes".into(), Tone::Good) } else { Self("no".into(), Tone::Bad) }
    }
}

/// Rows under a header, in columns as wide as needed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(crate) fn new<const N: usize>(header: [&'static str; N]) -> Self {
        Self { header: header.to_vec(), rows: Vec::new() }
    }

    pub(crate) fn row<const N: usize>(&mut self, row: [Cell; N]) {
        self.rows.push(row.into());
    }

    /// The table as text, with colour or without. A table of no rows is its header.
    pub(crate) fn render(&self, colour: bool) -> String {
        let mut widths: Vec<usize> = self.header.iter().map(|title| title.len()).collect();
        for row in &self.rows {
            for (width, Cell(text, _)) in widths.iter_mut().zip(row) {
                *width = (*width).max(text.chars().count());
            }
        }
        let header = self.header.iter().map(|title| Cell((*title).to_owned(), Tone::Plain)).collect();
        let mut out = String::new();
        for row in std::iter::once(&header).chain(&self.rows) {
            let mut line = String::new();
            for (Cell(text, tone), width) in row.iter().zip(&widths) {
                let padding = " ".repeat(width - text.chars().count() + 2);
                line.push_str(&paint(text, *tone, colour));
                line.push_str(&padding);
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

fn paint(text: &str, tone: Tone, colour: bool) -> String {
    let code = match tone {
        Tone::Plain => return text.to_owned(),
        Tone::Good => 32,
        Tone::Warn => 33,
        Tone::Bad => 31,
    };
    if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// Where output goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// How to print.
    pub(crate) format: Format,
    /// Whether a terminal shows it.
    colour: bool,
}

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { format, colour }
    }

    /// Prints `value` as the user asked for: as data, or as what `table` makes of it.
    pub(crate) fn show<T: Serialize>(self, value: &T, table: impl FnOnce(&T) -> Table) -> Result<(), Failure> {
        self.show_text(value, |value| table(value).render(self.colour))
    }

    /// As [`Self::show`], where people get a text.
    pub(crate) fn show_text<T: Serialize>(self, value: &T, text: impl FnOnce(&T) -> String) -> Result<(), Failure> {
        match self.format {
            Format::Table => self.print(&text(value)),
            Format::Json => self.print(&format!("{}\n", serde_json::to_string_pretty(value).map_err(unprintable)?)),
            Format::Yaml => self.print(&serde_saphyr::to_string(value).map_err(unprintable)?),
        }
    }

    /// One item of a stream.
    pub(crate) fn show_item<T: Serialize>(self, value: &T, line: impl FnOnce(&T) -> String) -> Result<(), Failure> {
        match self.format {
            Format::Table => self.print(&line(value)),
            Format::Json => self.print(&format!("{}\n", serde_json::to_string(value).map_err(unprintable)?)),
            Format::Yaml => self.print(&format!("---\n{}", serde_saphyr::to_string(value).map_err(unprintable)?)),
        }
    }

    /// Whether people read it rather than programs.
    pub(crate) fn is_for_people(self) -> bool {
        self.format == Format::Table
    }

    /// A text in the colour of its tone.
    pub(crate) fn paint(self, text: &str, tone: Tone) -> String {
        paint(text, tone, self.colour)
    }

    /// Renders a table as part of a larger text.
    pub(crate) fn render(self, table: &Table) -> String {
        table.render(self.colour)
    }

    /// Writes `text` as it is.
    pub(crate) fn print(self, text: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::new(Exit::BrokenPipe, "broken_pipe", "nobody reads the output"),
            _ => Failure::new(Exit::Internal, "output", format!("cannot write to standard output: {error}")),
        })
    }
}

fn unprintable(error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Internal, "output", format!("cannot print the answer: {error}"))
}

/// A note for people beside the output; nothing reads it, so nothing fails if it cannot be written.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(["NAME", "N"]);
        table.row(["größe".into(), "1".into()]);
        table.row(["b".into(), Cell::yes(true)]);
        assert_eq!(table.render(false), "NAME   N\ngröße  1\nb      yes\n");
        assert!(table.render(true).ends_with("b      \x1b[32myes\x1b[0m\n"));
    }
}
