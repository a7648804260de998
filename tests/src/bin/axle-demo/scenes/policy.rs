//! One policy for the fleet: written once, in force everywhere, and explained.
use std::time::Duration;

use anyhow::{Context as _, ensure};
use axle_tests::{
    fleet::PATIENCE,
    probe::{Flow, Probe, now_ns},
};

use crate::{
    stage::{Stage, shown},
    world::World,
};

/// Callers of the web service: the shop, and nobody else.
const POLICY: &str = r#"apiVersion: axle.dev/v1alpha1
kind: MeshNetworkPolicy
metadata:
  name: web-callers
spec:
  tier: Admin
  priority: 10
  description: Only the shop may call the web service, in every cluster.
  subject:
    pods:
      podSelector: {matchLabels: {app: web}}
  ingress:
  - name: the-shop
    action: Accept
    from:
    - clusters: {}
      pods:
        podSelector: {matchLabels: {app: shop}}
  - name: nobody-else
    action: Deny
    from:
    - clusters: {}
      namespaces: {}
"#;

/// A silence that is no hiccup.
const QUIET: Duration = Duration::from_millis(250);

pub(crate) fn one_policy_everywhere(stage: &mut Stage, world: &mut World) -> anyhow::Result<()> {
    stage.scene("A policy, written once: one caller is blocked in every cluster, another passes")?;
    stage.output(POLICY)?;
    // In each cluster a scraper and the shop call a web server of the next cluster, once a millisecond.
    let towns = &world.clusters;
    let mut flows: Vec<(String, Probe, Probe)> = Vec::new();
    for (index, town) in towns.iter().enumerate() {
        let next = &towns[(index + 1) % towns.len()];
        let web = &next.webs[0];
        let scraper = town.scraper.probe(Flow::Udp, web.v4())?;
        let shop = town.shop.probe(Flow::Tcp, web.v6())?;
        scraper.await_traffic(100, PATIENCE)?;
        shop.await_traffic(100, PATIENCE)?;
        flows.push((format!("{} calling {}", town.name, web.answer), scraper, shop));
    }
    stage.proof("before: every scraper and every shop reaches a web server of another cluster")?;

    let file = world.fleet.hub.file("web-callers.yaml", POLICY)?;
    stage.command("axle policy apply -f web-callers.yaml --wait")?;
    let applied_ns = now_ns()?;
    let outcome = world.fleet.hub.try_axle(&["policy", "apply", "-f", &file, "--wait"])?;
    ensure!(outcome.code == Some(0), "axle policy apply failed: {}", outcome.err);
    stage.output(&(outcome.out + &outcome.err))?;

    for (who, scraper, shop) in flows {
        scraper.await_silence(QUIET, PATIENCE)?;
        shop.await_traffic(100, PATIENCE)?;
        let blocked = scraper.finish()?;
        let first = blocked.lost.last().context("nothing was blocked")?.from_ns;
        let passed = shop.finish()?;
        passed.check_whole(100).with_context(|| format!("the shop of {who}"))?;
        stage.proof(&format!(
            "{who}: scraper blocked {} after the command was started; shop: all of {} messages over its open connection",
            shown(Duration::from_nanos(first.saturating_sub(applied_ns))),
            passed.sent
        ))?;
    }
    Ok(())
}

pub(crate) fn explained(stage: &mut Stage, world: &mut World) -> anyhow::Result<()> {
    stage.scene("Why was it blocked?")?;
    for from in ["milan/shop/scraper", "milan/shop/shop"] {
        let arguments = ["policy", "explain", "--from", from, "--to", "lima/shop/web-1", "--port", "80"];
        stage.command(&format!("axle {}", arguments.join(" ")))?;
        let text = world.axle(&arguments)?;
        stage.output(&text)?;
        let rule = if from.ends_with("scraper") { "nobody-else" } else { "the-shop" };
        ensure!(text.contains("web-callers"), "the explanation does not name the policy");
        ensure!(text.contains(rule), "the explanation does not name the rule {rule}");
    }
    stage.proof("the same code that made the kernel's tables names the rule that decides")?;
    Ok(())
}
