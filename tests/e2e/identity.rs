//! What a workload is, is the same in every cluster, and policy follows it there.
use anyhow::ensure;
use axle_tests::fleet::{Settings, Spec, scenario};

use crate::documents::{deny_from, peers};

#[test]
fn one_identity_in_two_clusters() -> anyhow::Result<()> {
    scenario(Settings::default(), |fleet| {
        let (alpha, beta) = (fleet.cluster("alpha", &[])?, fleet.cluster("beta", &[])?);
        let (one, two) = (fleet.relay(&alpha)?, fleet.relay(&beta)?);
        let fabric = &fleet.fabric;
        let server = one.workload(fabric, &Spec::new("server", "server"))?;
        let clients = [
            one.workload(fabric, &Spec::new("client", "client"))?,
            two.workload(fabric, &Spec::new("client", "client"))?,
        ];
        let other = two.workload(fabric, &Spec::new("other", "other"))?;
        fleet.settle_with(2, 4)?;

        let identities = fleet.hub.json(&["identity", "list"])?;
        let identities = identities.as_array().cloned().unwrap_or_default();
        let of_app =
            |app: &str| identities.iter().filter(|identity| identity["labels"]["app"] == app).collect::<Vec<_>>();
        let clients_are = of_app("client");
        ensure!(clients_are.len() == 1, "the same labels in two clusters are {} identities", clients_are.len());
        assert_eq!(clients_are[0]["endpoints"], 2);
        assert_eq!(clients_are[0]["clusters"].as_array().map(Vec::len), Some(2));
        assert_ne!(clients_are[0]["id"], of_app("server")[0]["id"]);

        fleet.hub.apply(&deny_from("no-clients", "server", peers("app", "client")))?;
        for client in &clients {
            for to in server.seat.addresses {
                client.is_cut_from(to)?;
            }
        }
        assert_eq!(other.reaches(server.v4())?, server.answer);
        Ok(())
    })
}
