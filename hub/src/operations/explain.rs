//! Which rule decides a flow, and why the rules before it do not.
use std::net::IpAddr;

use axle_core::policy::{Party, World};
use axle_proto::{
    v1::{ExplainRequest, ExplainResponse},
    view,
};

use super::{Operations, Problem};

impl Operations {
    /// Explains a flow.
    ///
    /// # Errors
    /// An end that is no address and no workload, ends of different families, a bad protocol or port.
    pub fn explain(&self, request: &ExplainRequest) -> Result<ExplainResponse, Problem> {
        let world = self.mirror.world();
        let flow = world.flow(&request.from, &request.to, &request.protocol, request.port)?;
        let mut response = view::explanation(&world, flow);
        if response.note.is_empty() && world.subject_at(flow.from).is_some() && is_outside(&world, flow.to) {
            response.note = format!(
                "{} is in no cluster's prefixes. A hub does not know the addresses that services have in their own cluster: if \
                 it is one, ask with the address of a backend, or with --offline and an inventory that has the Service",
                flow.to
            );
        }
        Ok(response)
    }
}

fn is_outside(world: &World, address: IpAddr) -> bool {
    matches!(world.party(address, None), Party::Outside)
}
