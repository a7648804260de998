//! Certificates run out while traffic flows, and are renewed in time, again and again.
use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, ensure};
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
        let mut seen: [BTreeSet<u64>; 3] = Default::default();
        eventually("three renewals of all certificates", RENEWALS, || {
            let (first, second) = (pair.first.status()?, pair.second.status()?);
            let ends = [&first["relay"], &first["node"], &second["node"]].map(|role| &role["certificate_expires_ms"]);
            for (seen, end) in seen.iter_mut().zip(ends) {
                seen.insert(end.as_u64().with_context(|| format!("no end of a certificate in {first} and {second}"))?);
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
