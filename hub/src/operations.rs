//! What the hub can be asked to do: one layer, whatever door the request comes through.
//!
//! Requests and answers are the admin API's messages. Whether the caller may ask is decided before, by the table in
//! [`auth`](crate::auth); here the request itself is checked, strictly and all faults at once.
mod audit;
mod authority;
mod capacity;
mod checked;
mod clusters;
mod explain;
mod history;
mod mirror;
mod observe;
mod page;
mod policies;
mod preview;
mod problem;
mod progress;
mod repeated;
mod services;
mod status;
mod text;
mod tokens;
mod workloads;

use std::sync::Arc;

use axle_core::{
    model,
    state::{Command, State},
};
use tokio_util::sync::CancellationToken;

pub use problem::{Kind, Problem, Violation};

use crate::{
    auth::Caller,
    authority::Authorities,
    enroll::Enroller,
    live::Live,
    replica::Replica,
    sessions::Sessions,
    store::{Store, StoreError},
    tokens::Tokens,
    writer::{WriteError, Writer},
};
use mirror::Mirror;
use page::{Page, Place};
use preview::Turns;

/// The largest id of a request, in bytes.
const MAX_REQUEST_ID: usize = 128;

/// What operations work with.
#[derive(Debug, Clone)]
pub struct Parts {
    /// To read from.
    pub replica: Arc<Replica>,
    /// To write with.
    pub writer: Writer,
    /// For the audit trail.
    pub store: Arc<dyn Store>,
    /// What spokes say.
    pub live: Arc<Live>,
    /// Their sessions.
    pub sessions: Arc<Sessions>,
    /// The mesh's roots.
    pub authorities: Arc<Authorities>,
    /// For join tokens.
    pub enroller: Arc<Enroller>,
    /// For people's tokens.
    pub tokens: Arc<Tokens>,
    /// Where spokes reach the hub, as `host:port`.
    pub advertised: String,
    /// Cancelled when the hub begins to stop: streams that never end by themselves end then.
    pub stopping: CancellationToken,
}

/// The operations.
#[derive(Debug)]
pub struct Operations {
    replica: Arc<Replica>,
    writer: Writer,
    store: Arc<dyn Store>,
    live: Arc<Live>,
    sessions: Arc<Sessions>,
    authorities: Arc<Authorities>,
    enroller: Arc<Enroller>,
    tokens: Arc<Tokens>,
    advertised: String,
    stopping: CancellationToken,
    mirror: Arc<Mirror>,
    previews: Turns,
}

impl Operations {
    /// Operations on these parts.
    #[must_use]
    pub fn new(parts: Parts) -> Arc<Self> {
        let Parts { replica, writer, store, live, sessions, authorities, enroller, tokens, advertised, stopping } =
            parts;
        let mirror = Arc::new(Mirror::default());
        replica.follow(mirror.clone());
        Arc::new(Self {
            replica,
            writer,
            store,
            live,
            sessions,
            authorities,
            enroller,
            tokens,
            advertised,
            stopping,
            mirror,
            previews: Turns::default(),
        })
    }

    /// Whether the hub can do its work; why not.
    ///
    /// # Errors
    /// What is missing.
    pub fn ready(&self) -> Result<(), Problem> {
        self.replica.health().map_err(|why| Problem::new(Kind::Unavailable, "store_unavailable", why))
    }

    /// How many objects of each kind there are.
    #[must_use]
    pub fn objects(&self) -> Vec<(model::Kind, u64)> {
        self.read(|state| model::Kind::ALL.map(|kind| (kind, state.list(kind).count() as u64)).to_vec())
    }

    /// Flow events lost on their way to the hub since it started.
    #[must_use]
    pub fn flows_lost(&self) -> u64 {
        self.live.lost()
    }

    /// How many streams of flows are read now.
    #[must_use]
    pub fn flow_observers(&self) -> usize {
        self.live.listeners()
    }

    fn read<T>(&self, with: impl FnOnce(&State) -> T) -> T {
        with(&self.replica.read())
    }

    /// Has a command done and returns its revision; 0 if everything was so already.
    async fn write(&self, caller: &Caller, request_id: String, command: Command) -> Result<u64, Problem> {
        if request_id.len() > MAX_REQUEST_ID || request_id.chars().any(char::is_control) {
            let want = format!("at most {MAX_REQUEST_ID} bytes of printable text");
            let violation = Violation::new("invalid_value", "requestId", &request_id, &want, "use a UUID");
            return Err(Problem::invalid(vec![violation]));
        }
        let asked = command.clone();
        let committed = self.writer.submit(command, &caller.actor(), &request_id).await?;
        if committed.repeated {
            self.repeated(caller, &request_id, &asked).await?;
        }
        Ok(committed.revision)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => {
                tracing::warn!(%error, "the store did not answer");
                Self::new(Kind::Unavailable, "store_unavailable", "the hub's database does not answer; try again")
            }
            StoreError::Corrupt(_) | StoreError::Setup(_) => Self::internal("the hub's database is not usable", &error),
        }
    }
}

impl From<WriteError> for Problem {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Rejected(rejection) => rejection.into(),
            WriteError::Unknown(_) => {
                tracing::warn!(%error, "a write's outcome is unknown");
                let detail = "the hub's database did not answer; whether it was done is unknown: repeat it with the same request id";
                Self::new(Kind::Unavailable, "outcome_unknown", detail)
            }
            WriteError::Unavailable(_) => Self::new(Kind::Unavailable, "unavailable", error.to_string()),
        }
    }
}
