//! Endpoints.
use axle_core::model::Endpoint;

use crate::{
    convert::{
        Invalid,
        invalid::list,
        scalar::{addresses, addresses_to_wire, name},
    },
    v1,
};

impl TryFrom<v1::Endpoint> for Endpoint {
    type Error = Invalid;
    fn try_from(wire: v1::Endpoint) -> Result<Self, Invalid> {
        Ok(Self {
            namespace: name("namespace", wire.namespace)?,
            name: name("name", wire.name)?,
            node: name("node", wire.node)?,
            service_account: wire.service_account,
            labels: wire.labels,
            addresses: addresses("addresses", &wire.addresses)?,
            named_ports: list("named_ports", wire.named_ports, TryInto::try_into)?,
            started_ms: wire.started_ms,
            ready: wire.ready,
        })
    }
}

impl From<&Endpoint> for v1::Endpoint {
    fn from(endpoint: &Endpoint) -> Self {
        Self {
            namespace: endpoint.namespace.to_string(),
            name: endpoint.name.to_string(),
            node: endpoint.node.to_string(),
            service_account: endpoint.service_account.clone(),
            labels: endpoint.labels.clone(),
            addresses: addresses_to_wire(&endpoint.addresses),
            named_ports: endpoint.named_ports.iter().map(Into::into).collect(),
            started_ms: endpoint.started_ms,
            ready: endpoint.ready,
        }
    }
}
