//! Policy on real packets: both directions and families, ports, and connections that are open already.
use std::time::Duration;

use axle_tests::{
    fleet::{PATIENCE, Settings, Spec, scenario},
    probe::{ECHO, Flow, HTTP},
};
use serde_json::json;

use crate::{
    documents::{deny_from, document, only_from, peers, policy},
    pair::Pair,
};

/// A silence that is no hiccup.
const QUIET: Duration = Duration::from_millis(500);

#[test]
fn both_directions_and_families() -> anyhow::Result<()> {
    scenario(Settings::default(), |fleet| {
        let pair = Pair::raise(fleet)?;
        let other = pair.first.workload(&fleet.fabric, &Spec::new("other", "other"))?;
        for to in pair.server.seat.addresses {
            assert_eq!(pair.client.reaches(to)?, pair.server.answer);
        }
        let ingress = deny_from("cut", "server", peers("app", "client"));
        let egress = policy("cut", "client", None, Some(json!([{"action": "Deny", "to": [peers("app", "server")]}])));
        for document in [ingress, egress] {
            fleet.hub.apply(&document)?;
            for to in pair.server.seat.addresses {
                pair.client.is_cut_from(to)?;
                assert_eq!(other.reaches(to)?, pair.server.answer);
                // Replies to what the server itself asks pass: the policy is about the other direction.
                let flow = pair.client.probe(Flow::Udp, to)?;
                flow.await_sent(100, PATIENCE)?;
                assert_eq!(flow.finish()?.received, 0);
            }
            for to in pair.client.seat.addresses {
                assert_eq!(pair.server.reaches(to)?, pair.client.answer);
            }
            fleet.hub.axle(&["policy", "delete", "cut", "--wait"])?;
            for to in pair.server.seat.addresses {
                assert_eq!(pair.client.reaches(to)?, pair.server.answer);
            }
        }
        Ok(())
    })
}

#[test]
fn ports_networks_and_the_default_of_a_cluster() -> anyhow::Result<()> {
    scenario(Settings::default(), |fleet| {
        let alpha = fleet.cluster("alpha", &["--default-action", "deny"])?;
        let (first, second) = {
            let first = fleet.relay(&alpha)?;
            let second = fleet.node(&alpha, &first)?;
            (first, second)
        };
        let client = first.workload(&fleet.fabric, &Spec::new("client", "client"))?;
        let server = second.workload(&fleet.fabric, &Spec::new("server", "server"))?;
        fleet.settle_with(2, 2)?;
        client.is_cut_from(server.v4())?;

        let send = json!([{"action": "Accept", "to": [peers("app", "server")]}]);
        let http = json!([{"action": "Accept", "from": [{"networks": [format!("{}/32", client.v4())]}],
            "protocols": [{"tcp": {"destinationPort": {"number": HTTP}}}]}]);
        let subject = |app: &str| json!({"pods": {"podSelector": {"matchLabels": {"app": app}}}});
        let baseline = |name: &str, app: &str, direction: &str, rules| {
            let mut spec = json!({"tier": "Baseline", "priority": 5, "subject": subject(app)});
            spec[direction] = rules;
            document("MeshNetworkPolicy", json!({"name": name}), spec).to_string()
        };
        let documents = [baseline("send", "client", "egress", send), baseline("serve", "server", "ingress", http)];
        fleet.hub.apply(&documents.join("\n---\n"))?;

        assert_eq!(client.reaches(server.v4())?, server.answer);
        // Another port, and the other family: not accepted.
        assert_eq!(client.get_port(server.v4(), ECHO).unwrap_err().to_string(), "timed out after 300ms");
        client.is_cut_from(server.v6())
    })
}

#[test]
fn an_open_connection_is_cut_by_a_policy_and_lives_on_after_it() -> anyhow::Result<()> {
    scenario(Settings::default(), |fleet| {
        let pair = Pair::raise(fleet)?;
        for to in pair.server.seat.addresses {
            let flow = pair.client.probe(Flow::Tcp, to)?;
            flow.await_traffic(100, PATIENCE)?;
            fleet.hub.apply(&deny_from("cut", "server", peers("app", "client")))?;
            flow.await_silence(QUIET, PATIENCE)?;
            fleet.hub.axle(&["policy", "delete", "cut", "--wait"])?;
            flow.await_traffic(100, PATIENCE)?;
            // No reset was sent meanwhile, so nothing of the stream is missing.
            flow.finish()?.check_whole(200)?;
        }
        Ok(())
    })
}

#[test]
fn an_open_connection_is_cut_by_a_change_of_labels() -> anyhow::Result<()> {
    scenario(Settings::default(), |fleet| {
        let mut pair = Pair::raise(fleet)?;
        fleet.hub.apply(&only_from("trusted", "server", peers("trust", "yes")))?;
        pair.client.is_cut_from(pair.server.v4())?;

        pair.client.spec = pair.client.spec.clone().label("trust", "yes");
        pair.first.tell(&pair.client)?;
        pair.client.reaches(pair.server.v4())?;
        let flow = pair.client.probe(Flow::Tcp, pair.server.v4())?;
        flow.await_traffic(100, PATIENCE)?;

        pair.client.spec = pair.client.spec.clone().label("trust", "no");
        pair.first.tell(&pair.client)?;
        flow.await_silence(QUIET, PATIENCE)?;

        pair.client.spec = pair.client.spec.clone().label("trust", "yes");
        pair.first.tell(&pair.client)?;
        flow.await_traffic(100, PATIENCE)?;
        flow.finish()?.check_whole(200)
    })
}
