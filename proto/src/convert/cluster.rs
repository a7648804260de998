//! The fleet, clusters, nodes, namespaces.
use axle_core::model::{Action, Cluster, Fleet, Namespace, Node};

use crate::{
    convert::{
        Invalid,
        scalar::{action, action_to_wire, addresses, addresses_to_wire, name, network, parse},
    },
    v1,
};

impl TryFrom<v1::Fleet> for Fleet {
    type Error = Invalid;
    fn try_from(wire: v1::Fleet) -> Result<Self, Invalid> {
        Ok(Self {
            vip4: parse("vip4", &wire.vip4, "an IPv4 block such as 100.96.0.0/16")?,
            vip6: parse("vip6", &wire.vip6, "an IPv6 block such as fd00:6178:6c65::/112")?,
            excluded_label_keys: wire.excluded_label_keys,
        })
    }
}

impl From<&Fleet> for v1::Fleet {
    fn from(fleet: &Fleet) -> Self {
        Self {
            vip4: fleet.vip4.to_string(),
            vip6: fleet.vip6.to_string(),
            excluded_label_keys: fleet.excluded_label_keys.clone(),
        }
    }
}

impl TryFrom<v1::Cluster> for Cluster {
    type Error = Invalid;
    fn try_from(wire: v1::Cluster) -> Result<Self, Invalid> {
        let default_action = action("default_action", wire.default_action)?;
        if default_action == Action::Pass {
            return Err(Invalid::new("default_action", "Pass", "Accept or Deny: nothing decides after the default"));
        }
        let prefix = |(i, text): (usize, &String)| network(&format!("prefixes[{i}]"), text);
        Ok(Self {
            name: name("name", wire.name)?,
            region: wire.region,
            labels: wire.labels,
            prefixes: wire.prefixes.iter().enumerate().map(prefix).collect::<Result<_, _>>()?,
            default_action,
            draining: wire.draining,
        })
    }
}

impl From<&Cluster> for v1::Cluster {
    fn from(cluster: &Cluster) -> Self {
        Self {
            name: cluster.name.to_string(),
            region: cluster.region.clone(),
            labels: cluster.labels.clone(),
            prefixes: cluster.prefixes.iter().map(ToString::to_string).collect(),
            default_action: action_to_wire(cluster.default_action).into(),
            draining: cluster.draining,
        }
    }
}

impl TryFrom<v1::Node> for Node {
    type Error = Invalid;
    fn try_from(wire: v1::Node) -> Result<Self, Invalid> {
        let addresses = addresses("addresses", &wire.addresses)?;
        Ok(Self { name: name("name", wire.name)?, labels: wire.labels, addresses })
    }
}

impl From<&Node> for v1::Node {
    fn from(node: &Node) -> Self {
        let addresses = addresses_to_wire(&node.addresses);
        Self { name: node.name.to_string(), labels: node.labels.clone(), addresses }
    }
}

impl TryFrom<v1::Namespace> for Namespace {
    type Error = Invalid;
    fn try_from(wire: v1::Namespace) -> Result<Self, Invalid> {
        Ok(Self { name: name("name", wire.name)?, labels: wire.labels })
    }
}

impl From<&Namespace> for v1::Namespace {
    fn from(namespace: &Namespace) -> Self {
        Self { name: namespace.name.to_string(), labels: namespace.labels.clone() }
    }
}
