//! Tests of policies, run on a world.
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;

use super::{Judge, class::Nets};
use crate::{
    manifest::suggest,
    model::{Action, Assertion, Endpoint, ExpectedRule, Kind, Labels, Name, PolicyTest, TestEnd, Uid},
    policy::{
        Decision, Flow, Misunderstood, Reason, Ruling, Target, Verdict, Workload, World, evaluate::Written,
        question::same_family, tables::Direction,
    },
};

/// What became of one assertion of a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The test.
    pub test: Name,
    /// The assertion's place in it, from 0.
    pub index: usize,
    /// The assertion's name; may be empty.
    pub assertion: String,
    /// What became of it.
    pub result: Trial,
}

/// What became of an assertion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trial {
    /// It holds for so many flows.
    Holds {
        /// How many were tried.
        flows: u64,
    },
    /// It does not.
    Broken(Broken),
    /// It speaks of something that is not there.
    Missing(Misunderstood),
}

/// A flow that is not as a test says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Who sends, in words.
    pub from: String,
    /// Who receives, in words.
    pub to: String,
    /// The flow.
    pub flow: Flow,
    /// What it must get.
    pub wanted: Verdict,
    /// What it gets.
    pub got: Verdict,
    /// Each end that is a workload's, and what it says.
    pub ends: Vec<(Direction, Ruling)>,
    /// The verdict is right, but not by this rule.
    pub not_by: Option<ExpectedRule>,
}

/// Runs tests on a world with these policies, whatever policies it has.
#[must_use]
pub fn try_tests<'t>(
    world: &World,
    policies: &[Written<'_>],
    tests: impl Iterator<Item = &'t PolicyTest> + Clone,
) -> Vec<Outcome> {
    let guests = guests(world, tests.clone());
    let mut judge = Judge::new(world, policies.to_vec());
    for (uid, (cluster, endpoint)) in guests.iter() {
        judge.admit(Workload { uid: *uid, cluster: *cluster, endpoint });
    }
    let nets = Nets::of(policies.iter().map(|(_, policy)| *policy));
    let mut court = Court { world, judge, nets };
    let mut outcomes = Vec::new();
    for test in tests {
        for (index, assertion) in test.assertions.iter().enumerate() {
            let result = court.run(assertion);
            outcomes.push(Outcome { test: test.name.clone(), index, assertion: assertion.name.clone(), result });
        }
    }
    outcomes
}

/// Workloads that are only imagined: one for each cluster, namespace and set of labels that a test names and nobody has.
type Guests = BTreeMap<Uid, (Uid, Endpoint)>;

fn guests<'t>(world: &World, tests: impl Iterator<Item = &'t PolicyTest>) -> Guests {
    let ends = tests.flat_map(|test| &test.assertions).flat_map(|assertion| [&assertion.from, &assertion.to]);
    let mut wanted: BTreeSet<(Uid, &Name, &Labels)> = BTreeSet::new();
    for end in ends {
        let TestEnd::Labels { clusters, namespace, labels } = end else { continue };
        let named = world.clusters().filter(|(_, cluster)| clusters.is_empty() || clusters.contains(&cluster.name));
        let known = named.filter(|(uid, _)| world.namespace_labels(*uid, namespace).is_some());
        wanted.extend(known.map(|(uid, _)| (uid, namespace, labels)));
    }
    let mut taken: BTreeSet<IpAddr> =
        world.workloads().flat_map(|workload| workload.endpoint.addresses.clone()).collect();
    taken.extend(world.nodes().flat_map(|(_, node)| node.addresses.clone()));
    let mut guests = Guests::new();
    for (number, (cluster, namespace, labels)) in (0u32..).zip(wanted) {
        let mut uid = Uid([0xff; 16]);
        uid.0[..4].copy_from_slice(&number.to_be_bytes());
        let prefixes = world.cluster(cluster).map(|cluster| cluster.prefixes.as_slice()).unwrap_or_default();
        let of_family = |v4: bool| prefixes.iter().find(|prefix| prefix.addr().is_ipv4() == v4);
        let free: Vec<IpAddr> =
            [true, false].into_iter().filter_map(of_family).filter_map(|prefix| free(prefix, &taken)).collect();
        taken.extend(&free);
        guests.insert(uid, (cluster, imagined(namespace, labels, free)));
    }
    guests
}

fn imagined(namespace: &Name, labels: &Labels, addresses: Vec<IpAddr>) -> Endpoint {
    Endpoint {
        namespace: namespace.clone(),
        name: Name::of_uid(Uid::default()),
        // Of no node that there is.
        node: Name::least(),
        service_account: String::new(),
        labels: labels.clone(),
        addresses,
        named_ports: Vec::new(),
        started_ms: 0,
        ready: false,
        host: None,
    }
}

/// An address that nobody has: the highest of the range but its last; if all are taken, one that follows on it.
fn free(prefix: &IpNet, taken: &BTreeSet<IpAddr>) -> Option<IpAddr> {
    let tries = u32::try_from(taken.len()).unwrap_or(u32::MAX).saturating_add(1);
    let at = |number: i64| match prefix.broadcast() {
        IpAddr::V4(last) => u32::try_from(i64::from(last.to_bits()) + number).ok().map(|bits| IpAddr::V4(bits.into())),
        IpAddr::V6(last) => last.to_bits().checked_add_signed(number.into()).map(|bits| IpAddr::V6(bits.into())),
    };
    let inside = (1..=i64::from(tries)).map_while(|below| at(-below)).take_while(|address| prefix.contains(address));
    let beyond = (1..=i64::from(tries)).map_while(at);
    inside.chain(beyond).find(|address| !taken.contains(address))
}

struct Court<'w> {
    world: &'w World,
    judge: Judge<'w>,
    nets: Nets,
}

/// An end with its addresses, in words.
type Person = (String, Vec<IpAddr>);

impl<'w> Court<'w> {
    fn run(&mut self, assertion: &Assertion) -> Trial {
        let ends = [("from", &assertion.from, &assertion.to), ("to", &assertion.to, &assertion.from)];
        let [from, to] = ends.map(|(field, end, other)| self.people(field, end, matches!(other, TestEnd::Address(_))));
        let (from, to) = match (from, to) {
            (Ok(from), Ok(to)) => (from, to),
            (Err(missing), _) | (_, Err(missing)) => return Trial::Missing(missing),
        };
        let target = Target { table: assertion.protocol.into(), number: assertion.port };
        let mut flows = 0;
        for (from_words, sources) in &from {
            for (to_words, destinations) in &to {
                let Some((source, destination)) = same_family(sources, destinations) else { continue };
                if source == destination {
                    continue;
                }
                flows += 1;
                let flow = Flow { from: source, to: destination, target };
                let decision = self.judge.evaluate(flow);
                if let Some(broken) = self.broken(assertion, flow, decision, from_words, to_words) {
                    return Trial::Broken(broken);
                }
            }
        }
        if flows > 0 {
            return Trial::Holds { flows };
        }
        let want = "two different ends with an address of the same family";
        Trial::Missing(Misunderstood::new("family", "to", "no such pair", want, "give ends of one family"))
    }

    fn broken(&self, assertion: &Assertion, flow: Flow, decision: Decision, from: &str, to: &str) -> Option<Broken> {
        let wanted = if assertion.verdict == Action::Accept { Verdict::Accept } else { Verdict::Deny };
        let got = decision.verdict();
        let sides = [(Direction::Egress, decision.egress), (Direction::Ingress, decision.ingress)];
        let ends: Vec<_> = sides.into_iter().filter_map(|(direction, side)| Some((direction, side?.ruling))).collect();
        let mut deciding = ends.iter().filter(|(_, ruling)| ruling.verdict == wanted);
        let not_by = assertion.rule.clone().filter(|rule| !deciding.any(|(_, ruling)| self.is_by(ruling, rule)));
        if got == wanted && not_by.is_none() {
            return None;
        }
        Some(Broken {
            from: from.into(),
            to: to.into(),
            flow,
            wanted,
            got,
            ends,
            not_by: not_by.filter(|_| got == wanted),
        })
    }

    fn is_by(&self, ruling: &Ruling, expected: &ExpectedRule) -> bool {
        let Reason::Rule(id) = ruling.reason else { return false };
        let Some((_, policy)) = self.judge.policies.iter().find(|(object, _)| object.uid == id.policy) else {
            return false;
        };
        let rules = match id.direction {
            Direction::Ingress => &policy.ingress,
            Direction::Egress => &policy.egress,
        };
        let rule = rules.as_ref().and_then(|rules| rules.get(id.index as usize));
        let place = format!("{}[{}]", id.direction, id.index);
        let is_rule = |wanted: &str| wanted == place || rule.is_some_and(|rule| rule.name == wanted);
        let wanted = expected.rule.as_deref();
        if policy.name == expected.policy && wanted.is_none_or(is_rule) {
            return true;
        }
        // With its namespace, as policies of one are shown.
        policy.namespace.as_ref() == Some(&expected.policy)
            && wanted.is_some_and(|text| {
                let (name, rule) = text.split_once('/').map_or((text, None), |(name, rule)| (name, Some(rule)));
                policy.name.as_str() == name && rule.is_none_or(is_rule)
            })
    }

    /// Who is meant by an end: of workloads that policy cannot tell apart, one.
    fn people(&self, field: &str, end: &TestEnd, by_node: bool) -> Result<Vec<Person>, Misunderstood> {
        match end {
            TestEnd::Address(address) => Ok(vec![(address.to_string(), vec![*address])]),
            TestEnd::Workload { cluster, namespace, name } => {
                let text = format!("{cluster}/{namespace}/{name}");
                let addresses = self.world.addresses_of(field, &text)?;
                Ok(vec![(text, addresses)])
            }
            TestEnd::Labels { clusters, namespace, labels } => {
                self.known(field, clusters, namespace)?;
                let mut people = BTreeMap::new();
                for workload in self.judge.survey.workloads() {
                    let endpoint = workload.endpoint;
                    let has = |(key, value): (&String, &String)| endpoint.labels.get(key) == Some(value);
                    let cluster = self.world.cluster(workload.cluster).map(|cluster| &cluster.name);
                    let of_cluster = cluster.is_some_and(|name| clusters.is_empty() || clusters.contains(name));
                    if endpoint.namespace == *namespace && of_cluster && labels.iter().all(has) {
                        let nets: Vec<_> =
                            endpoint.addresses.iter().flat_map(|address| self.nets.around(*address)).collect();
                        let node = by_node.then_some(&endpoint.node);
                        let Endpoint { labels, service_account, named_ports, .. } = endpoint;
                        // By the cluster's name: which flow is shown does not hang on uids.
                        let key = (cluster, labels, service_account, named_ports, nets, node);
                        people.entry(key).or_insert(workload);
                    }
                }
                // Who is imagined steps back for who runs.
                let real = |cluster: Uid| people.values().any(|one| one.cluster == cluster && is_real(one));
                let kept = people.values().filter(|one| is_real(one) || !real(one.cluster));
                Ok(kept.map(|one| (self.words(one), one.endpoint.addresses.clone())).collect())
            }
        }
    }

    /// Every cluster that an end names is there, and the namespace in one of them.
    fn known(&self, field: &str, clusters: &[Name], namespace: &Name) -> Result<(), Misunderstood> {
        let all: Vec<&str> = self.world.clusters().map(|(_, cluster)| cluster.name.as_str()).collect();
        if let Some(unknown) = clusters.iter().find(|name| !all.contains(&name.as_str())) {
            let fix = suggest(unknown.as_str(), all.into_iter()).unwrap_or_else(|| "see axle cluster list".into());
            let field = format!("{field}.clusters");
            return Err(Misunderstood::new("unknown_cluster", &field, unknown.as_str(), "a registered cluster", fix));
        }
        let wanted = |name: &Name| clusters.is_empty() || clusters.contains(name);
        let mut among = self.world.clusters().filter(|(_, cluster)| wanted(&cluster.name));
        if among.any(|(uid, _)| self.world.namespace_labels(uid, namespace).is_some()) {
            return Ok(());
        }
        let names: BTreeSet<&str> =
            self.world.objects(Kind::Namespace).map(|object| object.key.name.as_str()).collect();
        let fix = suggest(namespace.as_str(), names.into_iter()).unwrap_or_else(|| "see axle endpoint list".into());
        let field = format!("{field}.namespace");
        Err(Misunderstood::new("unknown_namespace", &field, namespace.as_str(), "a namespace of these clusters", fix))
    }

    fn words(&self, workload: &Workload<'_>) -> String {
        let endpoint = workload.endpoint;
        let cluster = self.world.cluster(workload.cluster).map_or_else(String::new, |cluster| cluster.name.to_string());
        let name = if is_real(workload) {
            endpoint.name.to_string()
        } else {
            let labels: Vec<_> = endpoint.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("({})", labels.join(","))
        };
        format!("{cluster}/{}/{name}", endpoint.namespace)
    }
}

fn is_real(workload: &Workload<'_>) -> bool {
    !workload.endpoint.node.as_str().is_empty()
}

#[cfg(test)]
mod tests;
