//! Axle's headline measures: each a number, beside the number of a peer from the same run where there is one.
//!
//! To add one: write a module with a `pub fn run() -> anyhow::Result<Vec<Row>>` and list it in [`BENCHES`].
pub mod compile;
pub mod fanout;
pub mod footprint;
pub mod picture;
pub mod preview;
pub mod report;
pub mod verdict;

use serde::Serialize;

/// One measured number, as `target/bench/results.json` holds it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The measure's id, such as `P3`; several rows may share one.
    pub id: &'static str,
    /// What was measured, in a few words.
    pub name: String,
    /// The unit of `value` and `peer_value`, such as `updates/s`.
    pub unit: &'static str,
    /// Ours.
    pub value: f64,
    /// Who it is compared with, measured in the same run on the same work.
    pub peer: Option<String>,
    /// The peer's.
    pub peer_value: Option<f64>,
    /// How many times better ours is: above 1 is better, whichever way the unit runs.
    pub ratio: Option<f64>,
}

/// Which way a unit runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// More is better, such as updates per second.
    Higher,
    /// Less is better, such as nanoseconds.
    Lower,
}

impl Row {
    /// A number without a peer.
    #[must_use]
    pub fn new(id: &'static str, name: impl Into<String>, unit: &'static str, value: f64) -> Self {
        Self { id, name: name.into(), unit, value, peer: None, peer_value: None, ratio: None }
    }

    /// The same number beside the peer's; the ratio follows from the two.
    #[must_use]
    pub fn against(self, peer: impl Into<String>, peer_value: f64, better: Better) -> Self {
        let ratio = match better {
            Better::Higher => self.value / peer_value,
            Better::Lower => peer_value / self.value,
        };
        Self { peer: Some(peer.into()), peer_value: Some(peer_value), ratio: Some(ratio), ..self }
    }
}

/// One benchmark: measures and returns its rows.
#[derive(Debug, Clone, Copy)]
pub struct Bench {
    /// What to type to run it alone; the id that its rows carry.
    pub id: &'static str,
    /// What it measures, in one line.
    pub about: &'static str,
    /// Runs it.
    pub run: fn() -> anyhow::Result<Vec<Row>>,
}

/// Every benchmark, in the order of the report.
pub const BENCHES: &[Bench] = &[compile::BENCH, fanout::BENCH, footprint::BENCH, preview::BENCH, verdict::BENCH];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_above_one_is_always_better() {
        let row = Row::new("P0", "rate", "1/s", 300.0).against("peer", 100.0, Better::Higher);
        assert_eq!(row.ratio, Some(3.0));
        let row = Row::new("P0", "time", "ns", 10.0).against("peer", 40.0, Better::Lower);
        assert_eq!(row.ratio, Some(4.0));
    }

    #[test]
    fn ids_are_unique() {
        let mut ids: Vec<_> = BENCHES.iter().map(|bench| bench.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), BENCHES.len());
    }
}
