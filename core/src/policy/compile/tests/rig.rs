//! A compiler, its tables and the oracle, side by side.
use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;

use crate::{
    log::Change,
    model::{
        Action, Affinity, Cluster, Endpoint, Enforcement, Fleet, Key, Kind, Labels, Name, Namespace, Node, Object,
        Policy, Resource, Rule, Scope, Service, ServiceExport, Subject, Tier, Traffic, Uid,
    },
    policy::{
        Party, Ruling, Target, Verdict, World,
        compile::{Compiler, Context, Outcome},
        judge,
        tables::{Counts, Direction, Limits, Local, PortTable, Tables, Write},
    },
};

pub(super) const ROOMY: Limits = Limits {
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

pub(super) fn uid(number: u8) -> Uid {
    Uid([number; 16])
}

pub(super) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(super) fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub(super) fn put(scope: Scope, namespace: &str, of: &str, uid: Uid, revision: u64, resource: Resource) -> Change {
    let key = Key { kind: resource.kind(), scope, namespace: namespace.into(), name: name(of) };
    Change::Put(Object {
        key,
        uid,
        revision,
        features: Vec::new(),
        payload: Bytes::new(),
        resource: Arc::new(resource),
    })
}

pub(super) fn delete(change: &Change) -> Change {
    match change {
        Change::Put(object) => Change::Delete { key: object.key.clone(), uid: object.uid },
        gone @ Change::Delete { .. } => gone.clone(),
    }
}

/// The cluster with this number has uid `number`, name `c<number>` and prefixes `10.<number>.0.0/16`, `fd00:<number>::/32`.
pub(super) fn cluster(number: u8, default_action: Action) -> Change {
    let cluster = Cluster {
        name: name(&format!("c{number}")),
        region: format!("r{number}"),
        labels: labels(&[("env", if number == 0 { "home" } else { "away" })]),
        prefixes: vec![format!("10.{number}.0.0/16").parse().unwrap(), format!("fd00:{number}::/32").parse().unwrap()],
        default_action,
        draining: false,
    };
    put(Scope::Fleet, "", &format!("c{number}"), uid(number), 1, Resource::Cluster(cluster))
}

pub(super) fn fleet() -> Change {
    fleet_without(&[])
}

pub(super) fn fleet_without(excluded_label_keys: &[&str]) -> Change {
    let excluded_label_keys = excluded_label_keys.iter().map(ToString::to_string).collect();
    let fleet =
        Fleet { vip4: "10.96.0.0/16".parse().unwrap(), vip6: "fd96::/64".parse().unwrap(), excluded_label_keys };
    put(Scope::Fleet, "", "fleet", uid(200), 1, Resource::Fleet(fleet))
}

pub(super) fn namespace(cluster: u8, of: &str, env: &str) -> Change {
    let labels = labels(&[("env", env), ("kubernetes.io/metadata.name", of)]);
    let resource = Resource::Namespace(Namespace { name: name(of), labels });
    let number = 100 + cluster * 4 + u8::from(of == "b");
    put(Scope::Cluster(uid(cluster)), "", of, uid(number), 1, resource)
}

/// The cluster's export of the service `a/web`.
pub(super) fn export(cluster: u8, app: &str) -> Change {
    let export = ServiceExport {
        namespace: name("a"),
        name: name("web"),
        created_ms: 1,
        selector: labels(&[("app", app)]),
        ports: Vec::new(),
        affinity: Affinity::Local,
        weight: 100,
        traits: Default::default(),
        backends: vec![],
    };
    put(Scope::Cluster(uid(cluster)), "a", "web", uid(180 + cluster), 1, Resource::ServiceExport(export))
}

/// A service of a cluster, at these addresses.
pub(super) fn service(cluster: u8, addresses: &[&str]) -> Change {
    let service = Service {
        namespace: name("a"),
        name: name("web"),
        selector: labels(&[("app", "x")]),
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        ports: Vec::new(),
        traffic: Traffic::default(),
        global: None,
    };
    put(Scope::Cluster(uid(cluster)), "a", "web", uid(190 + cluster), 1, Resource::Service(service))
}

pub(super) fn node(cluster: u8, of: &str, address: &str, role: &str) -> Change {
    let addresses = vec![address.parse().unwrap()];
    let resource = Resource::Node(Node { name: name(of), labels: labels(&[("role", role)]), addresses });
    put(Scope::Cluster(uid(cluster)), "", of, uid(150 + cluster * 4 + of.len() as u8), 1, resource)
}

/// An endpoint of cluster and node in namespace `a`.
pub(super) fn endpoint(number: u8, cluster: u8, node: &str, app: &str, addresses: &[&str]) -> Endpoint {
    let _ = cluster;
    Endpoint {
        namespace: name("a"),
        name: name(&format!("w{number}")),
        node: name(node),
        service_account: "default".into(),
        labels: labels(&[("app", app)]),
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        named_ports: Vec::new(),
        started_ms: 1,
        ready: true,
        host: None,
    }
}

pub(super) fn put_endpoint(number: u8, cluster: u8, endpoint: Endpoint) -> Change {
    let of = uid(number).to_string();
    put(Scope::Cluster(uid(cluster)), "", &of, uid(number), 1, Resource::Endpoint(endpoint))
}

pub(super) fn policy(of: &str, tier: Tier, ingress: Option<Vec<Rule>>, egress: Option<Vec<Rule>>) -> Policy {
    Policy {
        name: name(of),
        namespace: None,
        tier,
        priority: 10,
        subject: Subject::default(),
        ingress,
        egress,
        enforcement: Enforcement::Enforce,
        disabled: false,
        description: String::new(),
        owner: String::new(),
    }
}

pub(super) fn put_policy(scope: Scope, number: u8, revision: u64, policy: Policy) -> Change {
    let namespace = policy.namespace.as_ref().map(ToString::to_string).unwrap_or_default();
    let of = policy.name.to_string();
    put(scope, &namespace, &of, uid(number), revision, Resource::Policy(policy))
}

/// Asks for each verdict that a test looks at.
#[derive(Debug, Clone)]
pub(super) struct Probe {
    pub(super) endpoint: Uid,
    pub(super) local: Local,
    pub(super) direction: Direction,
    pub(super) peer: IpAddr,
    pub(super) target: Target,
}

pub(in crate::policy) struct Rig {
    pub(super) compiler: Compiler,
    pub(super) tables: Tables,
    pub(in crate::policy) world: World,
    pub(in crate::policy) peers: Vec<IpAddr>,
    pub(in crate::policy) targets: Vec<Target>,
}

impl Rig {
    /// On node `n0` of cluster 0.
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            compiler: Compiler::new(Context { cluster: uid(0), node: name("n0") }, limits),
            tables: Tables::new(limits),
            world: World::default(),
            peers: Vec::new(),
            targets: vec![
                Target { table: PortTable::Tcp, number: 80 },
                Target { table: PortTable::Tcp, number: 81 },
                Target { table: PortTable::Tcp, number: 443 },
                Target { table: PortTable::Tcp, number: 8080 },
                Target { table: PortTable::Udp, number: 53 },
                Target { table: PortTable::Icmp, number: 8 << 8 },
                Target { table: PortTable::Icmp, number: 3 << 8 | 4 },
                Target { table: PortTable::Icmpv6, number: 128 << 8 },
                Target { table: PortTable::Sctp, number: 80 },
                Target { table: PortTable::Other, number: 47 },
            ],
        }
    }

    pub(super) fn probes(&self) -> Vec<Probe> {
        let mut probes = Vec::new();
        for local in self.compiler.locals() {
            for direction in [Direction::Ingress, Direction::Egress] {
                for peer in &self.peers {
                    for target in &self.targets {
                        let (endpoint, local) = (local.endpoint, local.local);
                        probes.push(Probe { endpoint, local, direction, peer: *peer, target: *target });
                    }
                }
            }
        }
        probes
    }

    pub(super) fn enforced(&self, probe: &Probe) -> bool {
        let Probe { local, direction, peer, target, .. } = probe;
        self.tables.verdict(*local, *direction, *peer, target.table, target.number)
    }

    pub(super) fn meant(&self, probe: &Probe) -> Ruling {
        let workload = self.world.workload(probe.endpoint).expect("a local workload is known");
        judge(&self.world, &workload, probe.direction, probe.peer, probe.target).ruling
    }

    /// Applies changes to the oracle and the compiler and every write to the tables, with no look in between.
    pub(super) fn apply(&mut self, changes: &[Change]) -> Outcome {
        changes.iter().for_each(|change| self.world.apply(change));
        let outcome = self.compiler.update(changes);
        for write in outcome.plan.writes.iter().chain(&outcome.plan.settle) {
            self.tables.apply(write).unwrap_or_else(|error| panic!("{write:?}: {error}"));
        }
        outcome
    }

    /// The same, and counts the writes before the settling.
    pub(super) fn count(&mut self, changes: &[Change]) -> Counts {
        let outcome = self.apply(changes);
        assert_eq!(outcome.refused, Vec::new());
        self.check();
        Counts::of(&outcome.plan.writes)
    }

    /// The tables say what is meant, for the reasons that are meant.
    pub(super) fn check(&self) {
        for probe in self.probes() {
            let meant = self.meant(&probe);
            let Probe { endpoint, local, direction, peer, target } = probe;
            let given = self.compiler.attribute(local, direction, peer, target.table, target.number);
            // Of unknown labels, an acceptance has as many reasons as there are identities: any of them will do.
            let seen_from = self.world.workload(endpoint).map(|workload| (workload.cluster, &workload.endpoint.node));
            let is_unresolved = matches!(self.world.party(peer, seen_from), Party::Unresolved { .. });
            if is_unresolved && meant.verdict == Verdict::Accept {
                assert_eq!(given.map(|given| given.verdict), Some(meant.verdict), "{probe:?}");
            } else {
                assert_eq!(given, Some(meant), "{probe:?}");
            }
            assert_eq!(self.enforced(&probe), meant.verdict == Verdict::Accept, "{probe:?} {meant:?}");
        }
    }

    /// Applies changes as [`Rig::apply`] does and looks at every verdict after every write: before the flip it is the old
    /// one, after it the new one; without a flip each goes from old to new once. An address that is or will be denied
    /// outright may be denied all the while.
    pub(super) fn apply_step_by_step(&mut self, changes: &[Change]) {
        let known: Vec<Uid> = self.compiler.locals().map(|local| local.endpoint).collect();
        changes.iter().for_each(|change| self.world.apply(change));
        let outcome = self.compiler.update(changes);
        assert_eq!(outcome.refused, Vec::new());
        let probes: Vec<_> = self.probes().into_iter().filter(|probe| known.contains(&probe.endpoint)).collect();
        let old: Vec<bool> = probes.iter().map(|probe| self.enforced(probe)).collect();
        let new: Vec<bool> = probes.iter().map(|probe| self.meant(probe).verdict == Verdict::Accept).collect();
        let outright: Vec<bool> = probes.iter().map(|probe| self.tables.class_of(probe.peer) == 0).collect();
        let flips = outcome.plan.writes.iter().any(|write| matches!(write, Write::Flip { .. }));
        let mut flipped = false;
        let mut last = old.clone();
        for (at, write) in outcome.plan.writes.iter().chain(&outcome.plan.settle).enumerate() {
            self.tables.apply(write).unwrap_or_else(|error| panic!("write {at} {write:?}: {error}"));
            flipped |= matches!(write, Write::Flip { .. });
            for (n, probe) in probes.iter().enumerate() {
                let now = self.enforced(probe);
                let denied = !now && (outright[n] || self.tables.class_of(probe.peer) == 0);
                let expected = match (flips, flipped) {
                    (true, false) => now == old[n],
                    (true, true) => now == new[n],
                    (false, _) => now == old[n] && last[n] == old[n] || now == new[n],
                };
                assert!(
                    expected || denied,
                    "after write {at} {write:?} of {:?}: {probe:?} is {now}, was {}, shall be {}",
                    outcome.plan,
                    old[n],
                    new[n]
                );
                last[n] = now;
            }
        }
        self.check();
    }

    /// What a compiler makes that is told the present state at once, in this order.
    pub(super) fn afresh(&self, order: impl FnOnce(&mut Vec<Change>)) -> Self {
        let mut changes: Vec<Change> =
            Kind::ALL.iter().flat_map(|kind| self.world.objects(*kind)).cloned().map(Change::Put).collect();
        order(&mut changes);
        let mut fresh = Self::new(ROOMY);
        fresh.peers.clone_from(&self.peers);
        fresh.apply(&changes);
        fresh
    }

    /// Empty tables, brought to the present state at once, give the same verdicts.
    pub(super) fn check_rebuild(&self, limits: Limits) {
        let mut tables = Tables::new(limits);
        for write in self.compiler.rebuild().writes {
            tables.apply(&write).unwrap_or_else(|error| panic!("{write:?}: {error}"));
        }
        assert_eq!(self.tables.difference(&tables), None);
        for probe in self.probes() {
            let Probe { local, direction, peer, target, .. } = probe;
            let rebuilt = tables.verdict(local, direction, peer, target.table, target.number);
            assert_eq!(rebuilt, self.enforced(&probe), "{probe:?}");
        }
    }
}
