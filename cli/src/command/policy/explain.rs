//! `axle policy explain`
use std::fmt::Write as _;

use axle_proto::v1::{ExplainRequest, ExplainResponse, ExplainSide};
use clap::{Args, ValueEnum};

use super::offline::{self, Offline};
use crate::{
    command::observe::rule,
    failure::Failure,
    format,
    output::{Output, Tone},
    session::Session,
};

const EXAMPLES: &str = "\
Examples:
  axle policy explain --from eu1/shop/web --to us1/shop/db --port 5432
  axle policy explain --from 198.51.100.7 --to eu1/shop/web --port 443
  axle policy explain --from eu1/shop/web --to us1/shop/db --protocol icmp --port 2048
  axle policy explain --from eu1/shop/web --to us1/shop/db --port 5432 --offline --inventory clusters/ --policies policies/";

/// Say which rule decides a flow at each end, and why the rules before it do not.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Explain {
    /// Who sends: CLUSTER/NAMESPACE/WORKLOAD or an address.
    #[arg(long, value_name = "END")]
    from: String,
    /// Who receives: CLUSTER/NAMESPACE/WORKLOAD or an address.
    #[arg(long, value_name = "END")]
    to: String,
    /// The destination's port; for ICMP type * 256 + code.
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=65535))]
    port: u32,
    /// The protocol.
    #[arg(long, value_enum, default_value_t)]
    protocol: Protocol,
    #[command(flatten)]
    offline: Offline,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Protocol {
    #[default]
    Tcp,
    Udp,
    Sctp,
    Icmp,
    Icmpv6,
}

impl Explain {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let protocol = match self.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
            Protocol::Icmp => "icmp",
            Protocol::Icmpv6 => "icmpv6",
        };
        let request = ExplainRequest { from: self.from, to: self.to, protocol: protocol.into(), port: self.port };
        let flow = format!("{} -> {} {protocol} {}", request.from, request.to, format::port(protocol, self.port));
        let answer = match self.offline.world()? {
            Some(world) => offline::explain(&world, &request)?,
            None => session.admin().await?.explain(request).await?.into_inner(),
        };
        let output = session.output;
        output.show_text(&answer, |answer| describe(&flow, answer, output))
    }
}

fn tone(verdict: &str) -> Tone {
    if verdict == "accept" { Tone::Good } else { Tone::Bad }
}

/// Writes into a String cannot fail, hence the ignored results.
fn describe(flow: &str, answer: &ExplainResponse, output: Output) -> String {
    let mut text = format!("{flow}: {}\n", output.paint(&answer.verdict, tone(&answer.verdict)));
    if !answer.note.is_empty() {
        let _ = writeln!(text, "{}", answer.note);
    }
    for backend in &answer.backends {
        let (address, port) = (&backend.address, backend.port);
        let _ = writeln!(text, "\n{address} port {port}: {}", output.paint(&backend.verdict, tone(&backend.verdict)));
        for side in &backend.sides {
            describe_side(&mut text, side, output);
        }
    }
    if answer.sides.is_empty() && answer.backends.is_empty() && answer.note.is_empty() {
        text.push_str("neither end is a workload of the mesh, so no policy is asked\n");
    }
    for side in &answer.sides {
        describe_side(&mut text, side, output);
    }
    text
}

fn describe_side(text: &mut String, side: &ExplainSide, output: Output) {
    let verdict = output.paint(&side.verdict, tone(&side.verdict));
    let decided = side.rule.as_ref().map(|decider| format!(" by {}", rule(decider))).unwrap_or_default();
    let reason = if side.reason.is_empty() { String::new() } else { format!(": {}", side.reason) };
    let _ = writeln!(text, "\n{} of {}: {verdict}{decided}{reason}", side.direction, side.workload);
    for step in &side.steps {
        let mark = if step.matched { output.paint("matched", Tone::Good) } else { "passed over".into() };
        let name = step.rule.as_ref().map(rule).unwrap_or_default();
        let _ = writeln!(text, "  {:16} {name}: {mark}: {}", step.tier, step.why);
    }
}
