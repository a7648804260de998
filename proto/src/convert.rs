//! Between the model and the wire, strictly: what the model cannot say is refused, with the field and what is wanted.
mod cluster;
mod cluster_service;
mod contents;
mod endpoint;
mod envelope;
mod frame;
mod invalid;
mod policy;
mod policy_test;
mod record;
mod scalar;
mod selector;
mod service;
mod status;
mod traffic;

pub use contents::{contents_from_wire, contents_to_wire};
pub use envelope::{
    change_from_wire, change_to_wire, envelope_from_wire, envelope_to_wire, key_from_wire, key_to_wire,
};
pub use frame::{
    ack_from_wire, ack_to_wire, delta_from_wire, delta_to_wire, marker_from_wire, marker_to_wire, page_from_wire,
    position_from_wire, position_to_wire,
};
pub use invalid::Invalid;
pub use record::{record_from_wire, record_to_wire};
pub use scalar::uid_from_wire;
pub use status::{refusal_from_wire, refusal_to_wire};

use axle_core::{
    codec::Codec,
    model::{Kind, Object, Resource, Scope, Uid},
};
use bytes::Bytes;
use prost::Message;

use crate::v1;

/// The wire's encoding of resources.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wire;

impl Codec for Wire {
    fn encode(&self, resource: &Resource) -> Bytes {
        match resource {
            Resource::Fleet(fleet) => v1::Fleet::from(fleet).encode_to_vec(),
            Resource::Cluster(cluster) => v1::Cluster::from(cluster).encode_to_vec(),
            Resource::Node(node) => v1::Node::from(node).encode_to_vec(),
            Resource::Namespace(namespace) => v1::Namespace::from(namespace).encode_to_vec(),
            Resource::Endpoint(endpoint) => v1::Endpoint::from(endpoint).encode_to_vec(),
            Resource::ServiceExport(export) => v1::ServiceExport::from(export).encode_to_vec(),
            Resource::ServiceImport(import) => v1::ServiceImport::from(import).encode_to_vec(),
            Resource::Policy(policy) => v1::Policy::from(policy).encode_to_vec(),
            Resource::PolicyTest(test) => v1::PolicyTest::from(test).encode_to_vec(),
            Resource::Service(service) => v1::Service::from(service).encode_to_vec(),
            Resource::EndpointSlice(slice) => v1::EndpointSlice::from(slice).encode_to_vec(),
        }
        .into()
    }

    fn decode(&self, kind: Kind, payload: &Bytes) -> Result<Resource, String> {
        decode(kind, payload).map_err(|invalid| invalid.to_string())
    }
}

fn decode(kind: Kind, payload: &Bytes) -> Result<Resource, Invalid> {
    fn read<T: Message + Default>(payload: &Bytes) -> Result<T, Invalid> {
        T::decode(payload.clone()).map_err(|error| Invalid::new("payload", error, "a protobuf message of its kind"))
    }
    Ok(match kind {
        Kind::Fleet => Resource::Fleet(read::<v1::Fleet>(payload)?.try_into()?),
        Kind::Cluster => Resource::Cluster(read::<v1::Cluster>(payload)?.try_into()?),
        Kind::Node => Resource::Node(read::<v1::Node>(payload)?.try_into()?),
        Kind::Namespace => Resource::Namespace(read::<v1::Namespace>(payload)?.try_into()?),
        Kind::Endpoint => Resource::Endpoint(read::<v1::Endpoint>(payload)?.try_into()?),
        Kind::ServiceExport => Resource::ServiceExport(read::<v1::ServiceExport>(payload)?.try_into()?),
        Kind::ServiceImport => Resource::ServiceImport(read::<v1::ServiceImport>(payload)?.try_into()?),
        Kind::Policy => Resource::Policy(read::<v1::Policy>(payload)?.try_into()?),
        Kind::PolicyTest => Resource::PolicyTest(read::<v1::PolicyTest>(payload)?.try_into()?),
        Kind::Service => Resource::Service(read::<v1::Service>(payload)?.try_into()?),
        Kind::EndpointSlice => Resource::EndpointSlice(read::<v1::EndpointSlice>(payload)?.try_into()?),
    })
}

/// A new object of this content, under the name that its content gives it.
#[must_use]
pub fn object(resource: Resource, scope: Scope, uid: Uid, revision: u64) -> Object {
    Object::new(resource, scope, uid, revision, &Wire)
}
