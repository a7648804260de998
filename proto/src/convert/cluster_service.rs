//! A cluster's own services and their backends.
use axle_core::model::{BackendEndpoint, Backends, EndpointSlice, Service};

use crate::{
    convert::{
        Invalid,
        invalid::{Within, list, required},
        scalar::{addresses, addresses_to_wire, name},
        traffic::{affinity, affinity_to_wire, traffic_to_wire},
    },
    v1,
};

impl TryFrom<v1::Service> for Service {
    type Error = Invalid;
    fn try_from(wire: v1::Service) -> Result<Self, Invalid> {
        Ok(Self {
            namespace: name("namespace", wire.namespace)?,
            name: name("name", wire.name)?,
            selector: wire.selector,
            addresses: addresses("addresses", &wire.addresses)?,
            ports: list("ports", wire.ports, TryInto::try_into)?,
            traffic: wire.traffic.map(TryInto::try_into).transpose().within("traffic")?.unwrap_or_default(),
            global: affinity("global", wire.global)?,
        })
    }
}

impl From<&Service> for v1::Service {
    fn from(service: &Service) -> Self {
        Self {
            namespace: service.namespace.to_string(),
            name: service.name.to_string(),
            selector: service.selector.clone(),
            addresses: addresses_to_wire(&service.addresses),
            ports: service.ports.iter().map(Into::into).collect(),
            traffic: traffic_to_wire(&service.traffic),
            global: service.global.map_or(v1::Affinity::Unspecified, affinity_to_wire).into(),
        }
    }
}

impl TryFrom<v1::EndpointSlice> for EndpointSlice {
    type Error = Invalid;
    fn try_from(wire: v1::EndpointSlice) -> Result<Self, Invalid> {
        Ok(Self {
            namespace: name("namespace", wire.namespace)?,
            name: name("name", wire.name)?,
            service: name("service", wire.service)?,
            backends: required("backends", wire.backends)?.try_into().within("backends")?,
        })
    }
}

impl From<&EndpointSlice> for v1::EndpointSlice {
    fn from(slice: &EndpointSlice) -> Self {
        Self {
            namespace: slice.namespace.to_string(),
            name: slice.name.to_string(),
            service: slice.service.to_string(),
            backends: Some((&slice.backends).into()),
        }
    }
}

impl TryFrom<v1::Backends> for Backends {
    type Error = Invalid;
    fn try_from(wire: v1::Backends) -> Result<Self, Invalid> {
        Ok(Self {
            endpoints: list("endpoints", wire.endpoints, TryInto::try_into)?,
            ports: list("ports", wire.ports, TryInto::try_into)?,
        })
    }
}

impl From<&Backends> for v1::Backends {
    fn from(backends: &Backends) -> Self {
        Self {
            endpoints: backends.endpoints.iter().map(Into::into).collect(),
            ports: backends.ports.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::BackendEndpoint> for BackendEndpoint {
    type Error = Invalid;
    fn try_from(wire: v1::BackendEndpoint) -> Result<Self, Invalid> {
        let v1::BackendEndpoint { addresses: octets, ready, serving, terminating, node, zone, hostname } = wire;
        let addresses = addresses("addresses", &octets)?;
        Ok(Self { addresses, ready, serving, terminating, node, zone, hostname })
    }
}

impl From<&BackendEndpoint> for v1::BackendEndpoint {
    fn from(endpoint: &BackendEndpoint) -> Self {
        let BackendEndpoint { addresses, ready, serving, terminating, node, zone, hostname } = endpoint.clone();
        Self { addresses: addresses_to_wire(&addresses), ready, serving, terminating, node, zone, hostname }
    }
}
