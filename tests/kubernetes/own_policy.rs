//! A cluster's own policies, by kubectl: what is said of them there is what the kernels do.
use anyhow::ensure;
use axle_tests::{
    eventually,
    fleet::{PATIENCE, Settings, scenario},
};

use crate::{
    fleet::{POLICY, pods},
    installed::{address, gets, install, is_cut},
};

#[test]
#[ignore = "'make test-kubernetes' runs it"]
fn a_policy_is_programmed_when_kernels_have_it_and_one_that_is_refused_changes_nothing() -> anyhow::Result<()> {
    scenario(Settings::default(), |fleet| {
        let oslo = install(fleet, "oslo", 1, 2)?;
        let kubectl = |arguments: &[&str]| oslo.admin().run(arguments);
        oslo.admin().apply(&pods())?;
        kubectl(&["wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s"])?;
        fleet.settle(2)?;
        let server = format!("{}:8080", address(&oslo, "server")?);
        for client in ["client", "stranger"] {
            gets(&oslo, client, &server)?;
        }

        let of_fleet = POLICY
            .replace("server-callers", "of-the-fleet")
            .replace("tier: Admin", "tier: Admin\n  enforcement: Audit");
        fleet.hub.apply(&of_fleet)?;
        eventually("the fleet's policy to be told of", PATIENCE, || {
            kubectl(&["wait", "--for=condition=Programmed", "fleetpolicies/of-the-fleet", "--timeout=5s"])
        })?;

        // The relay knows by itself what its nodes' kernels hold.
        fleet.hub.kill()?;
        let wait = |condition: &str| {
            kubectl(&["wait", &format!("--for=condition={condition}"), "mnp/server-callers", "--timeout=60s"])
        };
        oslo.admin().apply(POLICY)?;
        wait("Programmed")?;
        let nodes = kubectl(&["get", "mnp", "server-callers", "--output=jsonpath={.status.nodes}"])?;
        ensure!(nodes == "2/2", "{nodes}");
        is_cut(&oslo, "stranger", &server)?;
        gets(&oslo, "client", &server)?;

        let misspelt = POLICY.replace("matchLabels: {app: client}", "matchLabel: {app: client}");
        oslo.admin().apply(&misspelt)?;
        wait("Accepted=false")?;
        let events = kubectl(&["get", "events", "--field-selector=reason=UnknownField"])?;
        ensure!(events.contains("server-callers"), "{events}");
        is_cut(&oslo, "stranger", &server)?;
        gets(&oslo, "client", &server)?;

        // Its schema and its reader take this one, and a node has nothing to enforce it with.
        oslo.admin().apply(BY_DOMAIN)?;
        kubectl(&["wait", "--for=condition=Accepted=false", "mnp/by-domain", "--timeout=60s"])?;
        let why = kubectl(&["get", "mnp", "by-domain", "--output=jsonpath={.status.conditions[*].message}"])?;
        ensure!(why.contains("refused by node oslo") && why.contains("domain-names"), "{why}");
        gets(&oslo, "client", &server)?;

        kubectl(&["delete", "mnp", "server-callers", "by-domain"])?;
        gets(&oslo, "stranger", &server)?;
        let clusters = kubectl(&["get", "clusters.axle.dev"])?;
        ensure!(clusters.contains("oslo"), "{clusters}");
        Ok(())
    })
}

const BY_DOMAIN: &str = "
apiVersion: axle.dev/v1alpha1
kind: MeshNetworkPolicy
metadata: {name: by-domain}
spec:
  tier: Admin
  priority: 20
  subject: {pods: {podSelector: {matchLabels: {app: nobody}}}}
  egress: [{action: Accept, to: [{domainNames: [example.com]}]}]
";
