//! The rules of a policy, in the shape of ClusterNetworkPolicy.
use std::collections::BTreeSet;

use super::{
    Violation,
    blocks::block,
    labels::selector,
    ports::port,
    reader::{At, Faults, Map},
    selectors::{clusters, one_of, workloads},
};
use crate::model::{Action, Peer, Peers, PortMatch, Ports, Rule};

/// The longest rule name.
const MAX_RULE_NAME: usize = 100;
/// The most rules of a direction, and the most items of each list of a rule, that ClusterNetworkPolicy has.
const MOST: usize = 25;

/// Whose rules they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A MeshNetworkPolicy's of the tiers Admin and Baseline.
    Mesh,
    /// A MeshNetworkPolicy's of the namespace tier, where every rule accepts.
    Namespace,
    /// A ClusterNetworkPolicy's.
    Cluster,
}

type Directions = (Option<Vec<Rule>>, Option<Vec<Rule>>);

/// `ingress` and `egress`; a direction that is absent is left alone.
pub(super) fn directions(spec: &Map<'_>, form: Form, faults: &mut Faults) -> Option<Directions> {
    let mut rules = |key, peers_key| match spec.optional(key) {
        None => Some(None),
        Some(at) => {
            let items = few(at.list(faults)?, &at, form, faults);
            let rules: Vec<_> = items.iter().map(|item| rule(item, peers_key, form, faults)).collect();
            rules.into_iter().collect::<Option<Vec<_>>>().map(Some)
        }
    };
    let (ingress, egress) = (rules("ingress", "from"), rules("egress", "to"));
    Some((ingress?, egress?))
}

/// The items, reported if there are more than ClusterNetworkPolicy allows.
fn few<'n>(items: Vec<At<'n>>, at: &At<'n>, form: Form, faults: &mut Faults) -> Vec<At<'n>> {
    if form == Form::Cluster && items.len() > MOST {
        at.invalid(format!("at most {MOST} items"), "write a second policy, or a MeshNetworkPolicy", faults);
    }
    items
}

/// Each item read; `None` if one is faulty, but all are looked at.
fn each<'n, T>(
    items: &[At<'n>],
    faults: &mut Faults,
    read: impl Fn(&At<'n>, &mut Faults) -> Option<T>,
) -> Option<Vec<T>> {
    let all: Vec<_> = items.iter().map(|item| read(item, faults)).collect();
    all.into_iter().collect()
}

fn rule(at: &At<'_>, peers_key: &'static str, form: Form, faults: &mut Faults) -> Option<Rule> {
    let map = at.map(faults)?;
    let name = map.optional("name").map_or(Some(""), |at| {
        let name = at.text(faults)?;
        if name.chars().count() > MAX_RULE_NAME {
            at.invalid(format!("at most {MAX_RULE_NAME} characters"), "", faults);
        }
        Some(name)
    });
    let actions = [("Accept", Action::Accept), ("Deny", Action::Deny), ("Pass", Action::Pass)];
    let actions = if form == Form::Namespace { &actions[..1] } else { &actions };
    let action = map.required("action", faults).and_then(|at| at.choice(actions, faults));
    let peers = map.required(peers_key, faults).and_then(|at| {
        let fix = "for every address write `networks: [0.0.0.0/0, \"::/0\"]`, for every workload `namespaces: {}`";
        let items = few(at.some_list(fix, faults)?, &at, form, faults);
        each(&items, faults, |item, faults| peer(item, peers_key, form, action, faults))
    });
    let ports = map.optional("protocols").map_or(Some(Ports::Any), |at| {
        let items = few(at.some_list("leave protocols out for every protocol", faults)?, &at, form, faults);
        each(&items, faults, |item, faults| port(item, form, faults)).map(Ports::Of)
    });
    map.finish(faults);
    let rule = Rule { name: name?.to_owned(), action: action?, peers: Peers::Of(peers?), ports: ports? };
    if form == Form::Cluster {
        refuse_nameless(at, &rule, faults);
    }
    Some(rule)
}

/// ClusterNetworkPolicy: a named port of something that has no named ports is an error, not a rule that matches nothing.
fn refuse_nameless(at: &At<'_>, rule: &Rule, faults: &mut Faults) {
    let Peers::Of(peers) = &rule.peers else { return };
    let nameless = |peer: &Peer| matches!(peer, Peer::Networks(_) | Peer::Nodes { .. } | Peer::DomainNames(_));
    let named =
        matches!(&rule.ports, Ports::Of(ports) if ports.iter().any(|port| matches!(port, PortMatch::Named { .. })));
    if named && peers.iter().any(nameless) {
        let got = "destinationNamedPort with networks, nodes or domainNames";
        let violation = at.violation(got, "named ports with namespaces or pods only");
        faults.add(Violation { fix: "write the port's number, or two rules".into(), ..violation });
    }
}

const WORKLOADS: [&str; 2] = ["namespaces", "pods"];
const OUTGOING: [&str; 5] = ["namespaces", "pods", "networks", "nodes", "domainNames"];
const ALL: [&str; 7] = ["namespaces", "pods", "networks", "nodes", "service", "identities", "domainNames"];

fn peer(at: &At<'_>, peers_key: &str, form: Form, action: Option<Action>, faults: &mut Faults) -> Option<Peer> {
    let map = at.map(faults)?;
    let known: &[&'static str] = match (form, peers_key) {
        (Form::Cluster, "from") => &WORKLOADS,
        (Form::Cluster, _) => &OUTGOING,
        (Form::Mesh | Form::Namespace, _) => &ALL,
    };
    let all_known = !map.present(known).is_empty() && map.entries().count() == map.present(known).len();
    if form == Form::Cluster && !all_known {
        // A newer version's peer, or one that a server has cut out because it is: fails closed, as specified.
        let unknown = map.entries().map(|(key, _)| key).find(|key| !known.contains(key));
        return Some(Peer::Unknown(unknown.unwrap_or("nothing").to_owned()));
    }
    let found = one_of(&map, known, faults);
    let clusters = if form == Form::Cluster { Some(Default::default()) } else { clusters(&map, faults) };
    let workloads = workloads(&map, faults);
    let [networks, domains, identities] = ["networks", "domainNames", "identities"].map(|key| map.optional(key));
    let nodes = map.optional("nodes").map(|at| selector(&at, faults));
    let service = map.optional("service").map(|at| service(&at, faults));
    map.finish(faults);
    let found = found?;
    if matches!(found, "networks" | "domainNames") && !map.present(&["clusters"]).is_empty() {
        map.at.invalid(format!("{found} without clusters"), "remove clusters: an address is where it is", faults);
    }
    if matches!(found, "service" | "domainNames") && action.is_some_and(|action| action != Action::Accept) {
        let want = format!("{found} in rules that accept only");
        let fix = "what a name leads to can change: deny by labels or networks instead";
        map.at.invalid(want, fix, faults);
    }
    Some(match found {
        "networks" => {
            let items = networks?.some_list("give at least one network", faults)?;
            let items = few(items, at, form, faults);
            Peer::Networks(unique(
                &items,
                each(&items, faults, |item, faults| block(item, form, faults))?,
                form,
                faults,
            ))
        }
        "domainNames" => {
            if peers_key == "from" {
                map.at.invalid(
                    "domainNames in egress rules only",
                    "a packet that comes has an address, no name",
                    faults,
                );
            }
            let items = domains?.some_list("give at least one domain name", faults)?;
            let items = few(items, at, form, faults);
            let want = "a domain name such as api.example.com or *.example.com";
            Peer::DomainNames(unique(
                &items,
                each(&items, faults, |item, faults| item.parsed(want, faults))?,
                form,
                faults,
            ))
        }
        "identities" => {
            let items = identities?.some_list("give at least one identity (see axle identity list)", faults)?;
            let want = "the name of an identity, as axle identity list shows it";
            let names = each(&items, faults, |item, faults| item.parsed(want, faults))?;
            Peer::Identities { clusters: clusters?, names }
        }
        "service" => {
            let (namespace, name) = service??;
            Peer::Service { clusters: clusters?, namespace, name }
        }
        "nodes" => Peer::Nodes { clusters: clusters?, nodes: nodes?? },
        _ => {
            let (namespaces, pods) = workloads??;
            Peer::Pods { clusters: clusters?, namespaces, pods }
        }
    })
}

/// The values; one that is there twice is reported where the specification has a set.
fn unique<T: Ord>(items: &[At<'_>], values: Vec<T>, form: Form, faults: &mut Faults) -> Vec<T> {
    let mut seen = BTreeSet::new();
    for (at, value) in items.iter().zip(&values).filter(|_| form == Form::Cluster) {
        if !seen.insert(value) {
            let violation = at.violation("the same a second time", "each only once");
            faults.add(Violation { code: "duplicate", fix: "remove one of them".into(), ..violation });
        }
    }
    values
}

fn service(at: &At<'_>, faults: &mut Faults) -> Option<(crate::model::Name, crate::model::Name)> {
    let map = at.map(faults)?;
    let mut part = |key| map.required(key, faults).and_then(|at| at.name(faults));
    let (namespace, name) = (part("namespace"), part("name"));
    map.finish(faults);
    Some((namespace?, name?))
}
