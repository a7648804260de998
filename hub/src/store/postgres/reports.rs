//! What hubs tell each other of their spokes.
use std::time::Duration;

use axle_core::model::{Kind, Uid};
use sqlx::{
    PgPool, Postgres, Row as _,
    postgres::{PgArguments, PgRow},
};

use crate::store::{Published, Report, StoreError, exact, signed, unsigned};

/// Of a session that moved to another hub, the one that heard last has the word. Of a cluster that was removed, nobody:
/// whoever removes one waits for this, or this finds it gone.
const PUBLISH: &str = "INSERT INTO reports SELECT cluster, $1, version, connected, now() - silence * interval '1 ms', \
     now(), received, resumes, resyncs, statuses FROM unnest($2::bytea[], $3::int8[], $4::bool[], $5::int8[], $6::int8[], \
     $7::int8[], $8::int8[], $9::bytea[]) \
     AS report(cluster, version, connected, silence, received, resumes, resyncs, statuses) \
     JOIN (SELECT uid FROM objects WHERE kind = $10 FOR KEY SHARE) AS member ON member.uid = cluster \
     ON CONFLICT (cluster) DO UPDATE SET hub = excluded.hub, version = excluded.version, connected = excluded.connected, \
     heard = excluded.heard, published = excluded.published, received = excluded.received, resumes = excluded.resumes, \
     resyncs = excluded.resyncs, statuses = excluded.statuses \
     WHERE reports.hub = excluded.hub OR reports.heard < excluded.heard";

/// The same but for the statuses, where these are there in this version.
const CONFIRM: &str = "UPDATE reports SET connected = report.connected, heard = now() - silence * interval '1 ms', \
     published = now(), received = report.received, resumes = report.resumes, resyncs = report.resyncs \
     FROM unnest($2::bytea[], $3::int8[], $4::bool[], $5::int8[], $6::int8[], $7::int8[], $8::int8[]) \
     AS report(cluster, version, connected, silence, received, resumes, resyncs) \
     WHERE reports.cluster = report.cluster AND reports.hub = $1 AND reports.version = report.version";

/// Statuses only of what is new to the reader.
const PUBLISHED: &str = "SELECT reports.cluster, reports.hub, reports.version, connected, \
     (extract(epoch FROM now() - heard) * 1000)::int8, (extract(epoch FROM now() - published) * 1000)::int8, \
     received, resumes, resyncs, CASE WHEN known.cluster IS NULL THEN statuses END FROM reports \
     LEFT JOIN unnest($2::bytea[], $3::bytea[], $4::int8[]) AS known(cluster, hub, version) \
     ON known.cluster = reports.cluster AND known.hub = reports.hub AND known.version = reports.version \
     WHERE reports.hub <> $1";

pub(super) async fn publish(pool: &PgPool, hub: Uid, reports: &[Report]) -> Result<(), StoreError> {
    let (whole, confirmed): (Vec<_>, Vec<_>) = reports.iter().partition(|report| report.statuses.is_some());
    if !whole.is_empty() {
        let statuses: Vec<_> = whole.iter().map(|report| report.statuses.clone().unwrap_or_default()).collect();
        let kind = i16::from(Kind::Cluster as u8);
        bind(sqlx::query(PUBLISH), hub, &whole).bind(statuses).bind(kind).execute(pool).await?;
    }
    if !confirmed.is_empty() {
        bind(sqlx::query(CONFIRM), hub, &confirmed).execute(pool).await?;
    }
    Ok(())
}

type Query<'q> = sqlx::query::Query<'q, Postgres, PgArguments>;

/// What both say.
fn bind<'q>(query: Query<'q>, hub: Uid, reports: &[&Report]) -> Query<'q> {
    let millis = |report: &&Report| i64::try_from(report.silence.as_millis()).unwrap_or(i64::MAX >> 20);
    query
        .bind(hub.0.to_vec())
        .bind(reports.iter().map(|report| report.cluster.0.to_vec()).collect::<Vec<_>>())
        .bind(reports.iter().map(|report| signed(report.version)).collect::<Vec<_>>())
        .bind(reports.iter().map(|report| report.connected).collect::<Vec<_>>())
        .bind(reports.iter().map(millis).collect::<Vec<_>>())
        .bind(reports.iter().map(|report| signed(report.received)).collect::<Vec<_>>())
        .bind(reports.iter().map(|report| signed(report.resumes)).collect::<Vec<_>>())
        .bind(reports.iter().map(|report| signed(report.resyncs)).collect::<Vec<_>>())
}

pub(super) async fn published(
    pool: &PgPool,
    hub: Uid,
    known: &[(Uid, Uid, u64)],
) -> Result<Vec<Published>, StoreError> {
    let rows = sqlx::query(PUBLISHED)
        .bind(hub.0.to_vec())
        .bind(known.iter().map(|(cluster, ..)| cluster.0.to_vec()).collect::<Vec<_>>())
        .bind(known.iter().map(|(_, hub, _)| hub.0.to_vec()).collect::<Vec<_>>())
        .bind(known.iter().map(|(.., version)| signed(*version)).collect::<Vec<_>>())
        .fetch_all(pool)
        .await?;
    rows.iter().map(one).collect()
}

fn one(row: &PgRow) -> Result<Published, StoreError> {
    // A clock that was set back makes nobody silent for less than nothing.
    let age = |at: usize| -> Result<Duration, StoreError> {
        Ok(Duration::from_millis(u64::try_from(row.try_get::<i64, _>(at)?).unwrap_or_default()))
    };
    Ok(Published {
        hub: Uid(exact("a hub's uid", row.try_get(1)?)?),
        age: age(5)?,
        report: Report {
            cluster: Uid(exact("a uid", row.try_get(0)?)?),
            version: unsigned(row.try_get(2)?)?,
            connected: row.try_get(3)?,
            silence: age(4)?,
            received: unsigned(row.try_get(6)?)?,
            resumes: unsigned(row.try_get(7)?)?,
            resyncs: unsigned(row.try_get(8)?)?,
            statuses: row.try_get(9)?,
        },
    })
}
