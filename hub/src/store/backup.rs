//! Everything in one file, and back. The file is an SQLite store, whatever database it came from, so that a restore is
//! also the way from the one to the other.
use std::path::Path;

use axle_core::log::Epoch;
use sqlx::{AssertSqlSafe, PgPool, Row, SqlitePool};

use super::{PostgresStore, SqliteStore, Store, StoreError};

/// What a column holds, in both databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Number,
    Text,
    Bytes,
    /// Text here, `jsonb` there.
    Json,
}

/// The tables and columns of a store; both databases have the same.
const TABLES: [(&str, &[(&str, Column)]); 9] = {
    use Column::{Bytes, Json, Number, Text};
    [
        ("head", &[("one", Number), ("epoch", Bytes), ("revision", Number), ("hash", Bytes)]),
        (
            "log",
            &[
                ("revision", Number),
                ("hash", Bytes),
                ("time_ms", Number),
                ("actor", Text),
                ("request_id", Text),
                ("action", Text),
                ("record", Bytes),
            ],
        ),
        (
            "objects",
            &[
                ("kind", Number),
                ("cluster", Bytes),
                ("namespace", Text),
                ("name", Text),
                ("uid", Bytes),
                ("revision", Number),
                ("features", Text),
                ("payload", Bytes),
                ("document", Json),
            ],
        ),
        ("intakes", &[("cluster", Bytes), ("epoch", Bytes), ("revision", Number), ("hash", Bytes)]),
        ("secrets", &[("name", Text), ("value", Text)]),
        ("join_tokens", &[("digest", Bytes), ("cluster", Bytes), ("expires_ms", Number), ("creator", Text)]),
        ("enrolments", &[("cluster", Bytes), ("relay_key", Bytes), ("enrolled_ms", Number)]),
        ("resting_addresses", &[("address", Text), ("revision", Number)]),
        (
            "person_tokens",
            &[
                ("id", Text),
                ("subject", Text),
                ("role", Text),
                ("issued_ms", Number),
                ("expires_ms", Number),
                ("creator", Text),
                ("revoked_ms", Number),
            ],
        ),
    ]
};

enum Value {
    Number(i64),
    Text(String),
    Bytes(Vec<u8>),
}

/// Writes everything that `store` holds, as of one position, to a new file that only its owner can read. The store may be
/// in use.
///
/// # Errors
/// When the file exists or cannot be written, or the store cannot be read.
pub async fn backup(store: &dyn Store, file: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let setup = |why: std::io::Error| StoreError::Setup(format!("{}: cannot be written: {why}", file.display()));
    // Made here and empty, so that its mode is right before the first secret is in it.
    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(setup)?;
    let written = store.write_backup(file).await;
    if written.is_err() {
        std::fs::remove_file(file).map_err(setup)?;
    }
    written
}

/// Fills the empty database at `url` from a backup, and begins a new epoch there, which is returned: whoever followed the old one takes a
/// snapshot, also if it is ahead of the backup. Persons need new tokens.
///
/// # Errors
/// When the file is not a backup, or the database is not empty.
pub async fn restore(file: &Path, url: &str) -> Result<Epoch, StoreError> {
    let epoch = super::random_uid()?;
    if !file.is_file() {
        return Err(StoreError::Setup(format!("{}: there is no such backup", file.display())));
    }
    let scratch = tempfile::tempdir().map_err(|why| StoreError::Setup(format!("no temporary directory: {why}")))?;
    let copy = scratch.path().join("backup.db");
    // A copy, since opening it brings its tables up to date.
    std::fs::copy(file, &copy).map_err(|why| StoreError::Setup(format!("{}: {why}", file.display())))?;
    let from = SqliteStore::open(&copy).await.map_err(|why| match why {
        StoreError::Unavailable(why) | StoreError::Setup(why) => {
            let why = why.trim_start_matches(&format!("{}: ", copy.display()));
            StoreError::Setup(format!("{}: not a backup of a hub: {why}", file.display()))
        }
        other => other,
    })?;
    let Some(position) = from.head().await? else {
        return Err(StoreError::Setup(format!("{}: not a backup of a hub: it holds no log", file.display())));
    };
    if !from.begin_epoch(Some(position), epoch).await? {
        return Err(StoreError::Corrupt("the backup changed while it was read".into()));
    }
    forget_persons(&from.pool).await?;
    if let Some(path) = url.strip_prefix("sqlite:") {
        let path = Path::new(path);
        if path.exists() {
            let shown = path.display();
            return Err(StoreError::Setup(format!("{shown}: exists; move it away first, a restore replaces nothing")));
        }
        backup(&from, path).await?;
        return Ok(epoch);
    }
    let to = PostgresStore::open(url).await?;
    if to.head().await?.is_some() {
        return Err(StoreError::Setup("the database already holds a log; restore into an empty one".into()));
    }
    let copied = into_postgres(&from.pool, &to.pool).await;
    from.close().await;
    copied.map(|()| epoch)
}

/// The backup does not know which tokens of persons were revoked after it. So none of them counts any more: the next hub
/// makes a new key.
async fn forget_persons(pool: &SqlitePool) -> Result<(), StoreError> {
    for sql in ["DELETE FROM secrets WHERE name = 'jwt'", "DELETE FROM person_tokens"] {
        sqlx::query(sql).execute(pool).await?;
    }
    Ok(())
}

pub(super) async fn from_postgres(pool: &PgPool, file: &Path) -> Result<(), StoreError> {
    use futures::TryStreamExt as _;
    let to = SqliteStore::open(file).await?;
    let mut reading = pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    // Large tables take longer than the limit on what serves people.
    sqlx::query("SET LOCAL statement_timeout = 0").execute(&mut *reading).await?;
    let mut writing = to.pool.begin().await?;
    for (table, columns) in TABLES {
        let selected: Vec<String> = columns
            .iter()
            .map(|(name, column)| match column {
                Column::Number => format!("{name}::int8"),
                Column::Json => format!("{name}::text"),
                Column::Text | Column::Bytes => (*name).to_string(),
            })
            .collect();
        let select = format!("SELECT {} FROM {table}", selected.join(", "));
        let insert = format!("INSERT INTO {table} VALUES ({})", placeholders(columns, '?', ""));
        let mut rows = sqlx::query(AssertSqlSafe(select)).fetch(&mut *reading);
        while let Some(row) = rows.try_next().await? {
            let mut query = sqlx::query(AssertSqlSafe(insert.clone()));
            for (at, (_, column)) in columns.iter().enumerate() {
                query = match value(&row, at, *column)? {
                    Value::Number(number) => query.bind(number),
                    Value::Text(text) => query.bind(text),
                    Value::Bytes(bytes) => query.bind(bytes),
                };
            }
            query.execute(&mut *writing).await?;
        }
    }
    writing.commit().await?;
    to.close().await;
    Ok(())
}

async fn into_postgres(from: &SqlitePool, to: &PgPool) -> Result<(), StoreError> {
    use futures::TryStreamExt as _;
    let mut writing = to.begin().await?;
    for (table, columns) in TABLES {
        let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
        let select = format!("SELECT {} FROM {table}", names.join(", "));
        let insert = format!("INSERT INTO {table} VALUES ({})", placeholders(columns, '$', "::jsonb"));
        let mut rows = sqlx::query(AssertSqlSafe(select)).fetch(from);
        while let Some(row) = rows.try_next().await? {
            let mut query = sqlx::query(AssertSqlSafe(insert.clone()));
            for (at, (_, column)) in columns.iter().enumerate() {
                query = match value(&row, at, *column)? {
                    Value::Number(number) => query.bind(number),
                    Value::Text(text) => query.bind(text),
                    Value::Bytes(bytes) => query.bind(bytes),
                };
            }
            query.execute(&mut *writing).await?;
        }
    }
    writing.commit().await?;
    Ok(())
}

fn placeholders(columns: &[(&str, Column)], mark: char, json: &str) -> String {
    let one = |(at, (_, column)): (usize, &(&str, Column))| {
        let cast = if *column == Column::Json { json } else { "" };
        format!("{mark}{}{cast}", at + 1)
    };
    columns.iter().enumerate().map(one).collect::<Vec<_>>().join(", ")
}

fn value<'r, R>(row: &'r R, at: usize, column: Column) -> Result<Value, StoreError>
where
    R: Row,
    usize: sqlx::ColumnIndex<R>,
    i64: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
    String: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
    Vec<u8>: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
{
    Ok(match column {
        Column::Number => Value::Number(row.try_get(at)?),
        Column::Text | Column::Json => Value::Text(row.try_get(at)?),
        Column::Bytes => Value::Bytes(row.try_get(at)?),
    })
}
