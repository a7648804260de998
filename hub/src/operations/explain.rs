//! Which rule decides a flow, and why the rules before it do not.
use axle_core::policy::explain;
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
        Ok(view::explanation(&world, &explain(&world, flow)))
    }
}
