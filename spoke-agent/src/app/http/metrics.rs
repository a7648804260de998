//! The agent's figures in the text format of Prometheus.
use std::fmt::Write;

use crate::{
    app::answers::Answers,
    node::enforcement::Enforced,
    status::{NodeStatus, RelayStatus},
};

pub(super) fn render(answers: &Answers) -> String {
    let status = answers.status();
    let mut page = Page(String::new());
    page.gauge("axle_agent_problems", "Problems that the agent sees at present.", status.problems.len() as u64);
    if let Some(relay) = &status.relay {
        render_relay(&mut page, relay);
    }
    if let (Some(status), Some(node)) = (&status.node, answers.node()) {
        render_node(&mut page, status, &node.enforced().borrow());
    }
    page.0
}

fn render_relay(page: &mut Page, relay: &RelayStatus) {
    page.gauge("axle_agent_relay_connected", "Whether a session with the hub is up.", relay.connected.into());
    let received = relay.received.map_or(0, |position| position.revision);
    page.gauge("axle_agent_relay_received_revision", "The hub's revision that this relay holds.", received);
    page.gauge("axle_agent_relay_head_revision", "The revision of the relay's own log.", relay.head.revision);
    page.counter("axle_agent_relay_resyncs_total", "Complete copies taken from the hub.", relay.resyncs);
    let connected = relay.nodes.iter().filter(|node| node.connected).count();
    page.gauge("axle_agent_relay_connected_nodes", "Nodes with a session.", connected as u64);
    let expires = relay.certificate_expires_ms / 1000;
    page.gauge(
        "axle_agent_relay_certificate_expiry_seconds",
        "When the certificate ends, in seconds since 1970.",
        expires,
    );
}

fn render_node(page: &mut Page, node: &NodeStatus, enforced: &Enforced) {
    page.gauge("axle_agent_node_connected", "Whether a session with the relay is up.", node.connected.into());
    let applied = node.applied.map_or(0, |position| position.revision);
    page.gauge("axle_agent_applied_revision", "The hub's revision that the kernel holds.", applied);
    page.gauge("axle_agent_refused_objects", "Objects received and not in force.", node.refused.len() as u64);
    page.gauge("axle_agent_bypassed", "Whether denied packets pass.", node.bypassed_until_ms.is_some().into());
    page.gauge("axle_agent_workloads", "Workloads of this node.", node.workloads.len() as u64);
    let held = node.workloads.iter().filter(|workload| workload.enforced).count();
    page.gauge("axle_agent_enforced_workloads", "Workloads with both hooks attached.", held as u64);
    page.counter("axle_agent_node_resyncs_total", "Complete copies taken from the relay.", node.resyncs);
    page.counter("axle_agent_events_dropped_total", "Verdict events lost on the way.", node.events_dropped);
    let expires = node.certificate_expires_ms / 1000;
    page.gauge(
        "axle_agent_node_certificate_expiry_seconds",
        "When the certificate ends, in seconds since 1970.",
        expires,
    );
    page.counter(
        "axle_agent_table_rebuilds_total",
        "How often the kernel's tables were built anew.",
        enforced.rebuilds,
    );

    page.head("axle_agent_map_writes_total", "Writes of increments to the kernel's tables.", "counter");
    for (table, count) in enforced.writes.iter() {
        page.sample("axle_agent_map_writes_total", &[("table", table)], count);
    }
    page.head("axle_agent_table_entries", "Entries in use, by table.", "gauge");
    for one in &node.capacity {
        page.sample("axle_agent_table_entries", &[("table", &one.table)], one.used);
    }
    page.head("axle_agent_table_capacity", "Entries that fit, by table.", "gauge");
    for one in &node.capacity {
        page.sample("axle_agent_table_capacity", &[("table", &one.table)], one.limit);
    }
    if let Some(calls) = enforced.calls {
        page.head("axle_agent_service_calls_total", "Calls of services by what became of them.", "counter");
        for (outcome, count) in [
            ("translated", calls.translated),
            ("no_backend", calls.no_backend),
            ("no_service", calls.no_service),
            ("no_memory", calls.no_memory),
        ] {
            page.sample("axle_agent_service_calls_total", &[("outcome", outcome)], count);
        }
    }
    page.head("axle_agent_packets_total", "Packets by what became of them, seen from the workload.", "counter");
    for tally in &enforced.tallies {
        let (outcome, direction) = (format!("{:?}", tally.outcome), format!("{:?}", tally.direction));
        let labels = [("outcome", &*outcome.to_lowercase()), ("direction", &*direction.to_lowercase())];
        page.sample("axle_agent_packets_total", &labels, tally.packets);
    }
}

/// A page being written. Label values come from fixed sets, so nothing in them needs escaping.
struct Page(String);

impl Page {
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{line}");
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        self.line(format_args!("{name}{labels} {value}"));
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, help, "gauge");
        self.sample(name, &[], value);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, help, "counter");
        self.sample(name, &[], value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_prometheus_wants_it() {
        let mut page = Page(String::new());
        page.counter("a_total", "Things.", 3);
        page.sample("b", &[("x", "1"), ("y", "2")], 4);
        assert_eq!(page.0, "# HELP a_total Things.\n# TYPE a_total counter\na_total 3\nb{x=\"1\",y=\"2\"} 4\n");
    }
}
