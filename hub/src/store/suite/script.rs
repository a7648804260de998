//! Records to store.
use axle_core::{
    log::{Change, Delta, Position, Record},
    model::{Action, Cluster, Endpoint, Fleet, Name, Resource, Scope, Uid},
    state::{Command, Decision, Request, State},
};
use axle_proto::convert::{Wire, object};

/// Writes records as the hub does, without a store.
pub(super) struct Script {
    pub(super) state: State,
    pub(super) drawn: u8,
}

impl Script {
    pub(super) fn new(epoch: Uid) -> Self {
        Self { state: State::new(epoch), drawn: 0 }
    }

    pub(super) fn run(&mut self, command: Command, request_id: &str) -> Record {
        self.drawn += 1;
        let request = Request {
            command,
            actor: "user:test".into(),
            request_id: request_id.into(),
            time_ms: 1_700_000_000_000,
            entropy: [self.drawn; 32],
        };
        match self.state.decide(&request, &Wire).unwrap() {
            Decision::Write { record, .. } => {
                let _ = self.state.apply(&record).unwrap();
                record
            }
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn begin(&mut self) -> Record {
        let fleet = Fleet {
            vip4: "240.64.0.0/16".parse().unwrap(),
            vip6: "fd61::/64".parse().unwrap(),
            excluded_label_keys: vec!["hash".into()],
        };
        self.run(Command::Begin { fleet }, "")
    }

    pub(super) fn add(&mut self, number: u8) -> (Uid, Record) {
        let name = Name::new(format!("c{number}")).unwrap();
        let record = self.run(Command::AddCluster { cluster: cluster(number) }, "");
        (self.state.cluster(&name).unwrap().0, record)
    }

    /// A revision of about so many bytes.
    pub(super) fn large(&mut self, number: u8, bytes: usize) -> Record {
        let cluster = Cluster { region: "x".repeat(bytes), ..cluster(number) };
        self.run(Command::AddCluster { cluster }, "")
    }

    pub(super) fn endpoint(&mut self, cluster: Uid, number: u8) -> Record {
        let uid = Uid([number; 16]);
        let endpoint = Endpoint {
            namespace: name("shop"),
            name: name("web"),
            node: name("n1"),
            service_account: "default".into(),
            labels: [("app".to_string(), "web".to_string())].into(),
            addresses: vec![format!("10.1.0.{number}").parse().unwrap()],
            named_ports: Vec::new(),
            started_ms: 1,
            ready: true,
            host: None,
        };
        let object = object(Resource::Endpoint(endpoint), Scope::Cluster(cluster), uid, 1);
        let after = self.state.intake(cluster);
        let before = after.unwrap_or(Position { epoch: Uid([9; 16]), ..Position::default() });
        let delta = Delta::next(&before, vec![Change::Put(object)], None);
        self.run(Command::TakeDelta { cluster, after, delta }, "")
    }
}

pub(super) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(super) fn cluster(number: u8) -> Cluster {
    Cluster {
        name: name(&format!("c{number}")),
        region: "north".into(),
        labels: [("env".to_string(), "test".to_string())].into(),
        prefixes: vec![format!("10.{number}.0.0/16").parse().unwrap()],
        default_action: Action::Accept,
        draining: false,
    }
}
