//! The small world of most tests: one cluster of two nodes, a client on one and a server on the other.
use axle_tests::fleet::{Cluster, Fleet, Node, Spec, Workload};

/// One cluster, two nodes, two workloads.
pub(crate) struct Pair {
    /// `alpha`.
    pub(crate) cluster: Cluster,
    /// Relay, and node of the client.
    pub(crate) first: Node,
    /// Node of the server.
    pub(crate) second: Node,
    /// `app: client`, on the first node.
    pub(crate) client: Workload,
    /// `app: server`, on the second node.
    pub(crate) server: Workload,
}

impl Pair {
    /// Starts it and waits until everything is enforced.
    pub(crate) fn raise(fleet: &mut Fleet) -> anyhow::Result<Self> {
        let cluster = fleet.cluster("alpha", &[])?;
        let first = fleet.relay(&cluster)?;
        let second = fleet.node(&cluster, &first)?;
        let client = first.workload(&fleet.fabric, &Spec::new("client", "client"))?;
        let server = second.workload(&fleet.fabric, &Spec::new("server", "server"))?;
        let pair = Self { cluster, first, second, client, server };
        fleet.settle_with(2, 2)?;
        Ok(pair)
    }
}
