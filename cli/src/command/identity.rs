//! `axle identity`
use axle_proto::v1::{IdentityView, ListRequest};
use clap::{Args, Subcommand};

use super::every_page;
use crate::{failure::Failure, format, output::Table, session::Session};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the identities that run now.
    List(Filter),
}

/// Narrows a list.
#[derive(Debug, Args)]
pub(crate) struct Filter {
    /// Only of this cluster.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) cluster: String,
    /// Only of this namespace.
    #[arg(short, long, default_value = "", hide_default_value = true)]
    pub(crate) namespace: String,
}

impl From<Filter> for ListRequest {
    fn from(filter: Filter) -> Self {
        Self { cluster: filter.cluster, namespace: filter.namespace, ..Self::default() }
    }
}

impl Command {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let Self::List(filter) = self;
        let mut admin = session.admin().await?;
        let identities = every_page(filter.into(), async |request| {
            let page = admin.list_identities(request).await?.into_inner();
            Ok((page.identities, page.next_cursor))
        })
        .await?;
        session.output.show(&identities, |identities| table(identities))
    }
}

fn table(identities: &[IdentityView]) -> Table {
    let mut table = Table::new(["IDENTITY", "NAMESPACE", "ACCOUNT", "LABELS", "CLUSTERS", "ENDPOINTS"]);
    for identity in identities {
        table.row([
            identity.id.as_str().into(),
            identity.namespace.as_str().into(),
            format::or_dash(&identity.service_account).into(),
            format::labels(&identity.labels).into(),
            format::list(&identity.clusters).into(),
            identity.endpoints.to_string().into(),
        ]);
    }
    table
}
