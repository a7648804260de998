//! Certificates run out while traffic flows, and are renewed in time, again and again.
use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use anyhow::ensure;
use axle_tests::{
    eventually,
    fleet::{PATIENCE, Settings, scenario},
    probe::Flow,
};

use crate::{
    documents::{deny_from, peers},
    pair::Pair,
};

const LIFETIME: &str = "20s";
/// Three renewals at half-life take half a minute; a busy machine gets three times as long.
const RENEWALS: Duration = Duration::from_secs(90);

#[test]
fn three_renewals_under_traffic() -> anyhow::Result<()> {
    let lifetime = || vec!["--certificate-lifetime".to_owned(), LIFETIME.to_owned()];
    scenario(Settings { hub: lifetime(), agent: lifetime() }, |fleet| {
        let pair = Pair::raise(fleet)?;
        let flow = pair.client.probe(Flow::Tcp, pair.server.v4())?;
        let mut seen: [BTreeSet<Vec<u8>>; 3] = Default::default();
        let states = [
            pair.first.state().join("certificates/relay"),
            pair.first.state().join("certificates/node"),
            pair.second.state().join("certificates/node"),
        ];
        eventually("three renewals of all certificates", RENEWALS, || {
            for (seen, folder) in seen.iter_mut().zip(&states) {
                seen.insert(contents(folder)?);
            }
            let counts: Vec<_> = seen.iter().map(BTreeSet::len).collect();
            ensure!(counts.iter().all(|&count| count >= 4), "seen so far: {counts:?} certificates");
            Ok(())
        })?;
        // Everything still speaks to everything: a policy arrives in both kernels, and traffic never noticed.
        fleet.hub.apply(&deny_from("cut", "client", peers("app", "server")))?;
        pair.server.is_cut_from(pair.client.v4())?;
        flow.await_traffic(100, PATIENCE)?;
        flow.finish()?.check_whole(1000)?;
        fleet.settle(2)
    })
}

/// All files of a folder, one after the other in the order of their names.
fn contents(folder: &Path) -> anyhow::Result<Vec<u8>> {
    let mut files: Vec<_> = fs::read_dir(folder)?.flatten().map(|entry| entry.path()).collect();
    files.sort();
    let mut all = Vec::new();
    for file in files {
        all.extend(fs::read(file)?);
    }
    Ok(all)
}
