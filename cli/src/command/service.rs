//! `axle service`
use std::fmt::Write as _;

use axle_proto::v1::{ListRequest, ServicePortView, ServiceView};
use clap::Subcommand;

use super::{every_page, identity::Filter};
use crate::{
    failure::Failure,
    format,
    output::{Cell, Output, Table, Tone},
    session::Session,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the global services.
    List(Filter),
    /// Show one service: addresses, exports, backends and conflicts.
    #[command(after_help = "Example:\n  axle service describe shop/db")]
    Describe {
        /// The service.
        #[arg(value_name = "NAMESPACE/NAME")]
        service: String,
    },
}

impl Command {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let (request, wanted) = match self {
            Self::List(filter) => (filter.into(), None),
            Self::Describe { service } => {
                let Some((namespace, name)) = service.split_once('/') else {
                    return Err(Failure::usage(format!("{service:?} is not a service's name: wanted NAMESPACE/NAME")));
                };
                let (namespace, name) = (namespace.to_owned(), name.to_owned());
                (ListRequest { namespace, name, ..ListRequest::default() }, Some(service))
            }
        };
        let mut admin = session.admin().await?;
        let services = every_page(request, async |request| {
            let page = admin.list_services(request).await?.into_inner();
            Ok((page.services, page.next_cursor))
        })
        .await?;
        let output = session.output;
        let Some(wanted) = wanted else {
            return output.show(&services, |services| table(services));
        };
        let service = services.first().ok_or_else(|| {
            Failure::usage(format!("there is no service {wanted}: no cluster exports it")).fix("axle service list")
        })?;
        output.show_text(service, |service| describe(service, output))
    }
}

fn port(port: &ServicePortView) -> String {
    let name = if port.name.is_empty() { String::new() } else { format!("{}:", port.name) };
    format!("{name}{}/{}", port.port, port.protocol)
}

fn backends(ready: u32, all: u32) -> Cell {
    let tone = match ready {
        0 => Tone::Bad,
        _ if ready < all => Tone::Warn,
        _ => Tone::Good,
    };
    Cell(format!("{ready}/{all}"), tone)
}

fn table(services: &[ServiceView]) -> Table {
    let mut table = Table::new(["NAMESPACE", "NAME", "VIPS", "PORTS", "CLUSTERS", "READY", "CONFLICTS"]);
    for service in services {
        let conflicts = match service.conflicts.len() {
            0 => "-".into(),
            some => Cell(some.to_string(), Tone::Warn),
        };
        table.row([
            service.namespace.as_str().into(),
            service.name.as_str().into(),
            format::list(&service.vips).into(),
            format::list(service.ports.iter().map(port)).into(),
            format::list(service.exports.iter().map(|export| &export.cluster)).into(),
            backends(service.ready_backends, service.backends),
            conflicts,
        ]);
    }
    table
}

/// Writes into a String cannot fail, hence the ignored results.
fn describe(service: &ServiceView, output: Output) -> String {
    let mut text = format!("{}/{}\n", service.namespace, service.name);
    let _ = writeln!(text, "  addresses  {}", format::list(&service.vips));
    for each in &service.ports {
        let _ = writeln!(text, "  port       {} -> {}", port(each), each.target);
    }
    let _ = writeln!(text, "  revision   {}\n", service.revision);
    let mut table = Table::new(["CLUSTER", "WORKLOAD", "NODE", "ADDRESSES", "READY", "AFFINITY", "WEIGHT", "EXPORTED"]);
    for export in &service.exports {
        let own =
            [export.affinity.as_str(), &export.weight.to_string(), &format::time(export.created_ms)].map(Cell::from);
        let [affinity, weight, exported] = own;
        if export.backends.is_empty() {
            let none = Cell("no backend".into(), Tone::Bad);
            table.row([
                export.cluster.as_str().into(),
                none,
                "-".into(),
                "-".into(),
                "-".into(),
                affinity,
                weight,
                exported,
            ]);
            continue;
        }
        for backend in &export.backends {
            table.row([
                export.cluster.as_str().into(),
                backend.workload.as_str().into(),
                backend.node.as_str().into(),
                format::list(&backend.addresses).into(),
                Cell::yes(backend.ready),
                affinity.clone(),
                weight.clone(),
                exported.clone(),
            ]);
        }
    }
    text.push_str(&output.render(&table));
    for conflict in &service.conflicts {
        let line = format!("conflict in {}: {}: {}", conflict.cluster, conflict.reason, conflict.message);
        let _ = writeln!(text, "{}", output.paint(&line, Tone::Warn));
    }
    text
}
