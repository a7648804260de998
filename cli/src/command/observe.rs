//! `axle observe`
use axle_proto::v1::{FlowEndView, FlowView, ObserveRequest, RuleView};
use clap::{Args, ValueEnum};

use crate::{
    failure::{Exit, Failure},
    format,
    output::{Output, Tone, note},
    session::Session,
};

const EXAMPLES: &str = "\
Examples:
  axle observe
  axle observe --verdict deny --namespace shop
  axle observe -o json | jq .rule.policy";

/// Live flows with the verdict and the rule that decided.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Observe {
    /// Only what nodes of this cluster judged.
    #[arg(long, default_value = "", hide_default_value = true)]
    cluster: String,
    /// Only flows with an end in this namespace.
    #[arg(short, long, default_value = "", hide_default_value = true)]
    namespace: String,
    /// Only flows with this workload at an end.
    #[arg(short, long, default_value = "", hide_default_value = true)]
    workload: String,
    /// Only this verdict.
    #[arg(long, value_enum)]
    verdict: Option<Verdict>,
    /// End after this many flows; 0: never.
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    count: u64,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Verdict {
    /// Let through.
    Accept,
    /// Dropped.
    Deny,
}

impl Observe {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let verdict = match self.verdict {
            None => "",
            Some(Verdict::Accept) => "accept",
            Some(Verdict::Deny) => "deny",
        };
        let request = ObserveRequest {
            cluster: self.cluster,
            namespace: self.namespace,
            workload: self.workload,
            verdict: verdict.into(),
        };
        let mut flows = session.admin().await?.observe(request).await?.into_inner();
        let mut seen = 0;
        while let Some(flow) = flows.message().await? {
            if flow.dropped > 0 && session.output.is_for_people() {
                note(&format!("{} events were lost on the way before this one", flow.dropped));
            }
            session.output.show_item(&flow, |flow| line(flow, session.output))?;
            seen += 1;
            if seen == self.count {
                return Ok(());
            }
        }
        Err(Failure::new(Exit::Unavailable, "unavailable", "the hub ended the stream").fix("run the command again"))
    }
}

fn line(flow: &FlowView, output: Output) -> String {
    let tone = if flow.verdict == "accept" { Tone::Good } else { Tone::Bad };
    let empty = FlowEndView::default();
    let source = flow.source.as_ref().unwrap_or(&empty);
    let destination = flow.destination.as_ref().unwrap_or(&empty);
    let times = if flow.count > 1 { format!(" x{}", flow.count) } else { String::new() };
    format!(
        "{} {} {} -> {} {} {} at {}/{} {}: {}{times}\n",
        format::clock(flow.time_ms),
        output.paint(&format!("{:6}", flow.verdict), tone),
        end(source),
        end(destination),
        flow.protocol,
        format::port(&flow.protocol, flow.port),
        flow.cluster,
        flow.node,
        flow.direction,
        flow.rule.as_ref().map_or_else(|| flow.reason.clone(), rule),
    )
}

fn end(end: &FlowEndView) -> String {
    if end.workload.is_empty() {
        return end.address.clone();
    }
    format!("{}/{}/{} ({})", end.cluster, end.namespace, end.workload, end.address)
}

/// `policy allow-web ingress[2] "web to db" @41`; `policy allow-web isolates ingress @41` where none of its rules decides.
pub(super) fn rule(rule: &RuleView) -> String {
    if rule.index == u32::MAX {
        return format!("policy {} isolates {} @{}", rule.policy, rule.direction, rule.revision);
    }
    let name = if rule.name.is_empty() { String::new() } else { format!(" {:?}", rule.name) };
    format!("policy {} {}[{}]{name} @{}", rule.policy, rule.direction, rule.index, rule.revision)
}
