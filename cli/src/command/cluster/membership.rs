//! How a cluster of the kubeconfig becomes one that the hub knows.
use std::collections::BTreeMap;

use axle_core::model::Name;
use axle_proto::v1::{AddClusterRequest, ClusterView, GetStatusRequest};
use clap::Args;
use ipnet::IpNet;

use super::{
    super::{begin_write, request_id},
    installation::address,
    kubectl::Kubectl,
    place, surroundings,
};
use crate::{
    client::Admin,
    failure::{Exit, Failure},
    format,
    output::note,
    session::Session,
};

/// What the hub is to know of it.
#[derive(Debug, Args)]
pub(super) struct Membership {
    /// Its name in the fleet [default: made of the context's name].
    #[arg(long, value_name = "NAME")]
    pub(super) name: Option<Name>,
    /// An address range of its pods. Repeat for several [default: what the cluster says].
    #[arg(long = "prefix", value_name = "CIDR")]
    prefixes: Vec<IpNet>,
    /// Where it is, for locality [default: the region label of its nodes].
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// A label for cluster selectors. Repeat for several.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = format::parse_label)]
    labels: Vec<(String, String)>,
    /// Where its pods reach the hub [default: as the hub advertises].
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    hub: Option<String>,
}

impl Membership {
    /// Where its pods reach the hub.
    pub(super) async fn hub_address(&self, admin: &mut Admin) -> Result<String, Failure> {
        if let Some(hub) = &self.hub {
            return Ok(hub.clone());
        }
        let hub = admin.get_status(GetStatusRequest {}).await?.into_inner().hub;
        let host = hub.rsplit_once(':').map_or("", |(host, _)| host).trim_matches(['[', ']']);
        let is_local = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if host.is_empty() || is_local {
            let message = format!("the hub advertises {hub:?}, where no pod reaches it");
            return Err(Failure::usage(message).fix("give its address with --hub HOST:PORT, or axle-hub --advertise"));
        }
        Ok(hub)
    }

    /// The cluster at the hub, and whether it is new there.
    pub(super) async fn registered(
        &self,
        session: &Session,
        admin: &mut Admin,
        clusters: &[ClusterView],
        name: &Name,
        found: Option<(&Kubectl, &serde_json::Value)>,
    ) -> Result<(ClusterView, bool), Failure> {
        let given: Vec<_> = self.prefixes.iter().map(ToString::to_string).collect();
        if let Some(there) = clusters.iter().find(|cluster| cluster.name == name.as_str()) {
            if there.draining {
                let fix = format!("axle cluster drain {name} --undo, if it is to stay");
                return Err(Failure::new(Exit::Conflict, "draining", format!("cluster {name} drains")).fix(fix));
            }
            if !given.is_empty() && given.iter().any(|prefix| !there.prefixes.contains(prefix)) {
                let message = format!(
                    "cluster {name} has the prefixes {}, wanted {}",
                    format::list(&there.prefixes),
                    format::list(&given)
                );
                return Err(Failure::new(Exit::Conflict, "other_prefixes", message)
                    .fix("leave --prefix out, or remove the cluster first"));
            }
            return Ok((there.clone(), false));
        }
        let prefixes = match found {
            _ if !given.is_empty() => given,
            Some((kubectl, nodes)) => {
                let found = surroundings::prefixes(kubectl, nodes)?.ok_or_else(|| {
                    Failure::usage("the cluster does not say which addresses its pods have")
                        .fix("give them with --prefix CIDR")
                })?;
                let prefixes: Vec<_> = found.prefixes.iter().map(ToString::to_string).collect();
                note(&format!("the pods of {name} have {}, by {}", format::list(&prefixes), found.by));
                prefixes
            }
            None => return Err(Failure::usage("which addresses have its pods?").fix("give them with --prefix CIDR")),
        };
        if let Some((kubectl, _)) = found {
            shadows(&surroundings::service_ranges(kubectl), clusters).iter().for_each(|warning| note(warning));
        }
        let region = self.region.clone().or_else(|| found.map(|(_, nodes)| surroundings::region(nodes)));
        let request = AddClusterRequest {
            name: name.to_string(),
            region: region.unwrap_or_default(),
            labels: self.labels.iter().cloned().collect::<BTreeMap<_, _>>(),
            prefixes,
            default_action: String::new(),
            request_id: request_id()?,
        };
        begin_write(session);
        Ok((admin.add_cluster(request).await?.into_inner(), true))
    }
}

/// Whether the agents of a namespace have joined as this cluster already.
pub(super) fn has_joined(
    kubectl: &Kubectl,
    namespace: &str,
    cluster: &ClusterView,
    all: &[ClusterView],
) -> Result<bool, Failure> {
    let conflict = |message: String, fix: String| Failure::new(Exit::Conflict, "other_cluster", message).fix(fix);
    match place::joined_as(kubectl, namespace)? {
        Some(uid) if uid == cluster.uid => Ok(true),
        Some(uid) => {
            let other = all.iter().find(|other| other.uid == uid);
            let whose =
                other.map_or_else(|| "of one that this hub does not know".into(), |other| format!("of {}", other.name));
            let message =
                format!("the relay of namespace {namespace} has the credentials {whose}, wanted {}", cluster.name);
            let fix = match other {
                Some(other) => {
                    format!("--name {}, or remove that cluster first: axle cluster remove {0} --context …", other.name)
                }
                None => {
                    format!("kubectl --namespace {namespace} delete secret/axle-relay configmap/axle-relay, then again")
                }
            };
            Err(conflict(message, fix))
        }
        None if cluster.connected => {
            let message = format!(
                "cluster {} is connected already, and namespace {namespace} of this context has no relay",
                cluster.name
            );
            Err(conflict(message, "give another --name, or the --namespace of its agents".into()))
        }
        None => Ok(false),
    }
}

/// Networks of its services that other clusters' pods have: those pods are not reached from here.
fn shadows(services: &[IpNet], clusters: &[ClusterView]) -> Vec<String> {
    let mut warnings = Vec::new();
    for service in services {
        for cluster in clusters {
            for prefix in cluster.prefixes.iter().filter_map(|prefix| prefix.parse::<IpNet>().ok()) {
                if prefix.contains(service) || service.contains(&prefix) {
                    let name = &cluster.name;
                    warnings.push(format!(
                        "warning: its services have {service}, and pods of {name} {prefix}: a pod there that has a service's \
                         address is not reached from here"
                    ));
                }
            }
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_that_hide_pods_are_told() {
        let lima = ClusterView { name: "lima".into(), prefixes: vec!["10.96.4.0/24".into()], ..ClusterView::default() };
        let found = shadows(&["10.96.0.0/12".parse().unwrap(), "fd00::/108".parse().unwrap()], &[lima]);
        assert!(
            matches!(&found[..], [one] if one.contains("10.96.0.0/12, and pods of lima 10.96.4.0/24")),
            "{found:?}"
        );
    }
}
