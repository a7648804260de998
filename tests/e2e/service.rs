//! Services: global ones have one address everywhere, near backends first, others when those go; those of a cluster have
//! addresses of their own there.
use std::net::IpAddr;

use anyhow::{Context as _, bail, ensure};
use axle_tests::{
    eventually,
    fleet::{Fleet, PATIENCE, Settings, Spec, Workload, scenario},
    probe::Flow,
};
use serde_json::json;

use crate::documents::{document, exported_service, peers, policy};

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

/// A policy by labels judges whoever a service's address leads to, and the hub never hears of such a service.
#[test]
fn a_clusters_own_service_under_policy() -> anyhow::Result<()> {
    scenario(Settings::default(), |fleet| {
        let alpha = fleet.cluster("alpha", &[])?;
        let one = fleet.relay(&alpha)?;
        let two = fleet.node(&alpha, &one)?;
        let addresses: [IpAddr; 2] = ["10.96.0.7".parse()?, "fd96::7".parse()?];
        let service = |local: bool| {
            let ports = json!([{"name": "http", "port": 80}, {"name": "echo", "port": 7, "protocol": "UDP"}]);
            let policy = if local { "Local" } else { "Cluster" };
            let spec = json!({
                "selector": {"app": "web"}, "ports": ports, "clusterIPs": addresses, "internalTrafficPolicy": policy,
            });
            document("Service", json!({"name": "web", "namespace": "shop"}), spec).to_string()
        };
        one.inventory("service", &service(false))?;
        let fabric = &fleet.fabric;
        let client = one.workload(fabric, &Spec::new("client", "client"))?;
        let web = two.workload(fabric, &Spec::new("web", "web"))?;
        fleet.settle_with(2, 2)?;
        for &address in &addresses {
            answered_by(&client, address, &web.answer)?;
            let flow = client.probe(Flow::UdpUnconnected, address)?;
            flow.await_traffic(50, PATIENCE)?;
            flow.finish()?.check_whole(50)?;
        }
        ensure!(
            fleet.hub.json(&["service", "list"])?.as_array().is_none_or(Vec::is_empty),
            "the hub knows of no service"
        );

        let only = |app: &str| {
            let everybody = json!({"networks": ["0.0.0.0/0", "::/0"]});
            let rules = json!([
                {"action": "Accept", "to": [peers("app", app)]},
                {"action": "Deny", "to": [everybody]},
            ]);
            policy("out", "client", None, Some(rules))
        };
        fleet.hub.apply(&only("web"))?;
        for &address in &addresses {
            ensure!(client.get(address)? == web.answer, "accepted by the label of the backend");
        }
        fleet.hub.apply(&only("db"))?;
        for &address in &addresses {
            client.is_cut_from(address)?;
        }

        // Nobody of the client's node stands behind it.
        fleet.hub.apply(&only("web"))?;
        one.inventory("service", &service(true))?;
        for &address in &addresses {
            eventually("a refusal", PATIENCE, || match client.get(address) {
                Err(error) if error.to_string().contains("refused") => Ok(()),
                other => bail!("{other:?}"),
            })?;
        }
        one.forget("service")?;
        eventually("a log without the service", PATIENCE, || match client.get(addresses[0]) {
            Err(error) if error.to_string().contains("refused") => bail!("still refused"),
            Err(_) => Ok(()),
            Ok(answer) => bail!("{answer} answered"),
        })
    })
}
