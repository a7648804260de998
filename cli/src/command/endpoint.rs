//! `axle endpoint`
use axle_proto::v1::EndpointView;
use clap::Subcommand;

use super::{every_page, identity::Filter};
use crate::{
    failure::Failure,
    format,
    output::{Cell, Table, Tone},
    session::Session,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the running workloads with their addresses.
    List(Filter),
}

impl Command {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let Self::List(filter) = self;
        let mut admin = session.admin().await?;
        let mut endpoints = every_page(filter.into(), async |request| {
            let page = admin.list_endpoints(request).await?.into_inner();
            Ok((page.endpoints, page.next_cursor))
        })
        .await?;
        endpoints.sort_by(|a, b| (&a.cluster, &a.namespace, &a.name).cmp(&(&b.cluster, &b.namespace, &b.name)));
        session.output.show(&endpoints, |endpoints| table(endpoints))
    }
}

fn table(endpoints: &[EndpointView]) -> Table {
    let mut table = Table::new(["CLUSTER", "NAMESPACE", "NAME", "NODE", "ADDRESSES", "STATE", "IDENTITY", "LABELS"]);
    for endpoint in endpoints {
        let state = match (endpoint.stale, endpoint.ready) {
            (true, _) => Cell("stale".into(), Tone::Warn),
            (false, true) => Cell("ready".into(), Tone::Good),
            (false, false) => Cell("not ready".into(), Tone::Warn),
        };
        let identity: String = endpoint.identity.chars().take(12).collect();
        table.row([
            endpoint.cluster.as_str().into(),
            endpoint.namespace.as_str().into(),
            endpoint.name.as_str().into(),
            endpoint.node.as_str().into(),
            format::list(&endpoint.addresses).into(),
            state,
            identity.into(),
            format::labels(&endpoint.labels).into(),
        ]);
    }
    table
}
