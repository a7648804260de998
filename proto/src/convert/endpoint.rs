//! Endpoints.
use axle_core::model::{Endpoint, Host};

use crate::{
    convert::{
        Invalid,
        invalid::{Within, list},
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
            host: wire.host.map(TryInto::try_into).transpose().within("host")?.map(Box::new),
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
            host: endpoint
                .host
                .as_ref()
                .map(|host| v1::Host { name: host.name.to_string(), service: host.service.to_string() }),
        }
    }
}

impl TryFrom<v1::Host> for Host {
    type Error = Invalid;
    fn try_from(wire: v1::Host) -> Result<Self, Invalid> {
        Ok(Self { name: name("name", wire.name)?, service: name("service", wire.service)? })
    }
}
