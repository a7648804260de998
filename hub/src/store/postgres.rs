//! The log in Postgres, for several hubs.
mod connect;
mod reports;

use std::{net::IpAddr, path::Path, sync::Arc, time::Duration};

use axle_core::{
    log::{Epoch, Position, Record},
    model::Uid,
    state::RESTING,
};
use sqlx::{
    PgPool, Postgres, Row, Transaction,
    postgres::{PgListener, PgRow},
};
use tokio::{sync::Notify, task::JoinHandle};

use super::{
    Answered, BEFORE, Batch, Enrolment, Loaded, PAGE_BYTES, PersonToken, Published, Report, Store, StoreError,
    TokenRow,
    batch::{Columns, Last, LogRow, cluster_column, record},
    beside, exact, forgettable, ip_address, migrating, position, signed, timed, unsigned,
};

/// The store in a Postgres database.
#[derive(Debug)]
pub struct PostgresStore {
    pub(super) pool: PgPool,
    changed: Arc<Notify>,
    listener: JoinHandle<()>,
}

/// The channel that tells other hubs of a commit. Only a hint: a lost one costs them the wait for their next look.
const CHANNEL: &str = "axle_log";

impl PostgresStore {
    /// Connects and brings the tables up to date.
    ///
    /// # Errors
    /// When the database cannot be reached or was written by a newer hub.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        let pool = connect::connect(url).await?;
        sqlx::migrate!("../migrations/postgres").run(&pool).await.map_err(migrating)?;
        let changed = Arc::new(Notify::new());
        let listener = tokio::spawn(listen(pool.clone(), changed.clone()));
        Ok(Self { pool, changed, listener })
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

async fn listen(pool: PgPool, changed: Arc<Notify>) {
    let database = connect::place(&pool.connect_options());
    let mut away = false;
    loop {
        let listening = async {
            let mut listener = PgListener::connect_with(&pool).await?;
            listener.listen(CHANNEL).await?;
            if std::mem::take(&mut away) {
                tracing::info!(%database, "the database is back");
            }
            // `None` is a connection lost and made again: something may have been missed.
            loop {
                listener.try_recv().await?;
                changed.notify_one();
            }
        };
        let ended: Result<(), sqlx::Error> = listening.await;
        if let Err(why) = ended
            && !std::mem::replace(&mut away, true)
        {
            tracing::warn!(%database, %why, "the database is away: nothing is written until it is back");
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[async_trait::async_trait]
impl Store for PostgresStore {
    async fn head(&self) -> Result<Option<Position>, StoreError> {
        let row = sqlx::query("SELECT epoch, revision, hash FROM head").fetch_optional(&self.pool).await?;
        row.as_ref().map(head_of).transpose()
    }

    async fn begin_epoch(&self, from: Option<Position>, epoch: Epoch) -> Result<bool, StoreError> {
        let done = match from {
            None => {
                let sql = "INSERT INTO head VALUES (1, $1, 0, $2) ON CONFLICT DO NOTHING";
                sqlx::query(sql).bind(epoch.0.to_vec()).bind(vec![0_u8; 32]).execute(&self.pool).await?
            }
            Some(from) => {
                sqlx::query("UPDATE head SET epoch = $1 WHERE epoch = $2 AND revision = $3 AND hash = $4")
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
        let mut tx = self.pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let head = sqlx::query("SELECT epoch, revision, hash FROM head").fetch_optional(&mut *tx).await?;
        let head = head.as_ref().map(head_of).transpose()?.unwrap_or_default();
        let sql = "SELECT kind::int8, cluster, namespace, name, uid, revision, features, payload FROM objects";
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
        let mut tx = self.pool.begin().await?;
        let moved =
            sqlx::query("UPDATE head SET revision = $1, hash = $2 WHERE epoch = $3 AND revision = $4 AND hash = $5")
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
        match insert_records(&mut tx, &batch.log).await {
            Err(sqlx::Error::Database(why)) if why.is_unique_violation() => return Ok(false),
            other => other?,
        }
        write_objects(&mut tx, batch).await?;
        write_clusters(&mut tx, batch).await?;
        write_resting(&mut tx, batch).await?;
        tx.commit().await?;
        // Apart from the commit, which it must not slow down: notifying commits one at a time in the whole server.
        let told = sqlx::query("SELECT pg_notify($1, '')").bind(CHANNEL).execute(&self.pool).await;
        if let Err(why) = told {
            tracing::debug!(%why, "other hubs were not told of a commit; they look every second");
        }
        Ok(true)
    }

    async fn records(&self, sql: &'static str, revision: u64, limit: u32) -> Result<Vec<Record>, StoreError> {
        records(&self.pool, sql, revision, limit).await
    }

    async fn oldest(&self) -> Result<Option<u64>, StoreError> {
        let oldest: Option<i64> = sqlx::query_scalar("SELECT min(revision) FROM log").fetch_one(&self.pool).await?;
        oldest.map(unsigned).transpose()
    }

    async fn forget(&self, since_ms: u64, keep: u64, limit: u32) -> Result<u64, StoreError> {
        let Some(head) = self.head().await? else { return Ok(0) };
        let sql = "SELECT revision, time_ms FROM log ORDER BY revision LIMIT $1";
        let rows = sqlx::query(sql).bind(i64::from(limit)).fetch_all(&self.pool).await?;
        let oldest = rows.iter().map(timed).collect::<Result<Vec<_>, _>>()?;
        let Some(last) = forgettable(&oldest, head.revision, since_ms, keep) else { return Ok(0) };
        let delete = sqlx::query("DELETE FROM log WHERE revision <= $1").bind(signed(last));
        Ok(delete.execute(&self.pool).await?.rows_affected())
    }

    async fn answered(&self, actor: &str, request_id: &str) -> Result<Option<Answered>, StoreError> {
        let sql = "SELECT revision, action FROM log WHERE actor = $1 AND request_id = $2 AND request_id <> ''";
        let row = sqlx::query(sql).bind(actor).bind(request_id).fetch_optional(&self.pool).await?;
        row.map(|row| Ok(Answered { revision: unsigned(row.try_get(0)?)?, action: row.try_get(1)? })).transpose()
    }

    async fn secret(&self, name: &str, value: &str) -> Result<String, StoreError> {
        beside::postgres::secret(&self.pool, name, value).await
    }

    async fn exchange_secret(&self, name: &str, from: &str, to: &str) -> Result<bool, StoreError> {
        beside::postgres::exchange_secret(&self.pool, name, from, to).await
    }

    async fn add_person_token(&self, token: &PersonToken) -> Result<(), StoreError> {
        beside::postgres::add_person_token(&self.pool, token).await
    }

    async fn person_tokens(&self) -> Result<Vec<PersonToken>, StoreError> {
        beside::postgres::person_tokens(&self.pool).await
    }

    async fn revoke_person_token(&self, id: &str, now_ms: u64) -> Result<bool, StoreError> {
        beside::postgres::revoke_person_token(&self.pool, id, now_ms).await
    }

    async fn add_token(&self, token: &TokenRow) -> Result<(), StoreError> {
        beside::postgres::add_token(&self.pool, token).await
    }

    async fn join_token(&self, digest: &[u8; 32]) -> Result<Option<TokenRow>, StoreError> {
        beside::postgres::join_token(&self.pool, digest).await
    }

    async fn redeem(&self, digest: &[u8; 32], now_ms: u64, enrolment: &Enrolment) -> Result<bool, StoreError> {
        let mut tx = self.pool.begin().await?;
        // Of many at once, each waits for the row's lock here, and all but the first then delete nothing.
        let gone = sqlx::query("DELETE FROM join_tokens WHERE digest = $1 AND cluster = $2 AND expires_ms > $3")
            .bind(digest.to_vec())
            .bind(enrolment.cluster.0.to_vec())
            .bind(signed(now_ms))
            .execute(&mut *tx)
            .await?;
        if gone.rows_affected() != 1 {
            return Ok(false);
        }
        sqlx::query("DELETE FROM join_tokens WHERE expires_ms <= $1").bind(signed(now_ms)).execute(&mut *tx).await?;
        let sql = "INSERT INTO enrolments VALUES ($1, $2, $3) ON CONFLICT (cluster) \
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
        beside::postgres::enrolments(&self.pool).await
    }

    fn shared(&self) -> bool {
        true
    }

    async fn publish(&self, hub: Uid, reports: &[Report]) -> Result<(), StoreError> {
        reports::publish(&self.pool, hub, reports).await
    }

    async fn published(&self, hub: Uid, known: &[(Uid, Uid, u64)]) -> Result<Vec<Published>, StoreError> {
        reports::published(&self.pool, hub, known).await
    }

    async fn changed(&self) {
        self.changed.notified().await;
    }

    async fn write_backup(&self, file: &Path) -> Result<(), StoreError> {
        super::backup::from_postgres(&self.pool, file).await
    }
}

async fn insert_records(tx: &mut Transaction<'static, Postgres>, rows: &[LogRow]) -> Result<(), sqlx::Error> {
    let sql = "INSERT INTO log SELECT * FROM unnest($1::int8[], $2::bytea[], $3::int8[], $4::text[], $5::text[], \
               $6::text[], $7::bytea[])";
    sqlx::query(sql)
        .bind(rows.iter().map(|row| signed(row.revision)).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.hash.0.to_vec()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| signed(row.time_ms)).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.actor.clone()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.request_id.clone()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.action.clone()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.record.to_vec()).collect::<Vec<_>>())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

async fn write_objects(tx: &mut Transaction<'static, Postgres>, batch: &Batch) -> Result<(), StoreError> {
    let (mut kinds, mut clusters, mut namespaces, mut names, mut uids) = (vec![], vec![], vec![], vec![], vec![]);
    let (mut revisions, mut features, mut payloads, mut documents) = (vec![], vec![], vec![], vec![]);
    for (key, last) in &batch.objects {
        match last {
            Last::Deleted(uid) => {
                let sql = "DELETE FROM objects WHERE kind = $1 AND cluster = $2 AND namespace = $3 AND name = $4 AND uid = $5";
                sqlx::query(sql)
                    .bind(i16::from(key.kind as u8))
                    .bind(cluster_column(key))
                    .bind(&key.namespace)
                    .bind(key.name.as_str())
                    .bind(uid.0.to_vec())
                    .execute(&mut **tx)
                    .await?;
            }
            Last::Put(row) => {
                kinds.push(i16::from(key.kind as u8));
                clusters.push(cluster_column(key));
                namespaces.push(key.namespace.clone());
                names.push(key.name.to_string());
                uids.push(row.uid.0.to_vec());
                revisions.push(signed(row.revision));
                features.push(row.features.clone());
                payloads.push(row.payload.to_vec());
                documents.push(row.document.clone());
            }
        }
    }
    let sql = "INSERT INTO objects SELECT * FROM unnest($1::int2[], $2::bytea[], $3::text[], $4::text[], $5::bytea[], \
               $6::int8[], $7::text[], $8::bytea[], $9::jsonb[]) ON CONFLICT (kind, cluster, namespace, name) DO UPDATE \
               SET uid = excluded.uid, revision = excluded.revision, features = excluded.features, \
               payload = excluded.payload, document = excluded.document";
    if !kinds.is_empty() {
        let query = sqlx::query(sql).bind(kinds).bind(clusters).bind(namespaces).bind(names).bind(uids);
        query.bind(revisions).bind(features).bind(payloads).bind(documents).execute(&mut **tx).await?;
    }
    Ok(())
}

async fn write_clusters(tx: &mut Transaction<'static, Postgres>, batch: &Batch) -> Result<(), StoreError> {
    for (cluster, at) in &batch.intakes {
        let sql = "INSERT INTO intakes VALUES ($1, $2, $3, $4) ON CONFLICT (cluster) DO UPDATE \
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
            "DELETE FROM intakes WHERE cluster = $1",
            "DELETE FROM join_tokens WHERE cluster = $1",
            "DELETE FROM enrolments WHERE cluster = $1",
            "DELETE FROM reports WHERE cluster = $1",
        ] {
            sqlx::query(sql).bind(cluster.0.to_vec()).execute(&mut **tx).await?;
        }
    }
    Ok(())
}

async fn write_resting(tx: &mut Transaction<'static, Postgres>, batch: &Batch) -> Result<(), StoreError> {
    for (address, revision) in &batch.given_up {
        let sql = "INSERT INTO resting_addresses VALUES ($1, $2) \
                   ON CONFLICT (address) DO UPDATE SET revision = excluded.revision";
        sqlx::query(sql).bind(address.to_string()).bind(signed(*revision)).execute(&mut **tx).await?;
    }
    if !batch.given_up.is_empty() {
        let sql = "DELETE FROM resting_addresses WHERE address NOT IN \
                   (SELECT address FROM resting_addresses ORDER BY revision DESC, address DESC LIMIT $1)";
        sqlx::query(sql).bind(signed(RESTING as u64)).execute(&mut **tx).await?;
    }
    Ok(())
}

/// Records on one side of a revision: at most `limit`, and those that begin within the first [`PAGE_BYTES`].
async fn records<'e>(
    executor: impl sqlx::Executor<'e, Database = Postgres>,
    sql: &'static str,
    revision: u64,
    limit: u32,
) -> Result<Vec<Record>, StoreError> {
    let query = sqlx::query(sql).bind(signed(revision)).bind(i64::from(limit)).bind(PAGE_BYTES);
    records_of(&query.fetch_all(executor).await?)
}

fn head_of(row: &PgRow) -> Result<Position, StoreError> {
    position(row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)
}

fn intake_of(row: &PgRow) -> Result<(Uid, Position), StoreError> {
    Ok((Uid(exact("a uid", row.try_get(0)?)?), position(row.try_get(1)?, row.try_get(2)?, row.try_get(3)?)?))
}

fn resting_of(row: &PgRow) -> Result<(IpAddr, u64), StoreError> {
    Ok((ip_address(row.try_get(0)?)?, unsigned(row.try_get(1)?)?))
}

fn columns_of(row: &PgRow) -> Result<Columns, StoreError> {
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

fn records_of(rows: &[PgRow]) -> Result<Vec<Record>, StoreError> {
    rows.iter().map(|row| record(row.try_get(0)?)).collect()
}
