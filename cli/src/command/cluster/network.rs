//! What gives pods their network, and which of its settings rewrites source addresses.
use axle_proto::v1::ClusterView;
use serde::Serialize;

use super::{
    kubectl::{Kubectl, items, text},
    verdict::{Probe, State},
};

/// A network plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Plugin {
    Cilium,
    Calico,
    Flannel,
    Kindnet,
    Aws,
    Azure,
    Gke,
}

/// By the DaemonSet that each has on its nodes. The first counts: canal has Calico's agent and Flannel's network.
const DAEMONS: [(&str, Plugin); 9] = [
    ("cilium", Plugin::Cilium),
    ("anetd", Plugin::Cilium),
    ("canal", Plugin::Flannel),
    ("kube-flannel-ds", Plugin::Flannel),
    ("calico-node", Plugin::Calico),
    ("kindnet", Plugin::Kindnet),
    ("aws-node", Plugin::Aws),
    ("azure-ip-masq-agent", Plugin::Azure),
    ("ip-masq-agent", Plugin::Gke),
];

/// The one that runs there, as far as it can be seen.
pub(super) fn plugin(kubectl: &Kubectl) -> Option<Plugin> {
    let daemons = kubectl.json(&["get", "daemonsets", "--all-namespaces"]).ok()?;
    let names: Vec<_> = items(&daemons).iter().map(|daemon| text(daemon, "/metadata/name")).collect();
    of_daemons(&names)
}

fn of_daemons(names: &[&str]) -> Option<Plugin> {
    DAEMONS.iter().find(|(daemon, _)| names.contains(daemon)).map(|(_, plugin)| *plugin)
}

/// What is to be changed, for each cluster whose packets do not arrive as they are sent.
pub(super) fn advice(probes: &[Probe], plugin: Option<Plugin>, own: &ClusterView, all: &[ClusterView]) -> Vec<String> {
    let mut advice = Vec::new();
    let cluster = |end: &str| all.iter().find(|cluster| end.split('/').next() == Some(cluster.name.as_str()));
    let mut add = |line: String| {
        if !advice.contains(&line) {
            advice.push(line);
        }
    };
    for probe in probes {
        let (Some(from), Some(to)) = (cluster(&probe.from), cluster(&probe.to)) else { continue };
        let prefixes = to.prefixes.join(", ");
        match probe.state {
            State::Rewritten => {
                let setting = if from.uid == own.uid { setting(plugin, &prefixes) } else { setting(None, &prefixes) };
                add(format!("{}: sources are rewritten on the way to {}: {setting}", from.name, to.name));
            }
            State::Silent => add(format!(
                "{} and {}: the network between their nodes must lead {prefixes} to the nodes of {}, and {} to those of {}",
                from.name,
                to.name,
                to.name,
                from.prefixes.join(", "),
                from.name,
            )),
            State::Passes | State::Denied | State::Refused | State::Unknown => {}
        }
    }
    advice
}

/// The setting that keeps what goes to `prefixes` as it is.
fn setting(plugin: Option<Plugin>, prefixes: &str) -> String {
    match plugin {
        Some(Plugin::Cilium) => format!(
            "in Cilium set ipv4NativeRoutingCIDR (and ipv6NativeRoutingCIDR) to a range that holds {prefixes}, use \
             ip-masq-agent's nonMasqueradeCIDRs with bpf.masquerade, or set enableIPv4Masquerade (enableIPv6Masquerade) to false"
        ),
        Some(Plugin::Calico) => format!(
            "in Calico add an IPPool for each of {prefixes} with disabled: true, or set natOutgoing of the own pools to false"
        ),
        Some(Plugin::Flannel) => {
            format!("run flanneld without --ip-masq, and masquerade only what does not go to {prefixes}")
        }
        Some(Plugin::Kindnet) => {
            format!("kindnet masquerades all but its own: add {prefixes} to its POD_SUBNET, or change the plugin")
        }
        Some(Plugin::Aws) => {
            format!(
                "in aws-node set AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS to {prefixes}, or AWS_VPC_K8S_CNI_EXTERNALSNAT to true"
            )
        }
        Some(Plugin::Azure | Plugin::Gke) => {
            format!("in the ConfigMap of ip-masq-agent in kube-system add {prefixes} to nonMasqueradeCIDRs")
        }
        None => format!(
            "its network plugin must not masquerade what goes to {prefixes} (such as nonMasqueradeCIDRs of ip-masq-agent, \
             ipv4NativeRoutingCIDR of Cilium, natOutgoing and disabled pools of Calico, --ip-masq of flannel), nor may a \
             firewall between"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(name: &str, prefix: &str) -> ClusterView {
        ClusterView { uid: name.into(), name: name.into(), prefixes: vec![prefix.into()], ..ClusterView::default() }
    }

    fn probe(from: &str, to: &str, state: State) -> Probe {
        Probe { from: format!("{from}/a/r"), to: format!("{to}/a/r"), address: None, state, detail: String::new() }
    }

    #[test]
    fn plugins_are_known_by_their_daemons() {
        assert_eq!(of_daemons(&["kube-proxy", "cilium"]), Some(Plugin::Cilium));
        assert_eq!(of_daemons(&["canal", "calico-node"]), Some(Plugin::Flannel));
        assert_eq!(of_daemons(&["aws-node", "kube-proxy"]), Some(Plugin::Aws));
        assert_eq!(of_daemons(&["kube-proxy"]), None);
    }

    #[test]
    fn the_setting_is_of_the_cluster_that_rewrites() {
        let all = [cluster("oslo", "10.1.0.0/16"), cluster("lima", "10.2.0.0/16")];
        let lines = |probes: &[Probe]| advice(probes, Some(Plugin::Calico), &all[0], &all);
        let ours = lines(&[probe("oslo", "lima", State::Rewritten), probe("oslo", "lima", State::Rewritten)]);
        assert!(
            matches!(&ours[..], [one] if one.starts_with("oslo: ") && one.contains("Calico") && one.contains("10.2.0.0/16")),
            "{ours:?}"
        );
        let theirs = lines(&[probe("lima", "oslo", State::Rewritten)]);
        assert!(
            matches!(&theirs[..], [one] if one.starts_with("lima: ") && one.contains("10.1.0.0/16") && one.contains("nonMasqueradeCIDRs")),
            "{theirs:?}"
        );
        let missing = lines(&[probe("oslo", "lima", State::Silent), probe("lima", "oslo", State::Unknown)]);
        assert!(matches!(&missing[..], [one] if one.contains("lead 10.2.0.0/16 to the nodes of lima")), "{missing:?}");
        assert!(lines(&[probe("oslo", "lima", State::Denied), probe("lima", "oslo", State::Passes)]).is_empty());
        for plugin in [Plugin::Cilium, Plugin::Flannel, Plugin::Kindnet, Plugin::Aws, Plugin::Azure, Plugin::Gke] {
            assert!(setting(Some(plugin), "10.2.0.0/16").contains("10.2.0.0/16"), "{plugin:?}");
        }
    }
}
