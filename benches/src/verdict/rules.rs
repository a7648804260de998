//! The cost of a packet by the number of rules, drawn as a picture.
use super::{Case, Side, Spread, open_flows, rounds, world};
use crate::{
    Better, Row,
    picture::{Chart, Line},
    report,
};

/// How many rules the workload has.
const STEPS: [u32; 7] = [10, 30, 100, 300, 1_000, 3_000, 10_000];
/// How often each side is measured at each step, in turns.
const ROUNDS: usize = 7;

const CASES: [Case; 2] = [
    Case { name: "one flow", port: world::ACCEPTED, endpoints: 1, accepts: true },
    Case { name: "131,072 flows", port: world::ACCEPTED, endpoints: world::ENDPOINTS, accepts: true },
];

/// `sides`: an empty program, ours, with hash maps.
pub(super) fn measure(mut sides: [Side; 3]) -> anyhow::Result<Vec<Row>> {
    let mut lines = Vec::new();
    for case in &CASES {
        lines.extend(
            ["Axle", "hash maps"].map(|who| Line { name: format!("{who}, {}", case.name), points: Vec::new() }),
        );
    }
    for rules in STEPS {
        sides.iter_mut().try_for_each(|side| side.set_rules(rules))?;
        open_flows(&mut sides)?;
        for (case, lines) in CASES.iter().zip(lines.chunks_mut(2)) {
            let [empty, ours, hash] = rounds(&mut sides, case, ROUNDS)?;
            for (line, gross) in lines.iter_mut().zip([ours, hash]) {
                line.points.push((f64::from(rules), Spread::new(&gross, &empty).median));
            }
        }
    }
    let chart = Chart {
        title: "What a packet costs by the number of rules",
        x: "rules of the workload",
        y: "ns a packet, net of an empty program",
        lines: &lines,
    };
    report::write(&report::folder().join("P10-rules.svg"), &chart.svg())?;
    Ok(CASES.iter().zip(lines.chunks(2)).flat_map(|(case, lines)| growth(case, lines)).collect())
}

/// How much more a packet costs with the most rules than with the fewest.
fn growth(case: &Case, lines: &[Line]) -> Option<Row> {
    let [ours, hash] = lines else { return None };
    let growth = |line: &Line| Some(line.points.last()?.1 / line.points.first()?.1);
    let row = Row::new("P10", format!("cost with 10,000 rules by cost with 10, {}", case.name), "x", growth(ours)?);
    Some(row.against("hash maps", growth(hash)?, Better::Lower))
}
