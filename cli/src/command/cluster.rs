//! `axle cluster`
mod check;
mod installation;
mod join;
mod kubectl;
mod membership;
mod network;
mod place;
mod progress;
mod remove;
mod surroundings;
mod verdict;

use axle_proto::v1::{AddClusterRequest, ClusterView};
use clap::{Args, Subcommand, ValueEnum};

use super::{begin_write, request_id};
use crate::{
    failure::Failure,
    format,
    output::{Cell, Table, Tone},
    session::Session,
};

const EXAMPLES: &str = "\
Examples:
  axle cluster add eu1 --prefix 10.1.0.0/16 --prefix fd00:1::/48 --region eu-north-1
  axle cluster add lab --prefix 10.9.0.0/16 --label stage=test --default-action deny";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Register a cluster, so that it can join.
    Add(Add),
    /// List the clusters.
    List,
    /// Make a cluster of your kubeconfig (--context) one of the fleet: registers it, installs the agents there, waits and
    /// checks.
    Join(Box<join::Join>),
    /// Test whether pods of a cluster of your kubeconfig (--context) and of others reach each other, and with which source
    /// addresses.
    Check(check::Check),
    /// Lead nobody in other clusters to a cluster's backends any more; it stays in the fleet.
    Drain(remove::Drain),
    /// Remove a cluster with everything it owns, once nobody is led to its backends any more; with --context, of your
    /// kubeconfig, also its agents there.
    Remove(remove::Remove),
}

/// Register a cluster, so that it can join.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Add {
    /// Its name, unique in the fleet.
    name: String,
    /// An address range of its workloads; no other cluster's may overlap. Repeat for several.
    #[arg(long = "prefix", value_name = "CIDR", required = true)]
    prefixes: Vec<String>,
    /// Where it is, for locality.
    #[arg(long, default_value = "")]
    region: String,
    /// A label for cluster selectors. Repeat for several.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = format::parse_label)]
    labels: Vec<(String, String)>,
    /// What happens to a flow that no policy decides.
    #[arg(long, value_enum, default_value_t)]
    default_action: DefaultAction,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum DefaultAction {
    /// It passes.
    #[default]
    Accept,
    /// It is dropped.
    Deny,
}

impl Command {
    /// Whether --context is one of the kubeconfig.
    pub(crate) fn takes_kubeconfig(&self) -> bool {
        matches!(self, Self::Join(_) | Self::Check(_) | Self::Remove(_))
    }

    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::Add(add) => {
                let mut admin = session.admin().await?;
                let default_action = match add.default_action {
                    DefaultAction::Accept => "accept",
                    DefaultAction::Deny => "deny",
                };
                let request = AddClusterRequest {
                    name: add.name,
                    region: add.region,
                    labels: add.labels.into_iter().collect(),
                    prefixes: add.prefixes,
                    default_action: default_action.into(),
                    request_id: request_id()?,
                };
                begin_write(session);
                let cluster = admin.add_cluster(request).await?.into_inner();
                session.output.show_text(&cluster, |cluster| {
                    format!(
                        "cluster {name} is registered (revision {revision}); next: axle token create --cluster {name}\n",
                        name = cluster.name,
                        revision = cluster.revision
                    )
                })
            }
            Self::List => {
                let clusters = place::clusters(&mut session.admin().await?).await?;
                session.output.show(&clusters, |clusters| table(clusters))
            }
            Self::Join(join) => join.run(session).await,
            Self::Check(check) => check.run(session).await,
            Self::Drain(drain) => drain.run(session).await,
            Self::Remove(remove) => remove.run(session).await,
        }
    }
}

fn table(clusters: &[ClusterView]) -> Table {
    let mut table = Table::new(["NAME", "REGION", "PREFIXES", "DEFAULT", "CONNECTED", "NODES", "ENDPOINTS", "LABELS"]);
    for cluster in clusters {
        table.row([
            cluster.name.as_str().into(),
            format::or_dash(&cluster.region).into(),
            format::list(&cluster.prefixes).into(),
            cluster.default_action.as_str().into(),
            if cluster.draining { Cell("draining".into(), Tone::Warn) } else { Cell::yes(cluster.connected) },
            cluster.nodes.to_string().into(),
            cluster.endpoints.to_string().into(),
            format::labels(&cluster.labels).into(),
        ]);
    }
    table
}
