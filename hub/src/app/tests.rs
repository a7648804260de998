//! A whole hub in this process, on a database of its own, with relays that are real but for their data plane.
mod doors;
mod enrolment;
mod replicas;
mod rotation;
mod sessions;
mod start;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use axle_core::{
    log::{Change, Contents, Delta, Position, Snapshot},
    model::{Action, Cluster, Endpoint, Kind, Name, Node, Object, Resource, Scope, Uid},
    refusal::Refusal,
    session::{Ack, Intake},
    state::Command as StateCommand,
};
use axle_proto::{
    convert::object,
    v1::{EnrollRequest, EnrollResponse, RenewRequest, enrollment_client::EnrollmentClient, sync_client::SyncClient},
};
use axle_transport::{
    pki::{JoinToken, Principal, PrivateKey, Validity},
    sync::{Goodbye, Link, LinkSettings, LinkState, Replica as Copy, View, ViewSettings},
    tls::{ClientTls, Credentials, Expect, SharedCredentials, channel, connect},
};
use clap::Parser;
use parking_lot::Mutex;
use rustls_pki_types::CertificateDer;
use tempfile::TempDir;
use tokio::{sync::watch, time::timeout};
use tonic::{Code, Status, transport::Channel};

use super::*;
use crate::auth::Role;

const SOON: Duration = Duration::from_secs(30);
const HOUR: Duration = Duration::from_secs(3600);

#[derive(Debug, Parser)]
#[command(args_override_self = true)]
struct Settings {
    #[command(flatten)]
    config: Config,
}

fn config(dir: &TempDir, more: &[&str]) -> Config {
    let dir = dir.path().to_str().unwrap();
    let fixed =
        ["axle-hub", "--listen=127.0.0.1:0", "--http-listen=127.0.0.1:0", "--context-file=off", "--data-dir", dir];
    Settings::try_parse_from([&fixed, more].concat()).unwrap().config
}

struct Hub {
    running: Running,
    dir: TempDir,
}

impl Hub {
    async fn start(more: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { running: App::start(config(&dir, more)).await.unwrap(), dir }
    }

    fn address(&self) -> String {
        self.running.tls_address.to_string()
    }

    async fn add(&self, name: &str, prefix: &str) -> Uid {
        let cluster = Cluster {
            name: Name::new(name).unwrap(),
            region: String::new(),
            labels: std::collections::BTreeMap::new(),
            prefixes: vec![prefix.parse().unwrap()],
            default_action: Action::Accept,
            draining: false,
        };
        let command = StateCommand::AddCluster { cluster };
        self.running.parts.writer.submit(command, "user:test", "").await.unwrap();
        self.running.parts.replica.read().cluster(&Name::new(name).unwrap()).unwrap().0
    }

    async fn remove(&self, name: &str) {
        let command = StateCommand::RemoveCluster { name: Name::new(name).unwrap() };
        self.running.parts.writer.submit(command, "user:test", "").await.unwrap();
    }

    async fn token(&self, cluster: Uid, lifetime: Duration) -> JoinToken {
        self.running.parts.enroller.create_token(cluster, lifetime, "user:test").await.unwrap().0
    }

    /// A token for a person, in no list.
    fn bearer(&self, subject: &str, role: Role) -> String {
        self.running.parts.tokens.keys().issue(subject, role, SystemTime::now(), HOUR).unwrap().token
    }

    /// A relay that has enrolled for a new cluster.
    async fn relay(&self, name: &str, prefix: &str) -> Relay {
        let cluster = self.add(name, prefix).await;
        let token = self.token(cluster, HOUR).await;
        let key = PrivateKey::generate().unwrap();
        let response = enroll(&self.address(), &token, name, &key).await.unwrap();
        assert_eq!(response.cluster_name, name);
        Relay { cluster, credentials: credentials(&response, key).shared(), address: self.address() }
    }

    fn objects(&self, kind: Kind) -> Vec<Object> {
        self.running.parts.replica.read().list(kind).cloned().collect()
    }
}

async fn enroll(address: &str, token: &JoinToken, name: &str, key: &PrivateKey) -> Result<EnrollResponse, Status> {
    let tls = ClientTls::joining(token.root, Expect::Hub).unwrap();
    enroll_with(connect(address, &tls).await.unwrap(), &token.reveal(), name, key.csr().unwrap()).await
}

async fn enroll_with(channel: Channel, token: &str, name: &str, csr: Vec<u8>) -> Result<EnrollResponse, Status> {
    let ca_csr = PrivateKey::generate().unwrap().csr().unwrap().into();
    let request =
        EnrollRequest { token: token.into(), name: name.into(), csr: csr.into(), ca_csr, ..EnrollRequest::default() };
    EnrollmentClient::new(channel).enroll(request).await.map(tonic::Response::into_inner)
}

fn credentials(response: &EnrollResponse, key: PrivateKey) -> Credentials {
    let read = |der: &bytes::Bytes| CertificateDer::from(der.to_vec());
    Credentials::new(response.chain.iter().map(read).collect(), key, response.roots.iter().map(read).collect()).unwrap()
}

struct Relay {
    cluster: Uid,
    credentials: SharedCredentials,
    address: String,
}

impl Relay {
    fn tls(&self) -> ClientTls {
        ClientTls::mutual(self.credentials.clone(), Expect::Hub).unwrap()
    }

    async fn renew(&self, key: &PrivateKey) -> Result<EnrollResponse, Status> {
        let ca_csr = PrivateKey::generate().unwrap().csr().unwrap().into();
        let request = RenewRequest { csr: key.csr().unwrap().into(), ca_csr };
        let mut client = EnrollmentClient::new(channel(&self.address, &self.tls()).unwrap());
        client.renew(request).await.map(tonic::Response::into_inner)
    }

    /// Begins to sync, offering these objects.
    fn link(&self, own: Vec<Object>) -> Session {
        self.link_of(0, own)
    }

    /// The same, as the leader with this term.
    fn link_of(&self, term: u32, own: Vec<Object>) -> Session {
        let changes = own.into_iter().map(Change::Put).collect();
        let mut contents = Contents::new(Uid([5; 16]));
        let delta = Delta::next(&contents.position().of_leader(term), changes, None);
        let _ = contents.apply(&Delta { from: 0, ..delta }).unwrap();
        let view = View::new(contents, ViewSettings::default());
        let seen = Arc::new(watch::Sender::new(Contents::default()));
        let refused = Arc::default();
        let (state, connected) = watch::channel(LinkState::Waiting { reason: String::new() });
        let link = Link {
            node: "n1".into(),
            agent_version: "test".into(),
            own: view.clone(),
            replica: Held { seen: seen.clone(), refused: Arc::clone(&refused) },
            statuses: watch::channel(Vec::new()).1,
            state,
            settings: LinkSettings { backoff_cap: Duration::from_millis(500), ..LinkSettings::default() },
        };
        let (address, tls, stop) = (self.address.clone(), self.tls(), CancellationToken::new());
        let connector = move || {
            let (address, tls) = (address.clone(), tls.clone());
            async move { connect(&address, &tls).await }
        };
        tokio::spawn(link.run(connector, stop.clone()));
        Session { view, seen, refused, connected, _stop: stop.drop_guard() }
    }

    fn object(&self, resource: Resource, uid: Uid) -> Object {
        object(resource, Scope::Cluster(self.cluster), uid, 1)
    }

    fn endpoint(&self, number: u8, address: &str) -> Object {
        let endpoint = Endpoint {
            namespace: Name::new("shop").unwrap(),
            name: Name::new("web").unwrap(),
            node: Name::new("n1").unwrap(),
            service_account: "default".into(),
            labels: std::collections::BTreeMap::new(),
            addresses: vec![address.parse().unwrap()],
            named_ports: Vec::new(),
            started_ms: 1,
            ready: true,
            host: None,
        };
        self.object(Resource::Endpoint(endpoint), Uid([number; 16]))
    }
}

/// A relay's side of a running session.
struct Session {
    view: Arc<View>,
    seen: Arc<watch::Sender<Contents>>,
    refused: Arc<Mutex<Vec<Refusal>>>,
    connected: watch::Receiver<LinkState>,
    _stop: tokio_util::sync::DropGuard,
}

impl Session {
    async fn sees(&self, wanted: impl Fn(&Contents) -> bool) {
        timeout(SOON, self.seen.subscribe().wait_for(wanted)).await.expect("it is seen").unwrap();
    }

    async fn is(&mut self, wanted: impl Fn(&LinkState) -> bool) -> LinkState {
        timeout(SOON, self.connected.wait_for(wanted)).await.expect("the link gets there").unwrap().clone()
    }

    fn offer(&self, changes: Vec<Change>) {
        self.view.append(&Delta::next(&self.view.position(), changes, None)).unwrap();
    }
}

struct Held {
    seen: Arc<watch::Sender<Contents>>,
    refused: Arc<Mutex<Vec<Refusal>>>,
}

impl Copy for Held {
    fn held(&self) -> Option<Position> {
        Some(self.seen.borrow().position()).filter(|position| position.revision > 0)
    }

    async fn apply(&mut self, deltas: Vec<Intake<Delta>>) -> Result<Vec<Refusal>, Goodbye> {
        self.seen.send_modify(|contents| {
            for delta in &deltas {
                let _ = contents.apply(&delta.taken).unwrap();
            }
        });
        Ok(Vec::new())
    }

    async fn replace(&mut self, snapshot: Intake<Snapshot>) -> Result<Vec<Refusal>, Goodbye> {
        self.seen.send_modify(|contents| {
            let _ = contents.replace(snapshot.taken, &[]);
        });
        Ok(Vec::new())
    }

    fn acknowledged(&mut self, ack: Ack) {
        self.refused.lock().extend(ack.refused);
    }
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, waiting).await.unwrap_or_else(|_| panic!("{what}"));
}
