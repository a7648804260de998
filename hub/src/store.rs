//! Where the log is kept: one trait, SQLite for one hub, Postgres for several.
mod backup;
mod batch;
mod beside;
mod document;
mod postgres;
mod sqlite;

use std::{net::IpAddr, path::Path, time::Duration};

use axle_core::{
    log::{Epoch, Position, Record},
    model::{Object, Uid},
};

pub use backup::{backup, restore};
pub use batch::Batch;
pub use postgres::PostgresStore;
pub use sqlite::SqliteStore;

/// Records are read until so many bytes of them are: one may hold a whole cluster.
const PAGE_BYTES: i64 = 16 << 20;

/// The records after a revision, oldest first: so many, and those that begin within so many bytes. Only their lengths are
/// looked at to tell which.
const AFTER: &str = "SELECT log.record FROM (SELECT revision, sum(size) OVER (ORDER BY revision) - size AS bytes FROM \
     (SELECT revision, length(record) AS size FROM log WHERE revision > $1 ORDER BY revision LIMIT $2) AS page) AS sized \
     JOIN log ON log.revision = sized.revision WHERE bytes < $3 ORDER BY log.revision";
/// The records before a revision, newest first, in the same way.
const BEFORE: &str = "SELECT log.record FROM (SELECT revision, sum(size) OVER (ORDER BY revision DESC) - size AS bytes FROM \
     (SELECT revision, length(record) AS size FROM log WHERE revision < $1 ORDER BY revision DESC LIMIT $2) AS page) \
     AS sized JOIN log ON log.revision = sized.revision WHERE bytes < $3 ORDER BY log.revision DESC";
/// The records of commands about policies before a revision, newest first, in the same way.
const POLICIES_BEFORE: &str = "SELECT log.record FROM (SELECT revision, sum(size) OVER (ORDER BY revision DESC) - size AS bytes FROM \
     (SELECT revision, length(record) AS size FROM log WHERE action LIKE 'policy %' \
     AND revision < $1 ORDER BY revision DESC LIMIT $2) AS page) \
     AS sized JOIN log ON log.revision = sized.revision WHERE bytes < $3 ORDER BY log.revision DESC";

/// Why the store did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached or did not answer in time. A write's outcome is then unknown until the head is read again.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// What it holds cannot be read.
    #[error("the database holds something unreadable: {0}")]
    Corrupt(String),
    /// It cannot be used as it is set up.
    #[error("{0}")]
    Setup(String),
}

/// The objects of one position, and the newest revisions that led there.
#[derive(Debug)]
pub struct Loaded {
    /// Where the log stands.
    pub head: Position,
    /// Every object as it is there.
    pub objects: Vec<Object>,
    /// The newest records, oldest first: fewer than asked for where these are large.
    pub recent: Vec<Record>,
    /// How far each cluster's own log has been taken in.
    pub intakes: Vec<(Uid, Position)>,
    /// Service addresses that were given up, and the revision that did.
    pub given_up: Vec<(IpAddr, u64)>,
}

/// A join token as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    /// SHA-256 of its secret.
    pub digest: [u8; 32],
    /// The cluster it is for.
    pub cluster: Uid,
    /// Its last moment, in milliseconds since 1970.
    pub expires_ms: u64,
    /// Who made it.
    pub creator: String,
}

/// A token that was made for a person, as it is noted: what is signed is kept nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonToken {
    /// Its `jti` claim.
    pub id: String,
    /// Who bears it.
    pub subject: String,
    /// What its bearer may do.
    pub role: String,
    /// When it was made, in milliseconds since 1970.
    pub issued_ms: u64,
    /// Its last moment, likewise.
    pub expires_ms: u64,
    /// Who made it.
    pub creator: String,
    /// When it was revoked; 0: it is not.
    pub revoked_ms: u64,
}

/// The relay that may speak for a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enrolment {
    /// The cluster.
    pub cluster: Uid,
    /// SHA-256 of the relay's public key.
    pub relay_key: [u8; 32],
    /// When it enrolled, in milliseconds since 1970.
    pub enrolled_ms: u64,
}

/// The request that a record answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// The revision it made.
    pub revision: u64,
    /// What it asked.
    pub action: String,
}

/// What one hub hears of a spoke, for the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The spoke's cluster.
    pub cluster: Uid,
    /// Moves whenever the statuses change.
    pub version: u64,
    /// Whether its relay has a session with that hub.
    pub connected: bool,
    /// How long ago it was heard of.
    pub silence: Duration,
    /// The revision that its relay's copy has reached.
    pub received: u64,
    /// Sessions that resumed by revision.
    pub resumes: u64,
    /// Sessions that needed a snapshot.
    pub resyncs: u64,
    /// The message `axle.v1.NodeStatuses`; `None`: as in this version that was written, or that the reader has.
    pub statuses: Option<Vec<u8>>,
}

/// What another hub published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Which process.
    pub hub: Uid,
    /// How long ago.
    pub age: Duration,
    /// What it said.
    pub report: Report,
}

/// A database that holds one log. Every method is safe to call from several hubs at once.
#[async_trait::async_trait]
pub trait Store: std::fmt::Debug + Send + Sync + 'static {
    /// Where the log stands; `None` before the first epoch.
    async fn head(&self) -> Result<Option<Position>, StoreError>;

    /// Begins an epoch at the present revision and hash, if the log still stands at `from`. False: it does not.
    async fn begin_epoch(&self, from: Option<Position>, epoch: Epoch) -> Result<bool, StoreError>;

    /// Everything at one position, with at most `recent` of the newest records.
    async fn load(&self, recent: u32) -> Result<Loaded, StoreError>;

    /// Appends a batch whole, if the log still stands at `from`. False: it does not, or a request id is taken; nothing
    /// was written.
    async fn append(&self, from: Position, batch: &Batch) -> Result<bool, StoreError>;

    /// The records that one of this module's queries finds.
    async fn records(&self, sql: &'static str, revision: u64, limit: u32) -> Result<Vec<Record>, StoreError>;

    /// At most `limit` records after `revision`, oldest first: fewer where these are large, but never none.
    async fn records_after(&self, revision: u64, limit: u32) -> Result<Vec<Record>, StoreError> {
        self.records(AFTER, revision, limit).await
    }

    /// At most `limit` records before `revision`, newest first: fewer where these are large, but never none.
    async fn records_before(&self, revision: u64, limit: u32) -> Result<Vec<Record>, StoreError> {
        self.records(BEFORE, revision, limit).await
    }

    /// The same, of commands about policies only.
    async fn policy_records_before(&self, revision: u64, limit: u32) -> Result<Vec<Record>, StoreError> {
        self.records(POLICIES_BEFORE, revision, limit).await
    }

    /// The oldest revision of which a record is kept.
    async fn oldest(&self) -> Result<Option<u64>, StoreError>;

    /// Forgets records from before `since_ms` (milliseconds since 1970), at most `limit`, the oldest first and without a
    /// gap; of the newest `keep` none. Says how many.
    async fn forget(&self, since_ms: u64, keep: u64, limit: u32) -> Result<u64, StoreError>;

    /// What became of a request.
    async fn answered(&self, actor: &str, request_id: &str) -> Result<Option<Answered>, StoreError>;

    /// Keeps a secret unless one of that name is kept, and returns the one in force: of several hubs that start at once,
    /// one wins and all use its secret.
    async fn secret(&self, name: &str, value: &str) -> Result<String, StoreError>;

    /// Puts `to` in the place of a secret that still is `from`. False: it is something else by now; nothing was written.
    async fn exchange_secret(&self, name: &str, from: &str, to: &str) -> Result<bool, StoreError>;

    /// Notes a person's token unless one of its id is noted, and forgets those that are over.
    async fn add_person_token(&self, token: &PersonToken) -> Result<(), StoreError>;

    /// Every person's token that is noted, the oldest first.
    async fn person_tokens(&self) -> Result<Vec<PersonToken>, StoreError>;

    /// Revokes a person's token for good. False: there is none of that id, or it is revoked already.
    async fn revoke_person_token(&self, id: &str, now_ms: u64) -> Result<bool, StoreError>;

    /// Keeps a join token.
    async fn add_token(&self, token: &TokenRow) -> Result<(), StoreError>;

    /// The join token with this digest that is kept.
    async fn join_token(&self, digest: &[u8; 32]) -> Result<Option<TokenRow>, StoreError>;

    /// Redeems a join token for its cluster and enrols a relay, in one step. False: there is no such token for that
    /// cluster, it is over, or somebody else redeemed it; nothing was written.
    async fn redeem(&self, digest: &[u8; 32], now_ms: u64, enrolment: &Enrolment) -> Result<bool, StoreError>;

    /// Every enrolment.
    async fn enrolments(&self) -> Result<Vec<Enrolment>, StoreError>;

    /// Whether several hubs can be on it at once.
    fn shared(&self) -> bool {
        false
    }

    /// Tells other hubs what this one hears. Where only one hub can be, nothing is to be done.
    async fn publish(&self, hub: Uid, reports: &[Report]) -> Result<(), StoreError> {
        let _ = (hub, reports);
        Ok(())
    }

    /// What hubs other than this one published last; `known` are the clusters, hubs and versions that it has read before.
    async fn published(&self, hub: Uid, known: &[(Uid, Uid, u64)]) -> Result<Vec<Published>, StoreError> {
        let _ = (hub, known);
        Ok(Vec::new())
    }

    /// Returns when another hub may have written. A hint: it may come late, often, or never.
    async fn changed(&self);

    /// Writes everything, as of one position, to a new file in the form that [`restore`] reads.
    async fn write_backup(&self, file: &Path) -> Result<(), StoreError>;
}

/// Opens the database that `url` names: `sqlite:<path>` or `postgres://…`, and brings its tables up to date.
///
/// # Errors
/// When the URL is of neither kind, the database cannot be reached, or it was written by a newer hub.
pub async fn open(url: &str) -> Result<std::sync::Arc<dyn Store>, StoreError> {
    if let Some(path) = url.strip_prefix("sqlite:") {
        return Ok(std::sync::Arc::new(SqliteStore::open(Path::new(path)).await?));
    }
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        return Ok(std::sync::Arc::new(PostgresStore::open(url).await?));
    }
    let kind: String = url.split(':').next().unwrap_or_default().chars().take(20).collect();
    Err(StoreError::Setup(format!("the database {kind:?} is of no known kind; wanted sqlite:<path> or postgres://…")))
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::ColumnNotFound(_) => {
                Self::Corrupt(error.to_string())
            }
            other => Self::Unavailable(other.to_string()),
        }
    }
}

fn migrating(error: sqlx::migrate::MigrateError) -> StoreError {
    use sqlx::migrate::MigrateError::{VersionMismatch, VersionMissing};
    match error {
        VersionMissing(step) => StoreError::Setup(format!(
            "the database was written by a newer hub (step {step} is unknown to this one): use that version or later"
        )),
        VersionMismatch(step) => StoreError::Setup(format!(
            "step {step} of the database differs from this hub's: it was made by an unreleased version; restore a backup"
        )),
        other => StoreError::Unavailable(other.to_string()),
    }
}

/// A new random uid.
pub(crate) fn random_uid() -> Result<Uid, StoreError> {
    let mut uid = Uid::default();
    getrandom::fill(&mut uid.0).map_err(|why| StoreError::Setup(format!("the system gives no randomness: {why}")))?;
    Ok(uid)
}

/// A fixed-size value out of a column of bytes.
fn exact<const N: usize>(what: &str, bytes: &[u8]) -> Result<[u8; N], StoreError> {
    bytes.try_into().map_err(|_| StoreError::Corrupt(format!("{what} has {} bytes, wanted {N}", bytes.len())))
}

/// A position out of its three columns.
fn position(epoch: &[u8], revision: i64, hash: &[u8]) -> Result<Position, StoreError> {
    Ok(Position {
        epoch: Uid(exact("an epoch", epoch)?),
        revision: unsigned(revision)?,
        hash: axle_core::log::Hash(exact("a hash", hash)?),
    })
}

/// An address out of its text.
/// How far the oldest records, given with their times, are to be forgotten.
fn forgettable(oldest: &[(u64, u64)], head: u64, since_ms: u64, keep: u64) -> Option<u64> {
    let old = |(revision, time_ms): &&(u64, u64)| *time_ms < since_ms && revision.saturating_add(keep) <= head;
    oldest.iter().take_while(old).last().map(|(revision, _)| *revision)
}

/// A revision and its time out of their columns.
fn timed<'r, R>(row: &'r R) -> Result<(u64, u64), StoreError>
where
    R: sqlx::Row,
    usize: sqlx::ColumnIndex<R>,
    i64: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
{
    Ok((unsigned(row.try_get(0)?)?, unsigned(row.try_get(1)?)?))
}

fn ip_address(text: &str) -> Result<IpAddr, StoreError> {
    text.parse().map_err(|_| StoreError::Corrupt(format!("{text:?} is no address")))
}

fn unsigned(number: i64) -> Result<u64, StoreError> {
    number.try_into().map_err(|_| StoreError::Corrupt(format!("{number} is negative")))
}

/// Databases have no unsigned numbers; ours stay below 2^63 for ever.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod suite;
