//! `axle-bench [ID...]`: runs all benchmarks, or the named ones.
use std::{
    env,
    io::{self, Write},
    time::Instant,
};

use anyhow::bail;
use axle_benches::{BENCHES, report};

fn main() -> anyhow::Result<()> {
    let wanted: Vec<String> = env::args().skip(1).collect();
    if let Some(unknown) = wanted.iter().find(|id| !BENCHES.iter().any(|bench| bench.id == id.as_str())) {
        let known: Vec<_> = BENCHES.iter().map(|bench| format!("  {:<5} {}", bench.id, bench.about)).collect();
        bail!("no benchmark is called {unknown:?}; there are\n{}", known.join("\n"));
    }
    let mut rows = Vec::new();
    for bench in BENCHES.iter().filter(|bench| wanted.is_empty() || wanted.iter().any(|id| id == bench.id)) {
        writeln!(io::stderr(), "{}: {} ...", bench.id, bench.about)?;
        let start = Instant::now();
        rows.extend((bench.run)()?);
        writeln!(io::stderr(), "{}: done in {:.1} s", bench.id, start.elapsed().as_secs_f64())?;
    }
    report::table(&mut io::stdout().lock(), &rows)?;
    let path = report::folder().join("results.json");
    report::write_json(&path, &rows)?;
    writeln!(io::stdout(), "\nwritten to {}", path.display())?;
    Ok(())
}
