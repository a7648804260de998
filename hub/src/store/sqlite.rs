//! The log in one file, for one hub.
use std::{net::IpAddr, os::unix::fs::OpenOptionsExt as _, path::Path, time::Duration};

use axle_core::{
    log::{Epoch, Position, Record},
    model::Uid,
    state::RESTING,
};
use sqlx::{
    Connection as _, Row, Sqlite, SqlitePool, Transaction,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous},
};

use super::{
    Answered, BEFORE, Batch, Enrolment, Loaded, PAGE_BYTES, PersonToken, Store, StoreError, TokenRow,
    batch::{Columns, Last, LogRow, cluster_column, record},
    beside, exact, forgettable, ip_address, migrating, position, signed, timed, unsigned,
};

/// The store in an SQLite file.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    pub(super) pool: SqlitePool,
}

impl SqliteStore {
    /// Opens the file, and makes it if it is not there.
    ///
    /// # Errors
    /// When it cannot be opened or was written by a newer hub.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let setup = |why: std::io::Error| StoreError::Setup(format!("{}: cannot be made: {why}", path.display()));
        // Made here if need be, so that its mode is right before the first secret is in it; SQLite's own files beside it
        // take theirs from it.
        std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path).map_err(setup)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            // An acknowledged write survives the loss of power, not only of the process.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(5));
        let pool = SqlitePoolOptions::new()
            .max_connections(4)
            // A full disk ends a transaction without its connection knowing: that one is of no more use.
            .before_acquire(|connection, _| {
                let is_free = !connection.is_in_transaction();
                Box::pin(async move { Ok(is_free) })
            })
            .connect_with(options)
            .await;
        let pool = pool.map_err(|why| StoreError::Setup(format!("{}: cannot be opened: {why}", path.display())))?;
        sqlx::migrate!("../migrations/sqlite").run(&pool).await.map_err(migrating)?;
        Ok(Self { pool })
    }

    /// A transaction that holds the write lock from its start, so that what it reads stays true until it commits.
    async fn writing(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        Ok(self.pool.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// Closes every connection, after which the file can be moved.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

#[async_trait::async_trait]
impl Store for SqliteStore {
    async fn head(&self) -> Result<Option<Position>, StoreError> {
        let row = sqlx::query("SELECT epoch, revision, hash FROM head").fetch_optional(&self.pool).await?;
        row.as_ref().map(head_of).transpose()
    }

    async fn begin_epoch(&self, from: Option<Position>, epoch: Epoch) -> Result<bool, StoreError> {
        let done = match from {
            None => {
                sqlx::query("INSERT INTO head VALUES (1, ?1, 0, zeroblob(32)) ON CONFLICT DO NOTHING")
                    .bind(epoch.0.to_vec())
                    .execute(&self.pool)
                    .await?
            }
            Some(from) => {
                sqlx::query("UPDATE head SET epoch = ?1 WHERE epoch = ?2 AND revision = ?3 AND hash = ?4")
                    .bind(epoch.0.to_vec())
                    .bind(from.epoch.0.to_vec())
                    .bind(signed(from.revision))
                    .bind(from.hash.0.to_vec())
                    .execute(&self.pool)
                    .await?
            }
        };
        Ok(done.rows_affected() == 1)
    }

    async fn load(&self, recent: u32) -> Result<Loaded, StoreError> {
        let mut tx = self.pool.begin().await?;
        let head = sqlx::query("SELECT epoch, revision, hash FROM head").fetch_optional(&mut *tx).await?;
        let head = head.as_ref().map(head_of).transpose()?.unwrap_or_default();
        let sql = "SELECT kind, cluster, namespace, name, uid, revision, features, payload FROM objects";
        let rows = sqlx::query(sql).fetch_all(&mut *tx).await?;
        let objects = rows.iter().map(|row| columns_of(row)?.object()).collect::<Result<_, _>>()?;
        let mut recent = records(&mut *tx, BEFORE, u64::MAX, recent).await?;
        recent.reverse();
        let rows = sqlx::query("SELECT cluster, epoch, revision, hash FROM intakes").fetch_all(&mut *tx).await?;
        let intakes = rows.iter().map(intake_of).collect::<Result<_, _>>()?;
        let sql = "SELECT address, revision FROM resting_addresses";
        let given_up = sqlx::query(sql).fetch_all(&mut *tx).await?.iter().map(resting_of).collect::<Result<_, _>>()?;
        Ok(Loaded { head, objects, recent, intakes, given_up })
    }

    async fn append(&self, from: Position, batch: &Batch) -> Result<bool, StoreError> {
        let Some((revision, hash)) = batch.end() else { return Ok(true) };
        let mut tx = self.writing().await?;
        let moved =
            sqlx::query("UPDATE head SET revision = ?1, hash = ?2 WHERE epoch = ?3 AND revision = ?4 AND hash = ?5")
                .bind(signed(revision))
                .bind(hash.0.to_vec())
                .bind(from.epoch.0.to_vec())
                .bind(signed(from.revision))
                .bind(from.hash.0.to_vec())
                .execute(&mut *tx)
                .await?;
        if moved.rows_affected() != 1 {
            return Ok(false);
        }
        for row in &batch.log {
            match insert_record(&mut tx, row).await {
                Err(sqlx::Error::Database(why)) if why.is_unique_violation() => return Ok(false),
                other => other?,
            }
        }
        write_objects(&mut tx, batch).await?;
        write_resting(&mut tx, batch).await?;
        tx.commit().await?;
        Ok(true)
    }

    async fn records(&self, sql: &'static str, revision: u64, limit: u32) -> Result<Vec<Record>, StoreError> {
        records(&self.pool, sql, revision, limit).await
    }

    async fn oldest(&self) -> Result<Option<u64>, StoreError> {
        let row = sqlx::query("SELECT min(revision) FROM log").fetch_one(&self.pool).await?;
        row.try_get::<Option<i64>, _>(0)?.map(unsigned).transpose()
    }

    async fn forget(&self, since_ms: u64, keep: u64, limit: u32) -> Result<u64, StoreError> {
        let Some(head) = self.head().await? else { return Ok(0) };
        let sql = "SELECT revision, time_ms FROM log ORDER BY revision LIMIT ?1";
        let rows = sqlx::query(sql).bind(i64::from(limit)).fetch_all(&self.pool).await?;
        let oldest = rows.iter().map(timed).collect::<Result<Vec<_>, _>>()?;
        let Some(last) = forgettable(&oldest, head.revision, since_ms, keep) else { return Ok(0) };
        let sql = "DELETE FROM log WHERE revision <= ?1";
        Ok(sqlx::query(sql).bind(signed(last)).execute(&self.pool).await?.rows_affected())
    }

    async fn answered(&self, actor: &str, request_id: &str) -> Result<Option<Answered>, StoreError> {
        let sql = "SELECT revision, action FROM log WHERE actor = ?1 AND request_id = ?2 AND request_id <> ''";
        let row = sqlx::query(sql).bind(actor).bind(request_id).fetch_optional(&self.pool).await?;
        row.map(|row| Ok(Answered { revision: unsigned(row.try_get(0)?)?, action: row.try_get(1)? })).transpose()
    }

    async fn secret(&self, name: &str, value: &str) -> Result<String, StoreError> {
        beside::sqlite::secret(&self.pool, name, value).await
    }

    async fn exchange_secret(&self, name: &str, from: &str, to: &str) -> Result<bool, StoreError> {
        beside::sqlite::exchange_secret(&self.pool, name, from, to).await
    }

    async fn add_person_token(&self, token: &PersonToken) -> Result<(), StoreError> {
        beside::sqlite::add_person_token(&self.pool, token).await
    }

    async fn person_tokens(&self) -> Result<Vec<PersonToken>, StoreError> {
        beside::sqlite::person_tokens(&self.pool).await
    }

    async fn revoke_person_token(&self, id: &str, now_ms: u64) -> Result<bool, StoreError> {
        beside::sqlite::revoke_person_token(&self.pool, id, now_ms).await
    }

    async fn add_token(&self, token: &TokenRow) -> Result<(), StoreError> {
        beside::sqlite::add_token(&self.pool, token).await
    }

    async fn join_token(&self, digest: &[u8; 32]) -> Result<Option<TokenRow>, StoreError> {
        beside::sqlite::join_token(&self.pool, digest).await
    }

    async fn redeem(&self, digest: &[u8; 32], now_ms: u64, enrolment: &Enrolment) -> Result<bool, StoreError> {
        let mut tx = self.writing().await?;
        let gone = sqlx::query("DELETE FROM join_tokens WHERE digest = ?1 AND cluster = ?2 AND expires_ms > ?3")
            .bind(digest.to_vec())
            .bind(enrolment.cluster.0.to_vec())
            .bind(signed(now_ms))
            .execute(&mut *tx)
            .await?;
        if gone.rows_affected() != 1 {
            return Ok(false);
        }
        sqlx::query("DELETE FROM join_tokens WHERE expires_ms <= ?1").bind(signed(now_ms)).execute(&mut *tx).await?;
        let sql = "INSERT INTO enrolments VALUES (?1, ?2, ?3) ON CONFLICT (cluster) \
                   DO UPDATE SET relay_key = excluded.relay_key, enrolled_ms = excluded.enrolled_ms";
        sqlx::query(sql)
            .bind(enrolment.cluster.0.to_vec())
            .bind(enrolment.relay_key.to_vec())
            .bind(signed(enrolment.enrolled_ms))
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(true)
    }

    async fn enrolments(&self) -> Result<Vec<Enrolment>, StoreError> {
        beside::sqlite::enrolments(&self.pool).await
    }

    async fn changed(&self) {
        // One file, one hub.
        std::future::pending().await
    }

    async fn write_backup(&self, file: &Path) -> Result<(), StoreError> {
        let path = file.to_str().ok_or_else(|| StoreError::Setup(format!("{}: not UTF-8", file.display())))?;
        sqlx::query("VACUUM INTO ?1").bind(path).execute(&self.pool).await?;
        Ok(())
    }
}

async fn insert_record(tx: &mut Transaction<'static, Sqlite>, row: &LogRow) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO log VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")
        .bind(signed(row.revision))
        .bind(row.hash.0.to_vec())
        .bind(signed(row.time_ms))
        .bind(&row.actor)
        .bind(&row.request_id)
        .bind(&row.action)
        .bind(row.record.as_ref())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

async fn write_objects(tx: &mut Transaction<'static, Sqlite>, batch: &Batch) -> Result<(), StoreError> {
    for (key, last) in &batch.objects {
        let query = match last {
            Last::Deleted(_) => sqlx::query(
                "DELETE FROM objects WHERE kind = ?1 AND cluster = ?2 AND namespace = ?3 AND name = ?4 AND uid = ?5",
            ),
            Last::Put(_) => sqlx::query(
                "INSERT INTO objects VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) \
                 ON CONFLICT DO UPDATE SET uid = excluded.uid, revision = excluded.revision, \
                 features = excluded.features, payload = excluded.payload, document = excluded.document",
            ),
        };
        let query = query
            .bind(i64::from(key.kind as u8))
            .bind(cluster_column(key))
            .bind(&key.namespace)
            .bind(key.name.as_str());
        let query = match last {
            Last::Deleted(uid) => query.bind(uid.0.to_vec()),
            Last::Put(row) => query
                .bind(row.uid.0.to_vec())
                .bind(signed(row.revision))
                .bind(&row.features)
                .bind(row.payload.as_ref())
                .bind(&row.document),
        };
        query.execute(&mut **tx).await?;
    }
    for (cluster, at) in &batch.intakes {
        let sql = "INSERT INTO intakes VALUES (?1, ?2, ?3, ?4) ON CONFLICT (cluster) DO UPDATE \
                   SET epoch = excluded.epoch, revision = excluded.revision, hash = excluded.hash";
        sqlx::query(sql)
            .bind(cluster.0.to_vec())
            .bind(at.epoch.0.to_vec())
            .bind(signed(at.revision))
            .bind(at.hash.0.to_vec())
            .execute(&mut **tx)
            .await?;
    }
    for cluster in &batch.removed {
        for sql in [
            "DELETE FROM intakes WHERE cluster = ?1",
            "DELETE FROM join_tokens WHERE cluster = ?1",
            "DELETE FROM enrolments WHERE cluster = ?1",
        ] {
            sqlx::query(sql).bind(cluster.0.to_vec()).execute(&mut **tx).await?;
        }
    }
    Ok(())
}

async fn write_resting(tx: &mut Transaction<'static, Sqlite>, batch: &Batch) -> Result<(), StoreError> {
    for (address, revision) in &batch.given_up {
        let sql = "INSERT INTO resting_addresses VALUES (?1, ?2) \
                   ON CONFLICT (address) DO UPDATE SET revision = excluded.revision";
        sqlx::query(sql).bind(address.to_string()).bind(signed(*revision)).execute(&mut **tx).await?;
    }
    if !batch.given_up.is_empty() {
        let sql = "DELETE FROM resting_addresses WHERE address NOT IN \
                   (SELECT address FROM resting_addresses ORDER BY revision DESC, address DESC LIMIT ?1)";
        sqlx::query(sql).bind(signed(RESTING as u64)).execute(&mut **tx).await?;
    }
    Ok(())
}

/// Records on one side of a revision: at most `limit`, and those that begin within the first [`PAGE_BYTES`].
async fn records<'e>(
    executor: impl sqlx::Executor<'e, Database = Sqlite>,
    sql: &'static str,
    revision: u64,
    limit: u32,
) -> Result<Vec<Record>, StoreError> {
    let query = sqlx::query(sql).bind(signed(revision)).bind(i64::from(limit)).bind(PAGE_BYTES);
    records_of(&query.fetch_all(executor).await?)
}

fn head_of(row: &SqliteRow) -> Result<Position, StoreError> {
    position(row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)
}

fn intake_of(row: &SqliteRow) -> Result<(Uid, Position), StoreError> {
    Ok((Uid(exact("a uid", row.try_get(0)?)?), position(row.try_get(1)?, row.try_get(2)?, row.try_get(3)?)?))
}

fn resting_of(row: &SqliteRow) -> Result<(IpAddr, u64), StoreError> {
    Ok((ip_address(row.try_get(0)?)?, unsigned(row.try_get(1)?)?))
}

fn columns_of(row: &SqliteRow) -> Result<Columns, StoreError> {
    Ok(Columns {
        kind: row.try_get(0)?,
        cluster: row.try_get(1)?,
        namespace: row.try_get(2)?,
        name: row.try_get(3)?,
        uid: row.try_get(4)?,
        revision: row.try_get(5)?,
        features: row.try_get(6)?,
        payload: row.try_get(7)?,
    })
}

fn records_of(rows: &[SqliteRow]) -> Result<Vec<Record>, StoreError> {
    rows.iter().map(|row| record(row.try_get(0)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_disk_that_was_full_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&dir.path().join("db")).await.unwrap();
        // What SQLite does by itself then.
        for _ in 0..8 {
            let mut tx = store.writing().await.unwrap();
            sqlx::query("ROLLBACK").execute(&mut *tx).await.unwrap();
        }
    }
}
