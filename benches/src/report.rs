//! How results are shown and kept.
use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::Context;

use crate::Row;

/// Writes `rows` as a table for people.
///
/// # Errors
/// Those of `out`.
pub fn table(out: &mut impl Write, rows: &[Row]) -> io::Result<()> {
    let header = ["id", "measure", "value", "unit", "peer", "peer value", "ratio"].map(String::from);
    let lines: Vec<[String; 7]> = std::iter::once(header).chain(rows.iter().map(cells)).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..7).map(width).collect();
    for line in &lines {
        for (column, (text, width)) in line.iter().zip(&widths).enumerate() {
            // Numbers to the right, words to the left.
            match column {
                2 | 5 | 6 => write!(out, "{text:>width$}  ")?,
                _ => write!(out, "{text:<width$}  ")?,
            }
        }
        writeln!(out)?;
    }
    Ok(())
}

fn cells(row: &Row) -> [String; 7] {
    [
        row.id.to_owned(),
        row.name.clone(),
        number(row.value),
        row.unit.to_owned(),
        row.peer.clone().unwrap_or_default(),
        row.peer_value.map(number).unwrap_or_default(),
        row.ratio.map(|ratio| format!("{}x", number(ratio))).unwrap_or_default(),
    ]
}

/// Three significant digits, thousands apart.
fn number(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 4,
    };
    let text = format!("{value:.decimals$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let (sign, digits) = whole.split_at(usize::from(whole.starts_with('-')));
    let grouped: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap_or_default()).collect();
    format!("{sign}{}{rest}", grouped.join(","))
}

/// The folder that results go to.
#[must_use]
pub fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bench"))
}

/// Writes `rows` to `path` as a JSON list, whole or not at all.
///
/// # Errors
/// Where the folder or the file cannot be written.
pub fn write_json(path: &Path, rows: &[Row]) -> anyhow::Result<()> {
    write(path, &(serde_json::to_string_pretty(rows)? + "\n"))
}

/// Writes a file, whole or not at all.
///
/// # Errors
/// Where the folder or the file cannot be written.
pub fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let folder = path.parent().context("the results file needs a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let aside = path.with_extension("new");
    fs::write(&aside, text).with_context(|| format!("cannot write {}", aside.display()))?;
    fs::rename(&aside, path).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Better;

    #[test]
    fn numbers_read_well() {
        let shown: Vec<_> = [0.0, 0.01234, 1.5, 15.25, 150.4, 1_234_567.0, -4321.0].map(number).into();
        assert_eq!(shown, ["0.0000", "0.0123", "1.50", "15.2", "150", "1,234,567", "-4,321"]);
    }

    #[test]
    fn the_table_lines_up() {
        let rows = [
            Row::new("P3", "fan-out", "updates/s", 2000.0).against("prost per stream", 1000.0, Better::Higher),
            Row::new("P10", "verdict", "ns", 15.0),
        ];
        let mut out = Vec::new();
        table(&mut out, &rows).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|line| line.len() == lines[0].len()), "{text}");
        assert!(lines[1].contains("2.00x"), "{text}");
    }

    #[test]
    fn the_file_is_a_list_of_rows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bench/results.json");
        write_json(&path, &[Row::new("P3", "fan-out", "updates/s", 1.0)]).unwrap();
        let read: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(read[0]["id"], "P3");
        assert!(read[0]["peer"].is_null());
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
