//! The composition root: settings in, a running hub out.
pub mod beside;
mod context;
mod doors;

use std::{
    fs,
    io::Write as _,
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
    sync::Arc,
};

use anyhow::{Context as _, bail};
use axle_core::state::Command;
use axle_transport::{
    acceptor::{Acceptor, Guard, Limits, bind},
    pki::Authority,
    tls::ServerTls,
};
use tokio::{
    sync::Semaphore,
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

use crate::{
    auth::Gate,
    authority::{Authorities, Lifetimes, Own},
    config::Config,
    distribution::Distribution,
    enroll::{self, Enroller},
    exchange,
    live::Live,
    members::Members,
    replica::Replica,
    retention,
    sessions::Sessions,
    store::{self, Store},
    tokens::Tokens,
    writer::Writer,
};
use doors::Doors;

/// What the doors are made of.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The state, to read.
    pub replica: Arc<Replica>,
    /// The way to change it.
    pub writer: Writer,
    /// The log, to read further back.
    pub store: Arc<dyn Store>,
    /// Which relays have enrolled.
    pub members: Arc<Members>,
    /// What spokes say.
    pub live: Arc<Live>,
    /// Their sessions.
    pub sessions: Arc<Sessions>,
    /// The mesh's roots.
    pub authorities: Arc<Authorities>,
    /// Join tokens.
    pub enroller: Arc<Enroller>,
    /// People's tokens.
    pub tokens: Arc<Tokens>,
    /// Who may do what; makes tokens for people.
    pub gate: Arc<Gate>,
    /// How others reach the TLS port, as `host:port`, best first.
    pub advertised: Vec<String>,
    /// Cancelled when the hub begins to stop: streams that never end by themselves end then.
    pub stopping: CancellationToken,
}

/// A hub that runs. Dropping it ends it at once; [`Running::stop`] ends it well.
#[derive(Debug)]
pub struct Running {
    /// Where relays, the CLI and browsers connect.
    pub tls_address: SocketAddr,
    /// Where the dashboard, health and metrics are, without TLS.
    pub http_address: SocketAddr,
    /// What it is made of.
    pub parts: Parts,
    doors: CancellationToken,
    servers: Vec<JoinHandle<()>>,
    writing: CancellationToken,
    writer: JoinHandle<()>,
    _background: JoinSet<()>,
    _lock: fs::File,
}

/// The hub.
#[derive(Debug)]
pub struct App;

impl App {
    /// Starts a hub and returns once it serves.
    ///
    /// # Errors
    /// Says what about the settings, the files, the database or the addresses is wrong.
    pub async fn start(config: Config) -> anyhow::Result<Running> {
        if let Err(faults) = config.check() {
            bail!("the settings are wrong:\n  {}", faults.join("\n  "));
        }
        let data_dir = config.data_dir().map_err(anyhow::Error::msg)?;
        let lock = take(&data_dir)?;
        let listener = bind(config.listen)?;
        let http_listener = bind(config.http_listen)?;
        let (tls_address, http_address) = (listener.local_addr()?, http_listener.local_addr()?);

        let store = store::open(&config.database().map_err(anyhow::Error::msg)?).await?;
        let authorities = Authorities::open(store.clone(), &config.mesh, lifetimes(&config)).await?;
        let tokens = Tokens::open(store.clone(), config.mesh.as_str()).await?;
        let gate = Arc::new(Gate::new(tokens.keys(), tokens.revoked()));

        let (writing, stopping, doors) = (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
        let (writer, replica, writer_task) = Writer::start(store.clone(), writing.clone()).await?;
        let first_start = begin(&writer, &replica, &config).await?;
        let members = Members::load(&*store, &replica).await?;
        let guard = {
            let members = members.clone();
            Arc::new(Guard::new(move |peer| members.admit(peer)))
        };
        let enroller = Arc::new(Enroller {
            store: store.clone(),
            replica: replica.clone(),
            members: members.clone(),
            guard: guard.clone(),
            authorities: authorities.clone(),
            lifetime: config.certificate_lifetime,
            turns: Semaphore::new(enroll::TURNS),
        });
        let own = Own::new(authorities.changes(), config.certificate_names(tls_address), config.certificate_lifetime)?;
        let parts = Parts {
            replica,
            writer,
            store: store.clone(),
            members: members.clone(),
            live: Live::new(config.heartbeat),
            sessions: Arc::default(),
            authorities: authorities.clone(),
            enroller,
            tokens: tokens.clone(),
            gate,
            advertised: config.advertised(tls_address),
            stopping,
        };
        let limits = Limits { drain: config.drain, ..Limits::default() };
        let tls = Acceptor::new(ServerTls::with_grace(own.credentials(), config.renewal_grace)?, guard, limits.clone());
        let distribution = distribution(&parts, &config);
        let Doors { tls: with_tls, local } = Doors::new(&parts, distribution)?;
        // Whoever sees the hub ready finds these.
        context::leave(&config, &parts, tls_address, first_start).await?;
        note_addresses(&data_dir, tls_address, http_address)?;
        let servers = vec![
            tokio::spawn(tls.serve(listener, with_tls, doors.clone())),
            tokio::spawn(Acceptor::plain(limits).serve(http_listener, local, doors.clone())),
        ];
        let mut background = JoinSet::new();
        background.spawn(members.follow(store));
        background.spawn(own.renew());
        if parts.store.shared() {
            background.spawn(exchange::run(parts.live.clone(), parts.store.clone(), store::random_uid()?));
        }
        background.spawn(retention::keep(parts.store.clone(), config.log_retention));
        background.spawn(authorities.follow(parts.writer.clone()));
        background.spawn(tokens.follow());
        Ok(Running {
            tls_address,
            http_address,
            parts,
            doors,
            servers,
            writing,
            writer: writer_task,
            _background: background,
            _lock: lock,
        })
    }
}

impl Running {
    /// The root that signs, with its key.
    #[must_use]
    pub fn root(&self) -> Authority {
        self.parts.authorities.bundle().signing().clone()
    }

    /// Stops well: sessions are told to come again, requests in flight end, what was asked of the writer is done.
    pub async fn stop(self) {
        self.parts.stopping.cancel();
        self.doors.cancel();
        for server in self.servers {
            if let Err(why) = server.await {
                tracing::error!(%why, "a server ended badly");
            }
        }
        self.writing.cancel();
        if let Err(why) = self.writer.await {
            tracing::error!(%why, "the writer ended badly");
        }
    }
}

fn lifetimes(config: &Config) -> Lifetimes {
    Lifetimes {
        root: config.ca_lifetime,
        rotate_after: config.ca_rotate_after,
        certificate: config.certificate_lifetime,
        grace: config.renewal_grace,
    }
}

fn distribution(parts: &Parts, config: &Config) -> Arc<Distribution> {
    Distribution::new(
        parts.writer.clone(),
        parts.replica.clone(),
        parts.members.clone(),
        parts.live.clone(),
        parts.sessions.clone(),
        config.heartbeat,
        parts.stopping.clone(),
    )
}

/// Writes the fleet's settings if there are none. True: there were none.
async fn begin(writer: &Writer, replica: &Replica, config: &Config) -> anyhow::Result<bool> {
    let wanted = config.fleet();
    let there = replica.read().fleet().cloned();
    match there {
        None => {
            writer.submit(Command::Begin { fleet: wanted }, "hub", "").await.context("the fleet's settings")?;
            Ok(true)
        }
        Some(there) if there == wanted => Ok(false),
        Some(there) => bail!(
            "the fleet began with vip4 {}, vip6 {} and excluded labels {}; these are fixed: start with the same settings, \
             or with a new database",
            there.vip4,
            there.vip6,
            there.excluded_label_keys.join(",")
        ),
    }
}

/// Makes the data directory, for its owner alone, and keeps other hubs out of it.
fn take(data_dir: &Path) -> anyhow::Result<fs::File> {
    let shown = data_dir.display();
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data_dir)
        .with_context(|| format!("data-dir: {shown} cannot be made"))?;
    let path = data_dir.join("lock");
    let lock = fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let lock = lock.with_context(|| format!("data-dir: {} cannot be opened", path.display()))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(fs::TryLockError::WouldBlock) => {
            bail!("data-dir: another hub runs in {shown}; stop it, or give this one a --data-dir of its own")
        }
        Err(fs::TryLockError::Error(why)) => Err(why).with_context(|| format!("data-dir: {shown} cannot be locked")),
    }
}

/// Leaves the bound addresses in a file, for who asked for port 0.
fn note_addresses(data_dir: &Path, tls: SocketAddr, http: SocketAddr) -> anyhow::Result<()> {
    let text = serde_json::json!({ "tls": tls, "http": http }).to_string();
    let aside = data_dir.join("addresses.json.new");
    let mut file = fs::File::create(&aside)?;
    file.write_all(text.as_bytes())?;
    fs::rename(aside, data_dir.join("addresses.json")).context("data-dir: the addresses cannot be noted")
}

#[cfg(test)]
mod tests;
