//! A hub and spokes around it.
use std::{
    collections::BTreeMap,
    future::Future,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use axle_core::{
    log::{Change, Contents, Delta, Position, Snapshot},
    model::{Key, Labels, Name, Namespace, Object, Resource, Scope, Uid},
    refusal::Refusal,
    session::{Ack, Heartbeat, Intake, Limits},
};
use axle_proto::{convert, v1};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    acceptor::{self, Acceptor, Guard, bind},
    pki::{Authority, Peer, Principal, PrivateKey, Validity},
    sync::{
        Admission, Goodbye, Host, Introduction, Link, LinkSettings, LinkState, Replica, SessionCounters, SyncServer,
        View, ViewSettings,
    },
    tls::{ClientTls, Credentials, Expect, ServerTls, SharedCredentials, connect},
};

/// Long enough for anything that happens at all on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(30);

pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.unwrap_or_else(|_| panic!("{what}: not within {SOON:?}"))
}

/// Waits until `holds`, looking again every few milliseconds.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    within(what, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

pub(crate) struct Mesh {
    root: Authority,
}

impl Mesh {
    pub(crate) fn new() -> Self {
        let validity = Validity::starting(SystemTime::now(), Duration::from_secs(360_000));
        Self { root: Authority::new_root(&Name::new("test").unwrap(), validity).unwrap() }
    }

    fn credentials(&self, principal: &Principal) -> SharedCredentials {
        let key = PrivateKey::generate().unwrap();
        let validity = Validity::starting(SystemTime::now(), Duration::from_secs(36_000));
        let leaf = self.root.issue(&key.public().unwrap(), principal, &[], validity).unwrap();
        Credentials::new(vec![leaf], key, vec![self.root.certificate().clone()]).unwrap().shared()
    }

    pub(crate) fn relay(&self, cluster: Uid) -> ClientTls {
        ClientTls::mutual(self.credentials(&Principal::Relay(cluster)), Expect::Hub).unwrap()
    }

    pub(crate) fn nobody(&self) -> ClientTls {
        ClientTls::anonymous(std::slice::from_ref(self.root.certificate()), Expect::Hub).unwrap()
    }
}

/// A copy of a log that outlives sessions, and everything that happened to it.
#[derive(Default)]
pub(crate) struct Copy {
    pub(crate) contents: Contents,
    pub(crate) held: Option<Position>,
    /// Every position it went through, and what was there.
    pub(crate) past: Vec<(Position, Vec<Object>)>,
    pub(crate) snapshots: usize,
    pub(crate) refused: Vec<Refusal>,
    pub(crate) head: Option<Position>,
    pub(crate) acks: Vec<Ack>,
    pub(crate) statuses: Vec<v1::NodeStatus>,
    /// Sessions that hold it now.
    pub(crate) sessions: usize,
}

/// A copy as a session's replica.
pub(crate) struct Held {
    copy: Arc<Mutex<Copy>>,
    /// Refused of what comes, by the number of the object.
    refuse: Option<Key>,
}

impl Held {
    fn new(copy: Arc<Mutex<Copy>>, refuse: Option<Key>) -> Self {
        copy.lock().sessions += 1;
        Self { copy, refuse }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.copy.lock().sessions -= 1;
    }
}

impl Copy {
    fn note(&mut self, refused: Vec<Refusal>) {
        self.refused.extend(refused);
        self.held = Some(self.contents.position());
        self.past.push((self.contents.position(), self.contents.iter().cloned().collect()));
    }
}

impl Replica for Held {
    fn held(&self) -> Option<Position> {
        self.copy.lock().held
    }

    async fn apply(&mut self, deltas: Vec<Intake<Delta>>) -> Result<Vec<Refusal>, Goodbye> {
        // What is durable is so only after a while, as with a database.
        tokio::task::yield_now().await;
        let mut own = Vec::new();
        let mut copy = self.copy.lock();
        for delta in deltas {
            let _ = copy.contents.apply(&delta.taken).expect("only joining deltas are let through");
            copy.note(delta.refused);
            let hit = |change: &&Change| Some(change.key()) == self.refuse.as_ref();
            own.extend(delta.taken.changes.iter().filter(hit).map(|change| refusal(change.key())));
        }
        Ok(own)
    }

    async fn replace(&mut self, snapshot: Intake<Snapshot>) -> Result<Vec<Refusal>, Goodbye> {
        tokio::task::yield_now().await;
        let mut copy = self.copy.lock();
        copy.contents.replace(snapshot.taken, &snapshot.refused);
        copy.snapshots += 1;
        copy.note(snapshot.refused);
        Ok(Vec::new())
    }

    fn head(&mut self, head: Position) {
        self.copy.lock().head = Some(head);
    }

    fn acknowledged(&mut self, ack: Ack) {
        self.copy.lock().acks.push(ack);
    }

    fn statuses(&mut self, statuses: Vec<v1::NodeStatus>) {
        self.copy.lock().statuses = statuses;
    }
}

fn refusal(key: &Key) -> Refusal {
    Refusal { key: key.clone(), revision: 0, code: "address_outside_cluster".into(), message: "not mine".into() }
}

/// A log that is served, and everything that it ever held.
pub(crate) struct Served {
    pub(crate) view: Arc<View>,
    pub(crate) past: BTreeMap<(Uid, u64), Vec<Object>>,
}

impl Served {
    pub(crate) fn new(epoch: u8, settings: ViewSettings) -> Self {
        let mut served = Self { view: View::new(Contents::new(Uid([epoch; 16])), settings), past: BTreeMap::new() };
        served.note();
        served
    }

    fn note(&mut self) {
        let at = self.view.position();
        self.past.insert((at.epoch, at.revision), self.view.read(|contents| contents.iter().cloned().collect()));
    }

    /// One more revision: object `number` gets `value`, or goes.
    pub(crate) fn write(&mut self, number: u8, value: Option<u32>) {
        let object = object(number, value.unwrap_or_default());
        let change = match value {
            Some(_) => Change::Put(object),
            None => Change::Delete { key: object.key, uid: object.uid },
        };
        self.append(vec![change]);
    }

    pub(crate) fn append(&mut self, changes: Vec<Change>) {
        self.view.append(&Delta::next(&self.view.position(), changes, None)).unwrap();
        self.note();
    }

    /// A restore: the same objects, another epoch.
    pub(crate) fn restore(&mut self) {
        let mut at = self.view.position();
        at.epoch.0[15] += 1;
        let (entries, _, _) = self.view.read(Contents::parts);
        self.view.replace(Contents::restore(at, None, entries, &[], vec![]));
        self.note();
    }

    /// Panics unless `copy` went only through what this log held, forward, and is at its head.
    pub(crate) fn check(&self, copy: &Copy) {
        let mut before = None;
        for (at, objects) in &copy.past {
            assert_eq!(Some(objects), self.past.get(&(at.epoch, at.revision)), "at {at:?}");
            assert!(before < Some((at.epoch, at.revision)), "{before:?} then {at:?}");
            before = Some((at.epoch, at.revision));
        }
        assert_eq!(copy.held, Some(self.view.position()));
    }
}

pub(crate) fn object(number: u8, value: u32) -> Object {
    let labels = Labels::from([("value".to_owned(), value.to_string())]);
    let namespace = Namespace { name: Name::new(format!("n{number}")).unwrap(), labels };
    convert::object(Resource::Namespace(namespace), Scope::Fleet, Uid([number; 16]), 1)
}

/// The upper side.
pub(crate) struct Hub {
    pub(crate) view: Arc<View>,
    pub(crate) copies: Mutex<BTreeMap<Uid, Arc<Mutex<Copy>>>>,
    pub(crate) counters: Arc<SessionCounters>,
    pub(crate) end: Mutex<CancellationToken>,
    /// Turned away with this, so many times.
    pub(crate) turn_away: Mutex<Vec<Goodbye>>,
    pub(crate) introductions: Mutex<Vec<Introduction>>,
    pub(crate) flows: Mutex<Vec<(Principal, v1::FlowBatch)>>,
    pub(crate) refuse: Option<Key>,
    heartbeat: Heartbeat,
}

impl Hub {
    pub(crate) fn new(view: Arc<View>, heartbeat: Duration, refuse: Option<Key>) -> Arc<Self> {
        Arc::new(Self {
            view,
            copies: Mutex::default(),
            counters: Arc::default(),
            end: Mutex::default(),
            turn_away: Mutex::default(),
            introductions: Mutex::default(),
            flows: Mutex::default(),
            refuse,
            heartbeat: Heartbeat { period: heartbeat },
        })
    }

    pub(crate) fn copy(&self, cluster: Uid) -> Arc<Mutex<Copy>> {
        self.copies.lock().entry(cluster).or_default().clone()
    }

    /// Serves until the guard is dropped.
    pub(crate) fn listen(self: &Arc<Self>, mesh: &Mesh) -> (SocketAddr, DropGuard) {
        self.listen_at(mesh, "127.0.0.1:0".parse().unwrap())
    }

    pub(crate) fn listen_at(self: &Arc<Self>, mesh: &Mesh, address: SocketAddr) -> (SocketAddr, DropGuard) {
        let tls = ServerTls::new(mesh.credentials(&Principal::Hub)).unwrap();
        let listener = bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let limits = acceptor::Limits { drain: Duration::from_millis(10), ..acceptor::Limits::default() };
        let acceptor = Acceptor::new(tls, Arc::new(Guard::new(|_| Ok(()))), limits);
        let service = SyncServer::new(self.clone());
        tokio::spawn(acceptor.serve(listener, service, stop.clone()));
        (address, stop.drop_guard())
    }
}

impl Host for Hub {
    type Replica = Held;

    async fn admit(&self, peer: &Peer, introduction: &Introduction) -> Result<Admission<Held>, Goodbye> {
        if let Some(goodbye) = self.turn_away.lock().pop() {
            return Err(goodbye);
        }
        self.introductions.lock().push(introduction.clone());
        let Principal::Relay(cluster) = peer.principal else { return Err(Goodbye::because("relays only")) };
        Ok(Admission {
            view: self.view.clone(),
            replica: Held::new(self.copy(cluster), self.refuse.clone()),
            limits: Limits::default(),
            heartbeat: self.heartbeat,
            end: self.end.lock().clone(),
            ask: Arc::default(),
            counters: self.counters.clone(),
        })
    }

    fn report(&self, peer: &Peer, batch: v1::FlowBatch) -> Result<(), Goodbye> {
        self.flows.lock().push((peer.principal.clone(), batch));
        Ok(())
    }
}

/// A lower side that runs until it is dropped.
pub(crate) struct Spoke {
    pub(crate) copy: Arc<Mutex<Copy>>,
    pub(crate) state: watch::Receiver<LinkState>,
    pub(crate) statuses: watch::Sender<Vec<v1::NodeStatus>>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Spoke {
    pub(crate) fn start(address: SocketAddr, tls: ClientTls, own: Arc<View>, heartbeat: Duration) -> Self {
        Self::with(address, tls, own, heartbeat, Arc::default())
    }

    pub(crate) fn with(
        address: SocketAddr,
        tls: ClientTls,
        own: Arc<View>,
        heartbeat: Duration,
        copy: Arc<Mutex<Copy>>,
    ) -> Self {
        let (state, watched) = watch::channel(LinkState::Waiting { reason: String::new() });
        let (statuses, status_watch) = watch::channel(Vec::new());
        let settings = LinkSettings {
            heartbeat: Heartbeat { period: heartbeat },
            backoff_base: Duration::from_millis(1),
            backoff_cap: Duration::from_millis(20),
            ..LinkSettings::default()
        };
        let link = Link {
            node: "n1".into(),
            agent_version: "test".into(),
            own,
            replica: Held::new(copy.clone(), None),
            statuses: status_watch,
            state,
            settings,
        };
        let stop = CancellationToken::new();
        let task = tokio::spawn(link.run(
            move || {
                let tls = tls.clone();
                async move { connect(&address.to_string(), &tls).await.map_err(|error| format!("{error:?}")) }
            },
            stop.clone(),
        ));
        Self { copy, state: watched, statuses, stop, task }
    }

    pub(crate) async fn at(&self, view: &View) {
        until("the spoke is at the head", || self.copy.lock().held == Some(view.position())).await;
    }

    /// Ends it and keeps its copy.
    pub(crate) async fn stop(self) -> Arc<Mutex<Copy>> {
        self.stop.cancel();
        within("the link stops", self.task).await.unwrap();
        self.copy
    }
}
