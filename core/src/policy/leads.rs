//! Where a connection to a service's address leads: policy judges backends, and a client is led to one of them before there is
//! a packet.
use super::{
    evaluate::Flow,
    matching::Target,
    tables::PortTable,
    world::{Party, World},
};
use crate::{
    log::Change,
    model::{Kind, Protocol},
    service::{Backend, Frontend, Services},
};

/// All that bears on where a service leads.
const KINDS: [Kind; 7] = [
    Kind::Cluster,
    Kind::Node,
    Kind::Endpoint,
    Kind::Service,
    Kind::EndpointSlice,
    Kind::ServiceExport,
    Kind::ServiceImport,
];

/// What becomes of a connection that a workload makes, one flow for each backend that it may be led to; `None` if it goes to no
/// service that is known here. A service without a backend leads nowhere: the connection is refused.
#[must_use]
pub fn leads(world: &World, flow: Flow) -> Option<Vec<Flow>> {
    let protocol = [Protocol::Tcp, Protocol::Udp].into_iter().find(|one| PortTable::from(*one) == flow.target.table)?;
    let sender = world.subject_at(flow.from)?;
    let receiver = world.party(flow.to, Some((sender.cluster, &sender.endpoint.node)));
    // Else all that bears on services would be gone through for nothing.
    if !matches!(receiver, Party::ServiceAddress | Party::ClusterService) {
        return None;
    }
    let mut services = Services::new(sender.cluster, Some(sender.endpoint.node.clone()));
    let all: Vec<_> = KINDS.into_iter().flat_map(|kind| world.objects(kind)).cloned().map(Change::Put).collect();
    services.apply(&all);
    let wanted = Frontend { address: flow.to, protocol, port: flow.target.number };
    let (_, route) = services.frontends().find(|(frontend, _)| **frontend == wanted)?;
    let led = |backend: &Backend| Flow {
        to: backend.address,
        target: Target { number: backend.port, ..flow.target },
        ..flow
    };
    Some(route.backends.iter().map(led).collect())
}
