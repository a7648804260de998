//! Services.
use axle_core::model::{PortTarget, ServiceConflict, ServiceExport, ServiceImport, ServicePort, Traits};

use crate::{
    convert::{
        Invalid,
        invalid::{Within, list, required},
        scalar::{
            addresses, addresses_to_wire, name, port, port_protocol, protocol_to_wire, uid_from_wire, uid_to_wire,
            unspecified,
        },
        traffic::{affinity, affinity_to_wire, traits_to_wire},
    },
    v1,
};

impl TryFrom<v1::ServiceExport> for ServiceExport {
    type Error = Invalid;
    fn try_from(wire: v1::ServiceExport) -> Result<Self, Invalid> {
        let traits: Traits = wire.traits.map(TryInto::try_into).transpose().within("traits")?.unwrap_or_default();
        if wire.ports.is_empty() && !traits.headless {
            return Err(Invalid::new("ports", "none", "at least one port"));
        }
        Ok(Self {
            namespace: name("namespace", wire.namespace)?,
            name: name("name", wire.name)?,
            created_ms: wire.created_ms,
            selector: wire.selector,
            ports: list("ports", wire.ports, TryInto::try_into)?,
            affinity: affinity("affinity", wire.affinity)?.ok_or_else(|| unspecified::<v1::Affinity>("affinity"))?,
            weight: wire.weight,
            traits,
            backends: list("backends", wire.backends, TryInto::try_into)?,
        })
    }
}

impl From<&ServiceExport> for v1::ServiceExport {
    fn from(export: &ServiceExport) -> Self {
        Self {
            namespace: export.namespace.to_string(),
            name: export.name.to_string(),
            created_ms: export.created_ms,
            selector: export.selector.clone(),
            ports: export.ports.iter().map(Into::into).collect(),
            affinity: affinity_to_wire(export.affinity).into(),
            weight: export.weight,
            traits: traits_to_wire(&export.traits),
            backends: export.backends.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::ServicePort> for ServicePort {
    type Error = Invalid;
    fn try_from(wire: v1::ServicePort) -> Result<Self, Invalid> {
        Ok(Self {
            name: wire.name,
            protocol: port_protocol("protocol", wire.protocol)?,
            port: port("port", wire.port)?,
            target: match required("target", wire.target)? {
                v1::service_port::Target::TargetNumber(number) => PortTarget::Number(port("target_number", number)?),
                v1::service_port::Target::TargetName(name) => PortTarget::Name(name),
            },
            app_protocol: wire.app_protocol,
        })
    }
}

impl From<&ServicePort> for v1::ServicePort {
    fn from(port: &ServicePort) -> Self {
        let target = match &port.target {
            PortTarget::Number(number) => v1::service_port::Target::TargetNumber((*number).into()),
            PortTarget::Name(name) => v1::service_port::Target::TargetName(name.clone()),
        };
        let protocol = protocol_to_wire(port.protocol).into();
        let app_protocol = port.app_protocol.clone();
        Self { name: port.name.clone(), protocol, port: port.port.into(), target: Some(target), app_protocol }
    }
}

impl TryFrom<v1::ServiceImport> for ServiceImport {
    type Error = Invalid;
    fn try_from(wire: v1::ServiceImport) -> Result<Self, Invalid> {
        let conflict = |wire: v1::ServiceConflict| {
            let cluster = uid_from_wire("cluster", &wire.cluster)?;
            Ok(ServiceConflict { cluster, reason: wire.reason, message: wire.message })
        };
        Ok(Self {
            namespace: name("namespace", wire.namespace)?,
            name: name("name", wire.name)?,
            vips: addresses("vips", &wire.vips)?,
            ports: list("ports", wire.ports, TryInto::try_into)?,
            clusters: list("clusters", wire.clusters, |uid| uid_from_wire("uid", &uid))?,
            conflicts: list("conflicts", wire.conflicts, conflict)?,
            traits: wire.traits.map(TryInto::try_into).transpose().within("traits")?.unwrap_or_default(),
        })
    }
}

impl From<&ServiceImport> for v1::ServiceImport {
    fn from(import: &ServiceImport) -> Self {
        let conflict = |conflict: &ServiceConflict| v1::ServiceConflict {
            cluster: uid_to_wire(conflict.cluster),
            reason: conflict.reason.clone(),
            message: conflict.message.clone(),
        };
        Self {
            namespace: import.namespace.to_string(),
            name: import.name.to_string(),
            vips: addresses_to_wire(&import.vips),
            ports: import.ports.iter().map(Into::into).collect(),
            clusters: import.clusters.iter().copied().map(uid_to_wire).collect(),
            conflicts: import.conflicts.iter().map(conflict).collect(),
            traits: traits_to_wire(&import.traits),
        }
    }
}
