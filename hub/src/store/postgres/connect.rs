//! The connections, and why there is none.
use std::time::Duration;

use sqlx::{
    Connection as _, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::time::timeout;

use super::StoreError;

/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// Connections to the database that `url` names, of which there is one.
pub(super) async fn connect(url: &str) -> Result<PgPool, StoreError> {
    let options: PgConnectOptions = url.parse().map_err(|why| StoreError::Setup(format!("the database URL: {why}")))?;
    let options = options.application_name("axle-hub").options([
        ("statement_timeout", "10s"),
        ("lock_timeout", "5s"),
        ("idle_in_transaction_session_timeout", "10s"),
        // An acknowledged write survives a crash of the server, whatever the server's own default.
        ("synchronous_commit", "on"),
    ]);
    let unavailable = |why: &str| StoreError::Unavailable(format!("{}: {why}", place(&options)));
    // A pool tries again until its time is over, and then does not say why.
    match timeout(PATIENCE, PgConnection::connect_with(&options)).await {
        Err(_) => return Err(unavailable("it does not answer")),
        Ok(Err(why)) => return Err(unavailable(&explained(&why))),
        Ok(Ok(first)) => first.close().await?,
    }
    Ok(PgPoolOptions::new().max_connections(8).acquire_timeout(PATIENCE).connect_with(options).await?)
}

/// Where the server is and which database of it, for people: never a password.
pub(super) fn place(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or_default();
    match options.get_socket() {
        Some(folder) => format!("{database} of the Postgres in {}", folder.display()),
        None => format!("{database} of the Postgres at {}:{}", options.get_host(), options.get_port()),
    }
}

/// What went wrong, and how to mend it where the words of TLS do not say.
fn explained(why: &sqlx::Error) -> String {
    let text = why.to_string();
    let root = "its certificate comes from another root: give that by --database-ca";
    let mends = [
        ("UnknownIssuer", root),
        // Of a root of the same name.
        ("BadSignature", root),
        ("not valid for name", "the URL must have a host that is in its certificate"),
        ("does not support TLS", "the URL or --database-ca wants it"),
        ("no encryption", "this Postgres wants TLS: give its root by --database-ca"),
    ];
    match mends.iter().find(|(said, _)| text.contains(said)) {
        Some((_, mend)) => format!("{text}; {mend}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use axle_tests::postgres::Postgres;
    use sqlx::Row as _;

    use super::*;

    async fn refused(url: &str) -> String {
        connect(url).await.expect_err(url).to_string()
    }

    #[tokio::test]
    async fn a_postgres_that_wants_tls_must_prove_itself() {
        let (postgres, other) = (Postgres::start_with_tls().unwrap(), Postgres::start_with_tls().unwrap());
        let without = Postgres::start().unwrap();
        let [url, by_another_name] = postgres.tls_database().unwrap();
        let proven =
            |url: &str, by: &Postgres| format!("{url}?sslmode=verify-full&sslrootcert={}", by.ca().unwrap().display());
        let pool = connect(&proven(&url, &postgres)).await.unwrap();
        let sql = "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        let version: String = sqlx::query(sql).fetch_one(&pool).await.unwrap().get(0);
        assert_eq!(version, "TLSv1.3");
        for (url, wanted) in [
            (format!("{url}?sslmode=disable"), "this Postgres wants TLS"),
            (format!("{url}?sslmode=verify-full"), "comes from another root"),
            (proven(&url, &other), "comes from another root"),
            (proven(&by_another_name, &postgres), "have a host that is in its certificate"),
            (format!("{}&sslmode=verify-full", without.database().unwrap()), "wants it"),
        ] {
            let said = refused(&url).await;
            assert!(said.contains(wanted), "{url}: {said}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_reached_is_named_without_its_password() {
        // Nobody listens on the first; the second has nobody at all.
        for (url, place) in [
            ("postgres://axle:secret@127.0.0.1:1/fleet", "fleet of the Postgres at 127.0.0.1:1: "),
            ("postgres://axle:secret@localhost/fleet?host=/nowhere", "fleet of the Postgres in /nowhere: "),
            ("postgres://axle:secret@nowhere.invalid/fleet", "fleet of the Postgres at nowhere.invalid:5432: "),
        ] {
            let said = refused(url).await;
            assert!(said.contains(place) && !said.contains("secret"), "{said}");
        }
    }
}
