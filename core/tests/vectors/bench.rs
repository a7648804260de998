//! A fleet in which policies are judged three times: by the oracle, by the compiled tables of each end's node, and
//! (where a test wants it) by the kernel's programs. Every cluster has one node, `n1`, with all its workloads.
use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
};

use axle_core::{
    log::Change,
    manifest::{NAMESPACE_NAME_LABEL, parse_policies},
    model::{
        Action, Affinity, Cluster, Endpoint, Fleet, Key, Labels, Name, NamedPort, Namespace, Node, Object, Policy,
        Protocol, Resource, Scope, ServiceExport, Uid,
    },
    policy::{
        Flow, Reason, Side, Target, Verdict, World,
        compile::{Compiler, Context},
        evaluate,
        tables::{Direction, Limits, Local, PortTable, Tables},
    },
};

pub(crate) const ROOMY: Limits = Limits {
    classes: 4096,
    port_classes: 256,
    rows: 4096,
    blocks: 4096,
    slots: 256,
    locals: 64,
    addresses4: 4096,
    addresses6: 4096,
    prefixes: 256,
};

pub(crate) struct Bench {
    pub(crate) world: World,
    pub(crate) nodes: BTreeMap<Uid, (Compiler, Tables)>,
    limits: Limits,
    clusters: HashMap<String, Uid>,
    known: HashMap<(Scope, String), Object>,
    last: u64,
}

/// One end of a flow, as its node's tables see it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    pub(crate) cluster: Uid,
    pub(crate) local: Local,
    pub(crate) direction: Direction,
    pub(crate) peer: IpAddr,
    pub(crate) target: Target,
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(crate) fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

impl Bench {
    pub(crate) fn new(limits: Limits) -> Self {
        let (world, nodes, clusters, known) = (World::default(), BTreeMap::new(), HashMap::new(), HashMap::new());
        let mut bench = Self { world, nodes, limits, clusters, known, last: 0 };
        let (vip4, vip6) = ("240.0.0.0/8".parse().unwrap(), "fdff::/64".parse().unwrap());
        bench.put(Scope::Fleet, "fleet", Resource::Fleet(Fleet { vip4, vip6, excluded_label_keys: vec![] }));
        bench
    }

    pub(crate) fn scope(&self, cluster: &str) -> Scope {
        Scope::Cluster(self.clusters[cluster])
    }

    pub(crate) fn cluster(&mut self, of: &str, pairs: &[(&str, &str)], prefixes: &[&str]) {
        let prefixes = prefixes.iter().map(|net| net.parse().unwrap()).collect();
        let region = format!("{of}-region");
        let cluster = Cluster {
            name: name(of),
            region,
            labels: labels(pairs),
            prefixes,
            default_action: Action::Accept,
            draining: false,
        };
        let uid = self.put(Scope::Fleet, of, Resource::Cluster(cluster));
        self.clusters.insert(of.into(), uid);
        let mut compiler = Compiler::new(Context { cluster: uid, node: name("n1") }, self.limits);
        let mut tables = Tables::new(self.limits);
        let known: Vec<_> = self.known.values().cloned().map(Change::Put).collect();
        write(&mut compiler, &mut tables, &known);
        self.nodes.insert(uid, (compiler, tables));
    }

    pub(crate) fn node(&mut self, cluster: &str, of: &str, pairs: &[(&str, &str)], address: &str) {
        let node = Node { name: name(of), labels: labels(pairs), addresses: vec![address.parse().unwrap()] };
        self.put(self.scope(cluster), of, Resource::Node(node));
    }

    pub(crate) fn namespace(&mut self, cluster: &str, of: &str, pairs: &[(&str, &str)]) {
        let mut labels = labels(pairs);
        labels.entry(NAMESPACE_NAME_LABEL.into()).or_insert_with(|| of.into());
        self.put(self.scope(cluster), of, Resource::Namespace(Namespace { name: name(of), labels }));
    }

    /// A workload of `cluster/namespace/name`, with the ports `web` (TCP 80) and `dns` (UDP 53).
    pub(crate) fn workload(&mut self, at: &str, pairs: &[(&str, &str)], address: &str) {
        let [cluster, namespace, of] = at.split('/').collect::<Vec<_>>()[..] else { panic!("{at}") };
        let port = |of: &str, protocol, port| NamedPort { name: of.into(), protocol, port };
        let endpoint = Endpoint {
            namespace: name(namespace),
            name: name(of),
            node: name("n1"),
            service_account: String::new(),
            labels: labels(pairs),
            addresses: vec![address.parse().unwrap()],
            named_ports: vec![port("web", Protocol::Tcp, 80), port("dns", Protocol::Udp, 53)],
            started_ms: 1,
            ready: true,
            host: None,
        };
        self.put(self.scope(cluster), at, Resource::Endpoint(endpoint));
    }

    pub(crate) fn export(&mut self, cluster: &str, namespace: &str, of: &str, selector: &[(&str, &str)]) {
        let export = ServiceExport {
            namespace: name(namespace),
            name: name(of),
            created_ms: 1,
            selector: labels(selector),
            ports: vec![],
            affinity: Affinity::Local,
            weight: 100,
            traits: Default::default(),
            backends: vec![],
        };
        self.put(self.scope(cluster), &format!("{namespace}/{of}"), Resource::ServiceExport(export));
    }

    /// The policies of a text, through the doors; one that is there under its name is replaced.
    pub(crate) fn apply(&mut self, scope: Scope, text: &str) {
        let policies = parse_policies(text).unwrap_or_else(|faults| panic!("{text}: {faults:#?}"));
        for policy in policies {
            self.put(scope, &policy.title(), Resource::Policy(policy));
        }
    }

    /// Takes every policy out.
    pub(crate) fn clear(&mut self) {
        let is_policy = |object: &Object| matches!(*object.resource, Resource::Policy(_));
        let gone: Vec<_> = self.known.extract_if(|_, object| is_policy(object)).map(|(_, object)| object).collect();
        let gone: Vec<_> = gone.into_iter().map(|object| Change::Delete { key: object.key, uid: object.uid }).collect();
        self.change(&gone);
    }

    pub(crate) fn put(&mut self, scope: Scope, of: &str, resource: Resource) -> Uid {
        let slot = (scope, format!("{:?}/{of}", resource.kind()));
        let uid = self.known.get(&slot).map_or_else(
            || {
                self.last += 1;
                Uid(u128::from(self.last).to_be_bytes())
            },
            |object| object.uid,
        );
        let key = Key::of(&resource, scope, uid);
        let resource = Arc::new(resource);
        let object = Object { key, uid, revision: 1, features: vec![], payload: Default::default(), resource };
        self.known.insert(slot, object.clone());
        self.change(&[Change::Put(object)]);
        uid
    }

    fn change(&mut self, changes: &[Change]) {
        changes.iter().for_each(|change| self.world.apply(change));
        for (compiler, tables) in self.nodes.values_mut() {
            write(compiler, tables, changes);
        }
    }

    /// The ends of a flow that tables judge: none of a workload's traffic to itself, none on the host's network.
    pub(crate) fn ends(&self, flow: Flow) -> Vec<End> {
        let mut ends = Vec::new();
        let sides = [(flow.from, Direction::Egress, flow.to), (flow.to, Direction::Ingress, flow.from)];
        for (address, direction, peer) in sides {
            let Some(workload) = self.world.subject_at(address) else { continue };
            if self.world.subject_at(peer).is_some_and(|other| other.uid == workload.uid) {
                continue;
            }
            let cluster = workload.cluster;
            let local = self.nodes[&cluster].0.locals().find(|local| local.endpoint == workload.uid).unwrap().local;
            ends.push(End { cluster, local, direction, peer, target: flow.target });
        }
        ends
    }

    pub(crate) fn enforced(&self, end: &End) -> bool {
        let End { cluster, local, direction, peer, target } = *end;
        self.nodes[&cluster].1.verdict(local, direction, peer, target.table, target.number)
    }

    /// What oracle and tables say, which is the same.
    pub(crate) fn verdict(&self, flow: Flow) -> bool {
        let meant = evaluate(&self.world, flow).verdict() == Verdict::Accept;
        let enforced = self.ends(flow).iter().all(|end| self.enforced(end));
        assert_eq!(enforced, meant, "the tables against the oracle: {flow:?}");
        meant
    }

    #[track_caller]
    pub(crate) fn expect(&self, from: &str, to: &str, (table, number): (PortTable, u16), accepted: bool) {
        let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
        let flow = Flow { from, to, target: Target { table, number } };
        assert_eq!(self.verdict(flow), accepted, "{flow:?}: {:#?}", evaluate(&self.world, flow));
    }

    /// The rule that decided an end: `policy/direction[index]`.
    pub(crate) fn decider(&self, side: &Side) -> Option<String> {
        let Reason::Rule(rule) = side.ruling.reason else { return None };
        let policy =
            |(object, policy): (&Object, &Policy)| (object.uid == rule.policy).then(|| policy.name.to_string());
        let direction = if rule.direction == Direction::Ingress { "ingress" } else { "egress" };
        Some(format!("{}/{direction}[{}]", self.world.policies().find_map(policy)?, rule.index))
    }
}

fn write(compiler: &mut Compiler, tables: &mut Tables, changes: &[Change]) {
    let outcome = compiler.update(changes);
    assert_eq!(outcome.refused, [], "everything fits");
    for each in outcome.plan.writes.iter().chain(&outcome.plan.settle) {
        tables.apply(each).unwrap_or_else(|error| panic!("{each:?}: {error}"));
    }
}
