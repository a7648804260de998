//! A hub in a test: commands in, records kept.
use std::net::IpAddr;

use axle_core::{
    log::{Change, Delta, Position, Record},
    model::{
        Action, Affinity, Cluster, Endpoint, Fleet, Key, Kind, Labels, Name, Node, Object, Policy, PortTarget,
        Protocol, Resource, Scope, ServiceExport, ServiceImport, ServicePort, Uid,
    },
    refusal::Refusal,
    state::{Command, Decision, Rejection, Request, State},
};
use axle_proto::convert::{Wire, object};

pub(crate) struct Hub {
    pub(crate) state: State,
    pub(crate) records: Vec<Record>,
    /// The service addresses that were given up, and when.
    pub(crate) given_up: Vec<(IpAddr, u64)>,
    requests: u64,
    /// Where each spoke's own log stands.
    spoke: std::collections::BTreeMap<Uid, Position>,
}

impl Hub {
    /// A fleet with small ranges of service addresses: 6 and 14 of them.
    pub(crate) fn new() -> Self {
        Self::with_ranges("100.96.0.0/29", "fd00:96::/124")
    }

    pub(crate) fn with_ranges(vip4: &str, vip6: &str) -> Self {
        let fleet = Fleet {
            vip4: vip4.parse().unwrap(),
            vip6: vip6.parse().unwrap(),
            excluded_label_keys: vec!["pod-template-hash".into()],
        };
        let state = State::new(Uid([1; 16]));
        let mut hub = Self { state, records: vec![], given_up: vec![], requests: 0, spoke: Default::default() };
        hub.write(Command::Begin { fleet }).unwrap();
        hub
    }

    pub(crate) fn request(&mut self, command: Command) -> Request {
        self.requests += 1;
        let mut entropy = [0; 32];
        entropy[..8].copy_from_slice(&self.requests.to_le_bytes());
        Request { command, actor: "user:test".into(), request_id: String::new(), time_ms: self.requests, entropy }
    }

    /// Decides and applies.
    pub(crate) fn ask(&mut self, request: &Request) -> Result<Decision, Rejection> {
        let decision = self.state.decide(request, &Wire)?;
        if let Decision::Write { record, .. } = &decision {
            let undo = self.state.apply(record).expect("the decided record is the next");
            self.given_up.extend(undo.given_up().iter().map(|address| (*address, record.revision)));
            self.records.push(record.clone());
        }
        Ok(decision)
    }

    /// Decides and applies; what was refused by object.
    pub(crate) fn write(&mut self, command: Command) -> Result<Vec<Refusal>, Rejection> {
        let request = self.request(command);
        match self.ask(&request)? {
            Decision::Write { refused, .. } | Decision::Nothing { refused } => Ok(refused),
            Decision::Repeated { .. } => panic!("no request id was given"),
        }
    }

    pub(crate) fn add(&mut self, name: &str, prefixes: &[&str]) -> Result<Uid, Rejection> {
        self.write(Command::AddCluster { cluster: cluster(name, prefixes) })?;
        Ok(self.state.cluster(&Name::new(name).unwrap()).unwrap().0)
    }

    /// The next delta of a cluster's own log.
    pub(crate) fn delta(&mut self, cluster: Uid, changes: Vec<Change>) -> Delta {
        let at = self.spoke.entry(cluster).or_insert(Position { epoch: cluster, ..Position::default() });
        let delta = Delta::next(at, changes, None);
        *at = delta.to;
        delta
    }

    /// The next delta, as the cluster's one session brings it.
    pub(crate) fn next(&mut self, cluster: Uid, changes: Vec<Change>) -> Command {
        Command::TakeDelta { cluster, after: self.state.intake(cluster), delta: self.delta(cluster, changes) }
    }

    pub(crate) fn take(&mut self, cluster: Uid, changes: Vec<Change>) -> Vec<Refusal> {
        let command = self.next(cluster, changes);
        self.write(command).unwrap()
    }

    pub(crate) fn keys(&self, kind: Kind) -> Vec<String> {
        self.state.list(kind).map(|object| object.key.to_string()).collect()
    }

    pub(crate) fn import(&self, namespace: &str, service: &str) -> Option<&ServiceImport> {
        let name = name(service);
        let key = Key { kind: Kind::ServiceImport, scope: Scope::Fleet, namespace: namespace.into(), name };
        match &*self.state.get(&key)?.resource {
            Resource::ServiceImport(import) => Some(import),
            other => panic!("an import, not {other:?}"),
        }
    }
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(crate) fn cluster(text: &str, prefixes: &[&str]) -> Cluster {
    Cluster {
        name: name(text),
        region: String::new(),
        labels: Labels::new(),
        prefixes: prefixes.iter().map(|prefix| prefix.parse().unwrap()).collect(),
        default_action: Action::Accept,
        draining: false,
    }
}

pub(crate) fn uid(number: u8) -> Uid {
    Uid([number; 16])
}

pub(crate) fn endpoint(cluster: Uid, number: u8, node: &str, address: &str) -> Object {
    let endpoint = Endpoint {
        namespace: name("shop"),
        name: name(&format!("web-{number}")),
        node: name(node),
        service_account: "web".into(),
        labels: Labels::from([("app".into(), "web".into())]),
        addresses: vec![address.parse().unwrap()],
        named_ports: vec![],
        started_ms: number.into(),
        ready: true,
        host: None,
    };
    object(Resource::Endpoint(endpoint), Scope::Cluster(cluster), uid(number), 1)
}

pub(crate) fn node(cluster: Uid, text: &str, number: u8) -> Object {
    let node = Node { name: name(text), labels: Labels::new(), addresses: vec![] };
    object(Resource::Node(node), Scope::Cluster(cluster), uid(number), 1)
}

pub(crate) fn export(cluster: Uid, service: &str, created_ms: u64, port: u16) -> Object {
    let port = ServicePort {
        name: "http".into(),
        protocol: Protocol::Tcp,
        port,
        target: PortTarget::Number(8080),
        app_protocol: String::new(),
    };
    let export = ServiceExport {
        namespace: name("shop"),
        name: name(service),
        created_ms,
        selector: Labels::from([("app".into(), service.into())]),
        ports: vec![port],
        affinity: Affinity::Local,
        weight: 100,
        traits: Default::default(),
        backends: vec![],
    };
    let digest = service.bytes().fold(cluster.0[0], u8::wrapping_add);
    object(Resource::ServiceExport(export), Scope::Cluster(cluster), uid(digest), 1)
}

pub(crate) fn policy(text: &str) -> Policy {
    use axle_core::model::{Enforcement, Peers, Ports, Rule, Subject, Tier};
    let deny = Rule { name: String::new(), action: Action::Deny, peers: Peers::Any, ports: Ports::Any };
    Policy {
        name: name(text),
        namespace: None,
        tier: Tier::Admin,
        priority: 10,
        subject: Subject::default(),
        ingress: Some(vec![deny]),
        egress: None,
        enforcement: Enforcement::Enforce,
        disabled: false,
        description: String::new(),
        owner: String::new(),
    }
}

pub(crate) fn put(object: Object) -> Change {
    Change::Put(object)
}

pub(crate) fn gone(object: &Object) -> Change {
    Change::Delete { key: object.key.clone(), uid: object.uid }
}
