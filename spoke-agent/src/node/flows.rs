//! Verdict events with the rule that decided, on their way upward. Nothing waits for them: what cannot be passed on is
//! counted.
use axle_core::{
    log::Change,
    model::Object,
    policy::{
        Reason, RuleId,
        tables::{Direction, PortTable},
    },
};
use axle_proto::v1;

use super::{
    directory::Directory,
    enforcement::{Enforcer, Place},
};
use crate::{
    clock,
    dataplane::{Event, Outcome},
    flow_queue::FlowQueue,
};

/// Gives events their names and rules.
#[derive(Debug)]
pub struct Attributor {
    place: Place,
    directory: Directory,
    queue: FlowQueue,
}

impl Attributor {
    /// Passes flows to `queue`.
    #[must_use]
    pub fn new(place: Place, queue: FlowQueue) -> Self {
        Self { directory: Directory::new(place.clone()), place, queue }
    }

    pub(super) fn begin(&mut self, objects: &[Object]) {
        self.directory = Directory::new(self.place.clone());
        objects.iter().for_each(|object| self.directory.put(object));
    }

    pub(super) fn revise(&mut self, changes: &[Change]) {
        changes.iter().for_each(|change| self.directory.apply(change));
    }

    pub(super) fn report(&self, enforcer: &Enforcer, events: &[Event]) {
        for event in events {
            self.queue.push(self.flow(enforcer, event));
        }
    }

    fn flow(&self, enforcer: &Enforcer, event: &Event) -> v1::Flow {
        let (source, destination, port) = match event.direction {
            Direction::Egress => (event.own, event.peer, event.peer_port),
            Direction::Ingress => (event.peer, event.own, event.own_port),
        };
        let is_icmp = matches!(event.table, PortTable::Icmp | PortTable::Icmpv6);
        let ruled = matches!(event.outcome, Outcome::Denied | Outcome::Opened | Outcome::Adopted);
        let ruling = if ruled {
            enforcer.attribute(event.local, event.decided, event.peer, event.table, event.number)
        } else {
            None
        };
        let (rule, reason) = match ruling.map(|ruling| ruling.reason) {
            Some(reason) => self.reason(reason),
            None => (None, outcome(event.outcome)),
        };
        let passed = event.bypassed || !event.outcome.is_denied();
        v1::Flow {
            time_ms: clock::now_ms(),
            cluster: self.place.cluster.0.to_vec().into(),
            node: self.place.node.to_string(),
            direction: event.decided.as_str().into(),
            source: Some(self.directory.end(source)),
            destination: Some(self.directory.end(destination)),
            protocol: protocol(event),
            port: u32::from(if is_icmp { event.number } else { port }),
            verdict: if passed { "accept" } else { "deny" }.into(),
            rule,
            reason: if event.bypassed { "bypass" } else { reason }.into(),
            count: 1,
        }
    }

    fn reason(&self, reason: Reason) -> (Option<v1::RuleId>, &'static str) {
        match reason {
            Reason::Rule(rule) => (Some(self.rule(rule)), "policy"),
            Reason::Isolated { policy, revision, direction } => {
                let rule = RuleId { policy, revision, direction, index: u32::MAX };
                (Some(self.rule(rule)), "isolated")
            }
            Reason::Default => (None, "default"),
            Reason::OwnNode => (None, "own_node"),
            Reason::Itself => (None, "itself"),
            Reason::ServiceAddress => (None, "service_address"),
            Reason::UnknownCluster => (None, "unknown_cluster"),
            Reason::UnknownNamespace => (None, "unknown_namespace"),
        }
    }

    fn rule(&self, rule: RuleId) -> v1::RuleId {
        let policy = self.directory.policy(rule.policy);
        let rules = policy.and_then(|policy| match rule.direction {
            Direction::Ingress => policy.ingress.as_ref(),
            Direction::Egress => policy.egress.as_ref(),
        });
        let named = rules.and_then(|rules| rules.get(rule.index as usize));
        v1::RuleId {
            policy_uid: rule.policy.0.to_vec().into(),
            policy: policy.map(|policy| policy.title()).unwrap_or_default(),
            revision: rule.revision,
            direction: rule.direction.as_str().into(),
            index: rule.index,
            name: named.map(|rule| rule.name.clone()).unwrap_or_default(),
        }
    }
}

fn protocol(event: &Event) -> String {
    match event.table {
        PortTable::Tcp => "tcp".into(),
        PortTable::Udp => "udp".into(),
        PortTable::Sctp => "sctp".into(),
        PortTable::Icmp => "icmp".into(),
        PortTable::Icmpv6 => "icmpv6".into(),
        PortTable::Other => event.protocol.to_string(),
    }
}

/// Reasons that no rule has.
fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Accepted | Outcome::Opened | Outcome::Adopted | Outcome::Denied => "policy",
        Outcome::Related => "related",
        Outcome::Link => "link",
        Outcome::ForeignSource => "spoofed",
        Outcome::Malformed => "malformed",
        Outcome::Fragment => "fragment",
        Outcome::TableFull => "flow_table_full",
        Outcome::ShareFull => "flow_share_full",
        Outcome::UnknownProtocol => "unknown_protocol",
        Outcome::NoWorkload => "no_workload",
    }
}
