//! Both servers: one thread each, the shipped acceptor in front.
use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use axle_core::{
    log::{Contents, Delta, Position, Snapshot},
    model::{Name, Uid},
    refusal::Refusal,
    session::{Heartbeat, Intake, Limits},
};
use axle_proto::{convert, v1};
use axle_transport::{
    acceptor::{self, Acceptor, Guard, bind},
    pki::{self, Authority, Principal, PrivateKey, Validity},
    sync::{Admission, Goodbye, Host, Introduction, Replica, SyncServer, View, ViewSettings},
    tls::{ClientTls, Credentials, Expect, ServerTls, SharedCredentials},
};
use prost::Message;
use tokio::{
    net::TcpListener,
    runtime::Runtime,
    sync::{mpsc, oneshot, watch},
};
use tokio_util::sync::CancellationToken;

use super::{
    STREAMS,
    peer::{Peer, Update},
    spokes::{Expected, Spokes},
    thread_cpu,
    updates::Updates,
};

/// Certificates for everybody.
pub(super) struct Mesh(Authority);

const HOUR: Duration = Duration::from_secs(3_600);
const START: Position = Position { epoch: Uid([1; 16]), revision: 0, hash: axle_core::log::Hash([0; 32]) };

impl Mesh {
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self(Authority::new_root(&Name::new("bench")?, Validity::starting(SystemTime::now(), 2 * HOUR))?))
    }

    fn credentials(&self, principal: &Principal) -> anyhow::Result<SharedCredentials> {
        let key = PrivateKey::generate()?;
        let validity = Validity::starting(SystemTime::now(), HOUR);
        let leaf = self.0.issue(&key.public()?, principal, &[], validity)?;
        Ok(Credentials::new(vec![leaf], key, vec![self.0.certificate().clone()])?.shared())
    }

    pub(super) fn spoke(&self, number: usize) -> anyhow::Result<ClientTls> {
        let mut uid = Uid([9; 16]);
        uid.0[..8].copy_from_slice(&(number as u64).to_le_bytes());
        Ok(ClientTls::mutual(self.credentials(&Principal::Relay(uid))?, Expect::Hub)?)
    }
}

/// Who serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    Ours,
    Peer,
}

/// What the server is asked.
enum Ask {
    /// Append so many updates; answers the bytes of their messages.
    Append(usize, oneshot::Sender<anyhow::Result<u64>>),
    /// Its thread's CPU time so far.
    Cpu(oneshot::Sender<anyhow::Result<Duration>>),
}

/// A server; it lives as long as this.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) expected: Expected,
    asks: mpsc::UnboundedSender<Ask>,
    _runtime: Runtime,
}

impl Server {
    pub(super) fn start(mesh: &Mesh, service: Service) -> anyhow::Result<Self> {
        let tls = ServerTls::new(mesh.credentials(&Principal::Hub)?)?;
        // The hub's runtime, with one worker, whose CPU time is what counts.
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).thread_name(format!("{service:?}")).enable_all().build()?;
        let listener = {
            let _within = runtime.enter();
            bind("127.0.0.1:0".parse()?)?
        };
        // The congestion control of data centres' kernels, for both: the machine's own may pace loopback.
        socket2::SockRef::from(&listener).set_tcp_congestion(b"cubic")?;
        let (address, expected) = (listener.local_addr()?, Expected::default());
        let (asks, asked) = mpsc::unbounded_channel();
        runtime.spawn(serve(listener, tls, service, expected.clone(), asked));
        Ok(Self { address, expected, asks, _runtime: runtime })
    }

    fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<anyhow::Result<T>>) -> Ask) -> anyhow::Result<T> {
        let (answer, answered) = oneshot::channel();
        self.asks.send(ask(answer)).map_err(|_| anyhow::anyhow!("the server ended"))?;
        answered.blocking_recv()?
    }

    /// Delivers so many bursts of so many updates to all spokes: the CPU time that the server took for it.
    pub(super) fn deliver(&self, spokes: &Spokes, burst: usize, bursts: usize) -> anyhow::Result<Duration> {
        let before = self.ask(Ask::Cpu)?;
        let mut wanted = spokes.received();
        for _ in 0..bursts {
            let all_but_this = wanted;
            wanted += self.ask(|answer| Ask::Append(burst, answer))? * STREAMS as u64;
            // The next burst gathers while this one is on its way.
            spokes.reach(all_but_this)?;
        }
        spokes.reach(wanted)?;
        Ok(self.ask(Ask::Cpu)? - before)
    }
}

async fn serve(
    listener: TcpListener,
    tls: ServerTls,
    service: Service,
    expected: Expected,
    mut asked: mpsc::UnboundedReceiver<Ask>,
) {
    let guard = Arc::new(Guard::new(|_| Ok(())));
    let acceptor = Acceptor::new(tls, guard, acceptor::Limits::default());
    let log = Log::new(service);
    match &log {
        Log::Ours(view) => {
            let service = SyncServer::new(Arc::new(Hub(view.clone())));
            tokio::spawn(acceptor.serve(listener, service, CancellationToken::new()));
        }
        Log::Peer(updates) => {
            tokio::spawn(acceptor.serve(listener, Peer(updates.clone()), CancellationToken::new()));
        }
    }
    let mut updates = Updates::from(START);
    while let Some(ask) = asked.recv().await {
        // Whoever asked may have given up.
        let _ = match ask {
            Ask::Append(count, answer) => answer.send(log.append(&mut updates, count, &expected)).map_err(drop),
            Ask::Cpu(answer) => answer.send(thread_cpu()).map_err(drop),
        };
    }
}

enum Log {
    Ours(Arc<View>),
    Peer(watch::Sender<Vec<Arc<Update>>>),
}

impl Log {
    fn new(service: Service) -> Self {
        match service {
            Service::Ours => Self::Ours(View::new(Contents::new(START.epoch), ViewSettings::default())),
            Service::Peer => Self::Peer(watch::Sender::default()),
        }
    }

    /// Both get the same updates, and the same bytes go out.
    fn append(&self, updates: &mut Updates, count: usize, expected: &Expected) -> anyhow::Result<u64> {
        let (mut bytes, mut list) = (Vec::new(), Vec::with_capacity(count));
        for _ in 0..count {
            let (delta, begin): (Delta, _) = (updates.next()?, bytes.len());
            let message = v1::HubMessage { deltas: vec![convert::delta_to_wire(&delta)], message: None };
            message.encode(&mut bytes)?;
            match self {
                Self::Ours(view) => view.append(&delta)?,
                Self::Peer(_) => list.push(Arc::new(Update::decode(&bytes[begin..])?)),
            }
        }
        // Nobody reads on this thread before this returns.
        expected.write().extend_from_slice(&bytes);
        if let Self::Peer(updates) = self {
            updates.send_modify(|all| all.extend(list));
        }
        Ok(bytes.len() as u64)
    }
}

struct Hub(Arc<View>);

impl Host for Hub {
    type Replica = Nothing;

    async fn admit(&self, _: &pki::Peer, _: &Introduction) -> Result<Admission<Nothing>, Goodbye> {
        Ok(Admission {
            view: self.0.clone(),
            replica: Nothing,
            limits: Limits::default(),
            // The clients of this measure never say anything, and count whatever comes.
            heartbeat: Heartbeat { period: HOUR },
            end: CancellationToken::new(),
            ask: Arc::default(),
            counters: Arc::default(),
        })
    }

    fn report(&self, _: &pki::Peer, _: v1::FlowBatch) -> Result<(), Goodbye> {
        Err(Goodbye::because("not measured"))
    }
}

/// Spokes that say nothing of themselves.
struct Nothing;

impl Replica for Nothing {
    fn held(&self) -> Option<Position> {
        None
    }

    async fn apply(&mut self, _: Vec<Intake<Delta>>) -> Result<Vec<Refusal>, Goodbye> {
        Err(Goodbye::because("not measured"))
    }

    async fn replace(&mut self, _: Intake<Snapshot>) -> Result<Vec<Refusal>, Goodbye> {
        Err(Goodbye::because("not measured"))
    }
}
