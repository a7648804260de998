//! `axle node`
use axle_proto::v1::RemoveNodeRequest;
use clap::Subcommand;

use super::{begin_write, request_id, show_write};
use crate::{failure::Failure, session::Session};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Remove a node that is gone for good, and the endpoints it owned.
    ///
    /// A node that is only silent is kept: its workloads and their protection stay. `axle status` lists the nodes.
    Remove {
        /// Its cluster's name.
        cluster: String,
        /// Its name.
        node: String,
    },
}

impl Command {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let Self::Remove { cluster, node } = self;
        let mut admin = session.admin().await?;
        let what = format!("node {cluster}/{node} is removed");
        begin_write(session);
        let request = RemoveNodeRequest { cluster, node, request_id: request_id()? };
        show_write(session, &what, &admin.remove_node(request).await?.into_inner())
    }
}
