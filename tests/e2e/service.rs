//! Global services: one address everywhere, near backends first, others when those go.
use std::net::IpAddr;

use anyhow::{Context as _, bail, ensure};
use axle_tests::{
    eventually,
    fleet::{Fleet, PATIENCE, Settings, Spec, Workload, scenario},
    probe::Flow,
};

use crate::documents::exported_service;

/// The service's addresses once it has `ready` ready backends.
fn vips(fleet: &Fleet, ready: u64) -> anyhow::Result<Vec<IpAddr>> {
    eventually("the service", PATIENCE, || {
        let services = fleet.hub.json(&["service", "list"])?;
        let service = services.get(0).context("there is none")?;
        let now = service["readyBackends"].as_u64().unwrap_or(0);
        ensure!(now == ready, "{now} backends are ready, wanted {ready}");
        Ok(serde_json::from_value(service["vips"].clone())?)
    })
}

/// Waits until `wanted` is who answers.
fn answered_by(client: &Workload, to: IpAddr, wanted: &str) -> anyhow::Result<()> {
    eventually(&format!("an answer by {wanted}"), PATIENCE, || {
        let answer = client.get(to)?;
        if answer == wanted { Ok(()) } else { bail!("{answer} answered") }
    })
}

#[test]
fn near_backends_first_then_the_others() -> anyhow::Result<()> {
    scenario(Settings::default(), |fleet| {
        let (alpha, beta) = (fleet.cluster("alpha", &[])?, fleet.cluster("beta", &[])?);
        let (one, two) = (fleet.relay(&alpha)?, fleet.relay(&beta)?);
        for node in [&one, &two] {
            for (file, text) in exported_service() {
                node.inventory(file, &text)?;
            }
        }
        let fabric = &fleet.fabric;
        let client = one.workload(fabric, &Spec::new("client", "client"))?;
        let mut near = one.workload(fabric, &Spec::new("web", "web"))?;
        let far = two.workload(fabric, &Spec::new("web", "web"))?;
        let vips = vips(fleet, 2)?;
        assert_eq!(vips.len(), 2, "one address per family");
        fleet.settle_with(2, 3)?;

        for &vip in &vips {
            answered_by(&client, vip, &near.answer)?;
            // UDP too, connected or not: answers seem to come from the service's address.
            for flow in [Flow::Udp, Flow::UdpUnconnected] {
                let flow = client.probe(flow, vip)?;
                flow.await_traffic(100, PATIENCE)?;
                flow.finish()?.check_whole(100)?;
            }
        }

        // Not ready is not asked any more, ready is asked again.
        near.spec.ready = false;
        one.tell(&near)?;
        for &vip in &vips {
            answered_by(&client, vip, &far.answer)?;
        }
        near.spec.ready = true;
        one.tell(&near)?;
        answered_by(&client, vips[0], &near.answer)?;

        // Gone.
        one.forget(&near.file())?;
        near.remove()?;
        for &vip in &vips {
            answered_by(&client, vip, &far.answer)?;
        }
        // And the last one: a service without backends refuses at once or is silent, but nobody wrong answers.
        two.forget(&far.file())?;
        eventually("nobody to answer", PATIENCE, || match client.get(vips[0]) {
            Ok(answer) => bail!("{answer} answered"),
            Err(_) => Ok(()),
        })
    })
}
