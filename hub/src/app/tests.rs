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
    let request = EnrollRequest { token: token.into(), name: name.into(), csr: csr.into(), ca_csr };
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
        let changes = own.into_iter().map(Change::Put).collect();
        let mut contents = Contents::new(Uid([5; 16]));
        let delta = Delta::next(&contents.position(), changes, None);
        let _ = contents.apply(&delta).unwrap();
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

#[tokio::test]
async fn a_relay_enrols_sees_the_fleet_and_is_seen() {
    let hub = Hub::start(&[]).await;
    let one = hub.relay("one", "10.1.0.0/16").await;
    let two = hub.relay("two", "10.2.0.0/16").await;
    let first = one.link(vec![one.endpoint(1, "10.1.0.1")]);
    let second = two.link(vec![]);
    second.sees(|contents| contents.list(Kind::Endpoint).count() == 1).await;
    first.sees(|contents| contents.list(Kind::Cluster).count() == 2).await;
    // And what changes afterwards, in both directions.
    first.offer(vec![Change::Put(one.endpoint(2, "10.1.0.2"))]);
    second.sees(|contents| contents.list(Kind::Endpoint).count() == 2).await;
    hub.add("three", "10.3.0.0/16").await;
    first.sees(|contents| contents.list(Kind::Cluster).count() == 3).await;
    let spokes = hub.running.parts.live.spokes();
    assert!(spokes[&one.cluster].connected && spokes[&one.cluster].fresh);
}

#[tokio::test]
async fn a_relay_speaks_for_its_own_cluster_alone() {
    let hub = Hub::start(&[]).await;
    let victim = hub.relay("victim", "10.1.0.0/16").await;
    let thief = hub.relay("thief", "10.2.0.0/16").await;
    let before = victim.link(vec![victim.endpoint(1, "10.1.0.1")]);
    eventually("the victim's endpoint arrives", || hub.objects(Kind::Endpoint).len() == 1).await;
    let node =
        Node { name: Name::new("n9").unwrap(), labels: std::collections::BTreeMap::new(), addresses: Vec::new() };
    let stolen = hub.objects(Kind::Endpoint).remove(0);
    let cluster = hub.objects(Kind::Cluster).remove(0);
    let session = thief.link(vec![
        thief.endpoint(2, "10.1.0.7"),
        victim.endpoint(3, "10.1.0.3"),
        victim.object(Resource::Node(node.clone()), Uid([4; 16])),
        cluster.clone(),
        thief.object(Resource::Node(node), Uid([5; 16])),
    ]);
    // The one object that is its own and fits is taken; that is how we know that the others were looked at.
    eventually("its own node arrives", || hub.objects(Kind::Node).len() == 1).await;
    session.offer(vec![Change::Delete { key: stolen.key.clone(), uid: stolen.uid }]);
    eventually("each is refused by name", || session.refused.lock().len() >= 5).await;
    let mut codes: Vec<String> = session.refused.lock().iter().map(|refusal| refusal.code.clone()).collect();
    codes.sort();
    assert_eq!(
        codes,
        ["address_outside_cluster", "foreign_object", "foreign_object", "foreign_object", "foreign_object"]
    );
    assert_eq!(hub.objects(Kind::Endpoint), [stolen]);
    assert!(hub.objects(Kind::Cluster).contains(&cluster));
    assert_eq!(hub.objects(Kind::Node)[0].key.scope, Scope::Cluster(thief.cluster));
    drop(before);
}

#[tokio::test]
async fn every_wrong_token_gets_the_same_answer() {
    let hub = Hub::start(&[]).await;
    let cluster = hub.add("one", "10.1.0.0/16").await;
    hub.add("two", "10.2.0.0/16").await;
    let key = PrivateKey::generate().unwrap();
    let good = hub.token(cluster, HOUR).await;
    let over = hub.token(cluster, Duration::ZERO).await;
    let unknown = JoinToken::generate(good.root, None).unwrap();
    let mut texts = std::collections::BTreeSet::new();
    for (token, name) in [(&good, "two"), (&good, "none"), (&good, "NOT A NAME"), (&over, "one"), (&unknown, "one")] {
        let refused = enroll(&hub.address(), token, name, &key).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
        texts.insert(refused.message().to_string());
    }
    let tls = ClientTls::joining(good.root, Expect::Hub).unwrap();
    let door = connect(&hub.address(), &tls).await.unwrap();
    for token in ["", "axle1.x.y", "axle1.AAAA"] {
        let refused = enroll_with(door.clone(), token, "one", key.csr().unwrap()).await.unwrap_err();
        texts.insert(refused.message().to_string());
    }
    // A broken request costs no token, and says what is wrong.
    let broken = enroll_with(door.clone(), &good.reveal(), "one", vec![1, 2, 3]).await.unwrap_err();
    assert_eq!(broken.code(), Code::InvalidArgument);
    assert!(broken.message().starts_with("csr: "), "{}", broken.message());
    assert!(enroll(&hub.address(), &good, "one", &key).await.is_ok());
    let used = enroll(&hub.address(), &good, "one", &key).await.unwrap_err();
    texts.insert(used.message().to_string());
    assert_eq!(texts.len(), 1, "{texts:?}");
}

#[tokio::test]
async fn of_many_who_bring_one_token_one_gets_in() {
    let hub = Hub::start(&[]).await;
    let cluster = hub.add("one", "10.1.0.0/16").await;
    let token = hub.token(cluster, HOUR).await;
    let attempts: Vec<_> = (0..24)
        .map(|_| {
            let (address, token) = (hub.address(), token.clone());
            tokio::spawn(async move {
                let key = PrivateKey::generate().unwrap();
                enroll(&address, &token, "one", &key).await.is_ok().then(|| key.public().unwrap().fingerprint())
            })
        })
        .collect();
    let mut won = Vec::new();
    for attempt in attempts {
        won.extend(attempt.await.unwrap());
    }
    assert_eq!(won.len(), 1);
    let enrolments = hub.running.parts.store.enrolments().await.unwrap();
    assert_eq!(enrolments.iter().map(|enrolment| enrolment.relay_key).collect::<Vec<_>>(), won);
}

#[tokio::test]
async fn a_certificate_speaks_for_its_cluster_and_lives_as_set() {
    let hub = Hub::start(&["--certificate-lifetime=2h"]).await;
    let relay = hub.relay("one", "10.1.0.0/16").await;
    let held = relay.credentials.load();
    assert_eq!(held.peer().principal, Principal::Relay(relay.cluster));
    let left = held.peer().not_after.duration_since(SystemTime::now()).unwrap();
    assert!(left <= 2 * HOUR && left > HOUR, "{left:?}");
}

#[tokio::test]
async fn a_renewal_keeps_the_key_and_the_name() {
    let hub = Hub::start(&[]).await;
    let relay = hub.relay("one", "10.1.0.0/16").await;
    let key = relay.credentials.load().key().clone();
    let renewed = credentials(&relay.renew(&key).await.unwrap(), key.clone());
    assert_eq!(renewed.peer().principal, Principal::Relay(relay.cluster));
    assert!(renewed.peer().not_after >= relay.credentials.load().peer().not_after);
    let other = relay.renew(&PrivateKey::generate().unwrap()).await.unwrap_err();
    assert_eq!(other.code(), Code::InvalidArgument);
    // Without a certificate there is nothing to renew.
    let roots = [hub.running.root.certificate().clone()];
    let anonymous = channel(&hub.address(), &ClientTls::anonymous(&roots, Expect::Hub).unwrap()).unwrap();
    let request = RenewRequest { csr: key.csr().unwrap().into(), ca_csr: key.csr().unwrap().into() };
    let refused = EnrollmentClient::new(anonymous).renew(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn an_expired_certificate_may_be_renewed_and_nothing_else() {
    let hub = Hub::start(&[]).await;
    let relay = hub.relay("one", "10.1.0.0/16").await;
    let key = relay.credentials.load().key().clone();
    let long_ago = SystemTime::now() - 10 * HOUR;
    let stale = |validity| {
        let root = &hub.running.root;
        let leaf = root.issue(&key.public().unwrap(), &Principal::Relay(relay.cluster), &[], validity).unwrap();
        Credentials::new(vec![leaf], key.clone(), vec![root.certificate().clone()]).unwrap()
    };
    relay.credentials.store(Arc::new(stale(Validity::starting(long_ago, HOUR))));
    let mut session = relay.link(vec![]);
    let refused = session.is(|state| matches!(state, LinkState::Waiting { reason } if !reason.is_empty())).await;
    assert!(format!("{refused:?}").contains("credentials"), "{refused:?}");
    let response = relay.renew(&key).await.unwrap();
    relay.credentials.store(Arc::new(credentials(&response, key.clone())));
    session.is(|state| *state == LinkState::Connected).await;
    // After thirty days it may not even do that.
    let month_ago = SystemTime::now() - 31 * 24 * HOUR;
    relay.credentials.store(Arc::new(stale(Validity::starting(month_ago, HOUR / 2))));
    assert!(relay.renew(&key).await.is_err());
}

#[tokio::test]
async fn a_removed_cluster_is_cut_off_and_stays_out() {
    let hub = Hub::start(&[]).await;
    let relay = hub.relay("one", "10.1.0.0/16").await;
    let mut session = relay.link(vec![relay.endpoint(1, "10.1.0.1")]);
    eventually("its endpoint arrives", || hub.objects(Kind::Endpoint).len() == 1).await;
    session.is(|state| *state == LinkState::Connected).await;
    hub.remove("one").await;
    session.is(|state| *state != LinkState::Connected).await;
    assert!(hub.objects(Kind::Endpoint).is_empty());
    let key = relay.credentials.load().key().clone();
    assert!(relay.renew(&key).await.is_err());
    // A new cluster of the same name is another one: the old certificate does not open it.
    hub.add("one", "10.1.0.0/16").await;
    assert!(relay.renew(&key).await.is_err());
    assert!(!hub.running.parts.live.spokes().contains_key(&relay.cluster));
}

#[tokio::test]
async fn enrolling_again_puts_the_former_relay_out() {
    let hub = Hub::start(&[]).await;
    let former = hub.relay("one", "10.1.0.0/16").await;
    let mut session = former.link(vec![]);
    session.is(|state| *state == LinkState::Connected).await;
    let token = hub.token(former.cluster, HOUR).await;
    let key = PrivateKey::generate().unwrap();
    let response = enroll(&hub.address(), &token, "one", &key).await.unwrap();
    session.is(|state| *state != LinkState::Connected).await;
    let newer = Relay { credentials: credentials(&response, key).shared(), address: hub.address(), ..former };
    newer.link(vec![]).is(|state| *state == LinkState::Connected).await;
}

#[tokio::test]
async fn nobody_syncs_without_a_certificate() {
    let hub = Hub::start(&[]).await;
    let roots = [hub.running.root.certificate().clone()];
    let anonymous = channel(&hub.address(), &ClientTls::anonymous(&roots, Expect::Hub).unwrap()).unwrap();
    let refused = SyncClient::new(anonymous).sync(tokio_stream::iter([])).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    // The hub's own kind of certificate does not make a relay either.
    let key = PrivateKey::generate().unwrap();
    let validity = Validity::starting(SystemTime::now(), HOUR);
    let leaf = hub.running.root.issue(&key.public().unwrap(), &Principal::Hub, &[], validity).unwrap();
    let own = Credentials::new(vec![leaf], key, roots.to_vec()).unwrap().shared();
    let other = channel(&hub.address(), &ClientTls::mutual(own, Expect::Hub).unwrap()).unwrap();
    assert!(SyncClient::new(other).sync(tokio_stream::iter([])).await.is_err());
}

#[tokio::test]
async fn a_restart_keeps_everything_and_relays_resume() {
    let hub = Hub::start(&[]).await;
    let relay = hub.relay("one", "10.1.0.0/16").await;
    let session = relay.link(vec![relay.endpoint(1, "10.1.0.1")]);
    session.sees(|contents| contents.list(Kind::Endpoint).count() == 1).await;
    let (head, listen) = (hub.running.parts.replica.read().position(), format!("--listen={}", hub.running.tls_address));
    let root = hub.running.root.certificate().clone();
    let Hub { running, dir } = hub;
    timeout(SOON, running.stop()).await.expect("it stops although a session is open");

    let running = App::start(config(&dir, &[&listen])).await.unwrap();
    let hub = Hub { running, dir };
    assert_eq!(hub.running.parts.replica.read().position(), head);
    assert_eq!(*hub.running.root.certificate(), root);
    hub.add("two", "10.2.0.0/16").await;
    session.sees(|contents| contents.list(Kind::Cluster).count() == 2).await;
    let spoke = &hub.running.parts.live.spokes()[&relay.cluster];
    assert_eq!((spoke.resumes, spoke.resyncs), (1, 0), "it resumed by revision");
}

#[tokio::test]
async fn a_token_says_what_one_may_do() {
    let hub = Hub::start(&[]).await;
    let gate = &hub.running.parts.gate;
    let with = |role| {
        let token = gate.issue("alice", role, HOUR).unwrap();
        let mut headers = http::HeaderMap::new();
        headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
        headers
    };
    let ask = |need, role| gate.check(need, &with(role), &http::Extensions::new());
    use crate::auth::Need;
    for (has, wants, may) in [
        (Role::Viewer, Role::Viewer, true),
        (Role::Viewer, Role::Operator, false),
        (Role::Operator, Role::Viewer, true),
        (Role::Operator, Role::Admin, false),
        (Role::Admin, Role::Admin, true),
    ] {
        assert_eq!(ask(Need::Role(wants), has).is_ok(), may, "{has} {wants}");
    }
    assert!(ask(Need::Relay, Role::Admin).is_err(), "a person is no relay");
    assert!(gate.check(Need::Role(Role::Viewer), &http::HeaderMap::new(), &http::Extensions::new()).is_err());
}

#[tokio::test]
async fn a_second_hub_keeps_out_of_a_data_directory() {
    let hub = Hub::start(&[]).await;
    let error = App::start(config(&hub.dir, &[])).await.unwrap_err().to_string();
    assert!(error.contains("another hub runs in"), "{error}");
}

#[tokio::test]
async fn other_settings_than_the_first_are_refused() {
    let hub = Hub::start(&[]).await;
    let Hub { running, dir } = hub;
    running.stop().await;
    for (flags, wanted) in [(["--mesh=other"], "belongs to the mesh"), (["--vip4=240.65.0.0/16"], "began with vip4")] {
        let error = format!("{:#}", App::start(config(&dir, &flags)).await.unwrap_err());
        assert!(error.contains(wanted), "{error}");
    }
}

#[tokio::test]
async fn the_first_start_leaves_a_context_for_the_cli() {
    use axle_transport::context::ContextFile;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cli/config.yaml");
    let flag = format!("--context-file={}", path.display());
    let running = App::start(config(&dir, &[&flag])).await.unwrap();
    let file = ContextFile::load(&path).unwrap();
    let context = file.get("axle").unwrap();
    assert_eq!(context.hub, format!("https://{}", running.tls_address));
    let mut headers = http::HeaderMap::new();
    headers.insert("authorization", format!("Bearer {}", context.token).parse().unwrap());
    let need = crate::auth::Need::Role(Role::Admin);
    assert!(running.parts.gate.check(need, &headers, &http::Extensions::new()).is_ok());
    let listen = format!("--listen={}", running.tls_address);
    running.stop().await;
    // A restart changes nothing in it.
    let _running = App::start(config(&dir, &[&flag, &listen])).await.unwrap();
    assert_eq!(ContextFile::load(&path).unwrap(), file);
}
