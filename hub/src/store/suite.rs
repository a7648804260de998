//! What every store must do: one suite, run on a real SQLite file and on a real Postgres.
mod growth;
mod script;
mod secrets;

use std::{path::PathBuf, sync::Arc};

use axle_core::{
    log::{Position, Record},
    model::{Cluster, Key, Kind, Scope, Uid},
    state::Command,
};
use axle_tests::postgres::Postgres;
use sqlx::Row as _;
use tempfile::TempDir;

use super::*;
use script::{Script, cluster, name};
use secrets::{
    of_many_who_exchange_a_secret_one_does, peoples_tokens_are_noted_and_revoked_once, person_token,
    the_first_secret_stays,
};

/// A place for fresh databases of one kind.
struct Ground {
    dir: TempDir,
    postgres: Option<Postgres>,
}

impl Ground {
    fn url(&self) -> String {
        match &self.postgres {
            Some(postgres) => postgres.database().unwrap(),
            None => format!("sqlite:{}", self.file("db").display()),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{name}-{}", random_uid().unwrap()))
    }

    /// Runs SQL for operators, and gives the first column of its rows as text.
    async fn query(&self, url: &str, sql: &'static str) -> Vec<String> {
        match url.strip_prefix("sqlite:") {
            Some(path) => {
                let pool = sqlx::SqlitePool::connect(path).await.unwrap();
                let rows = sqlx::query(sql).fetch_all(&pool).await.unwrap();
                rows.iter().map(|row| row.get(0)).collect()
            }
            None => {
                let pool = sqlx::PgPool::connect(url).await.unwrap();
                let rows = sqlx::query(sql).fetch_all(&pool).await.unwrap();
                rows.iter().map(|row| row.get(0)).collect()
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sqlite_passes() {
    suite(Ground { dir: tempfile::tempdir().unwrap(), postgres: None }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn postgres_passes() {
    // On the test's own thread: the server lives no longer than the thread that started it.
    let postgres = Postgres::start().unwrap();
    suite(Ground { dir: tempfile::tempdir().unwrap(), postgres: Some(postgres) }).await;
}

async fn suite(ground: Ground) {
    the_first_epoch_is_begun_once(&ground).await;
    what_is_appended_is_loaded(&ground).await;
    an_append_from_elsewhere_writes_nothing(&ground).await;
    of_many_appends_at_once_one_is_written(&ground).await;
    a_request_is_written_once(&ground).await;
    growth::addresses_given_up_are_kept(&ground).await;
    records_are_read_in_both_directions(&ground).await;
    growth::old_records_are_forgotten_from_the_beginning_on(&ground).await;
    growth::large_records_come_a_few_at_a_time(&ground).await;
    removing_a_cluster_forgets_who_spoke_for_it(&ground).await;
    the_first_secret_stays(&ground).await;
    a_token_is_redeemed_once(&ground).await;
    a_token_is_for_one_cluster_and_some_time(&ground).await;
    a_backup_is_restored_with_a_new_epoch(&ground).await;
    a_restore_replaces_nothing(&ground).await;
    of_many_who_exchange_a_secret_one_does(&ground).await;
    peoples_tokens_are_noted_and_revoked_once(&ground).await;
    operators_read_the_views(&ground).await;
    a_newer_database_is_refused(&ground).await;
}

/// A store with an epoch begun, and a script that stands where it stands.
async fn begun(url: &str) -> (Arc<dyn Store>, Script) {
    let store = open(url).await.unwrap();
    let epoch = random_uid().unwrap();
    assert!(store.begin_epoch(None, epoch).await.unwrap());
    (store, Script::new(epoch))
}

async fn append(store: &dyn Store, from: Position, records: &[Record]) -> bool {
    store.append(from, &Batch::of(records)).await.unwrap()
}

async fn the_first_epoch_is_begun_once(ground: &Ground) {
    let store = open(&ground.url()).await.unwrap();
    assert_eq!(store.head().await.unwrap(), None);
    let (first, second) = (random_uid().unwrap(), random_uid().unwrap());
    assert!(store.begin_epoch(None, first).await.unwrap());
    assert!(!store.begin_epoch(None, second).await.unwrap());
    let head = store.head().await.unwrap().unwrap();
    assert_eq!(head, Position { epoch: first, ..Position::default() });
    // Of two that notice a loss, one begins the next.
    assert!(store.begin_epoch(Some(head), second).await.unwrap());
    assert!(!store.begin_epoch(Some(head), random_uid().unwrap()).await.unwrap());
    assert_eq!(store.head().await.unwrap().unwrap().epoch, second);
}

async fn what_is_appended_is_loaded(ground: &Ground) {
    let url = ground.url();
    let (store, mut script) = begun(&url).await;
    let from = script.state.position();
    let mut records = vec![script.begin()];
    let (uid, record) = script.add(1);
    records.push(record);
    let odd = Cluster { region: "a\0b\\u0000".into(), ..cluster(2) };
    records.push(script.run(Command::AddCluster { cluster: odd }, ""));
    records.extend((1..20).map(|number| script.endpoint(uid, number)));
    assert!(append(&*store, from, &records).await);
    drop(store);

    // As after a restart.
    let loaded = open(&url).await.unwrap().load(5).await.unwrap();
    assert_eq!(loaded.head, script.state.position());
    assert_eq!(loaded.recent, records[records.len() - 5..]);
    assert_eq!(loaded.intakes, [(uid, script.state.intake(uid).unwrap())]);
    let mut objects = loaded.objects;
    objects.sort_by(|a, b| a.key.cmp(&b.key));
    assert_eq!(objects, script.state.contents().iter().cloned().collect::<Vec<_>>());
}

async fn an_append_from_elsewhere_writes_nothing(ground: &Ground) {
    let (store, mut script) = begun(&ground.url()).await;
    let from = script.state.position();
    let record = script.begin();
    for wrong in [
        Position { epoch: random_uid().unwrap(), ..from },
        Position { revision: 1, ..from },
        Position { hash: axle_core::log::Hash([1; 32]), ..from },
    ] {
        assert!(!append(&*store, wrong, std::slice::from_ref(&record)).await);
    }
    assert_eq!(store.head().await.unwrap().unwrap(), from);
    assert!(store.load(10).await.unwrap().objects.is_empty());
    assert!(append(&*store, from, &[]).await, "nothing to write is written anywhere");
    assert!(append(&*store, from, &[record]).await);
}

async fn of_many_appends_at_once_one_is_written(ground: &Ground) {
    let (store, mut script) = begun(&ground.url()).await;
    let from = script.state.position();
    let record = script.begin();
    let attempts = (0..16).map(|_| {
        let (store, record) = (store.clone(), record.clone());
        tokio::spawn(async move { append(&*store, from, &[record]).await })
    });
    let mut won = 0;
    for attempt in attempts.collect::<Vec<_>>() {
        won += u32::from(attempt.await.unwrap());
    }
    assert_eq!(won, 1);
    assert_eq!(store.records_after(0, 10).await.unwrap(), [record]);
}

async fn a_request_is_written_once(ground: &Ground) {
    let (store, mut script) = begun(&ground.url()).await;
    let from = script.state.position();
    let begin = script.begin();
    let before = script.state.clone();
    let first = script.run(Command::AddCluster { cluster: cluster(1) }, "r1");
    assert!(append(&*store, from, &[begin, first.clone()]).await);
    // The same request again, by one who has forgotten it.
    let mut forgetful = Script { state: before, drawn: 50 };
    let again = forgetful.run(Command::AddCluster { cluster: cluster(1) }, "r1");
    let second = Record { changes: Vec::new(), ..again }.sealed(&script.state.position());
    assert!(!append(&*store, script.state.position(), &[second]).await);
    assert_eq!(store.head().await.unwrap().unwrap(), script.state.position(), "the head did not move either");
    let answered = store.answered("user:test", "r1").await.unwrap().unwrap();
    assert_eq!(answered, Answered { revision: first.revision, action: "cluster add c1".into() });
    assert_eq!(store.answered("user:other", "r1").await.unwrap(), None);
    assert_eq!(store.answered("user:test", "").await.unwrap(), None, "no id is not an id");
}

async fn records_are_read_in_both_directions(ground: &Ground) {
    let (store, mut script) = begun(&ground.url()).await;
    let from = script.state.position();
    let mut records = vec![script.begin()];
    records.extend((1..8).map(|number| script.add(number).1));
    assert!(append(&*store, from, &records).await);
    assert_eq!(store.records_after(0, 100).await.unwrap(), records);
    assert_eq!(store.records_after(3, 2).await.unwrap(), records[3..5]);
    assert_eq!(store.records_after(8, 2).await.unwrap(), []);
    let newest: Vec<u64> = store.records_before(u64::MAX, 3).await.unwrap().iter().map(|r| r.revision).collect();
    assert_eq!(newest, [8, 7, 6]);
    assert_eq!(store.records_before(1, 3).await.unwrap(), []);
    let mut hash = axle_core::log::Hash::default();
    for record in store.records_after(0, 100).await.unwrap() {
        assert_eq!(record.hash_after(hash), record.hash, "the chain holds over what was read");
        hash = record.hash;
    }
}

async fn removing_a_cluster_forgets_who_spoke_for_it(ground: &Ground) {
    let (store, mut script) = begun(&ground.url()).await;
    let from = script.state.position();
    let begin = script.begin();
    let (uid, add) = script.add(1);
    let endpoint = script.endpoint(uid, 1);
    assert!(append(&*store, from, &[begin, add, endpoint]).await);
    let token = token(uid, 10_000);
    store.add_token(&token).await.unwrap();
    assert!(store.redeem(&token.digest, 1, &enrolment(uid)).await.unwrap());
    store.add_token(&TokenRow { digest: [8; 32], ..token }).await.unwrap();
    assert_eq!(store.enrolments().await.unwrap(), [enrolment(uid)]);

    let from = script.state.position();
    let remove = script.run(Command::RemoveCluster { name: name("c1") }, "");
    assert!(append(&*store, from, &[remove]).await);
    assert!(store.enrolments().await.unwrap().is_empty());
    assert!(!store.redeem(&[8; 32], 1, &enrolment(uid)).await.unwrap());
    let loaded = store.load(10).await.unwrap();
    assert!(loaded.intakes.is_empty());
    assert!(loaded.objects.iter().all(|object| object.key.kind == Kind::Fleet), "{:?}", loaded.objects);
}

fn token(cluster: Uid, expires_ms: u64) -> TokenRow {
    TokenRow { digest: [7; 32], cluster, expires_ms, creator: "user:test".into() }
}

fn enrolment(cluster: Uid) -> Enrolment {
    Enrolment { cluster, relay_key: [3; 32], enrolled_ms: 5 }
}

async fn a_token_is_redeemed_once(ground: &Ground) {
    let (store, _) = begun(&ground.url()).await;
    let cluster = Uid([1; 16]);
    for round in 0..20 {
        let token = TokenRow { digest: [round; 32], ..token(cluster, 10_000) };
        store.add_token(&token).await.unwrap();
        let attempts = (0..16_u8).map(|number| {
            let (store, enrolment) = (store.clone(), Enrolment { relay_key: [number; 32], ..enrolment(cluster) });
            tokio::spawn(async move { store.redeem(&token.digest, 1, &enrolment).await.unwrap().then_some(enrolment) })
        });
        let mut winners = Vec::new();
        for attempt in attempts.collect::<Vec<_>>() {
            winners.extend(attempt.await.unwrap());
        }
        assert_eq!(winners.len(), 1, "round {round}");
        assert_eq!(store.enrolments().await.unwrap(), winners, "who won is who is enrolled");
    }
}

async fn a_token_is_for_one_cluster_and_some_time(ground: &Ground) {
    let (store, _) = begun(&ground.url()).await;
    let (own, other) = (Uid([1; 16]), Uid([2; 16]));
    store.add_token(&token(own, 1_000)).await.unwrap();
    assert!(!store.redeem(&[6; 32], 1, &enrolment(own)).await.unwrap(), "unknown");
    assert!(!store.redeem(&[7; 32], 1, &enrolment(other)).await.unwrap(), "another cluster's");
    assert!(!store.redeem(&[7; 32], 1_000, &enrolment(own)).await.unwrap(), "over");
    assert!(store.enrolments().await.unwrap().is_empty());
    assert!(store.redeem(&[7; 32], 999, &enrolment(own)).await.unwrap(), "none of that used it up");
}

async fn a_backup_is_restored_with_a_new_epoch(ground: &Ground) {
    let (store, mut script) = begun(&ground.url()).await;
    let from = script.state.position();
    let begin = script.begin();
    let (uid, add) = script.add(1);
    let endpoint = script.endpoint(uid, 1);
    let batch = Batch::of(&[begin, add, endpoint]).giving_up([([240, 64, 0, 9].into(), 2)]);
    assert!(store.append(from, &batch).await.unwrap());
    store.secret("ca", "key").await.unwrap();
    store.secret("jwt", "key").await.unwrap();
    store.add_person_token(&person_token()).await.unwrap();
    store.add_token(&token(uid, 10_000)).await.unwrap();
    assert!(store.redeem(&[7; 32], 1, &enrolment(uid)).await.unwrap());
    let before = store.load(10).await.unwrap();

    let file = ground.file("backup");
    backup(&*store, &file).await.unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600, "it holds the keys of the mesh");
    assert!(backup(&*store, &file).await.is_err(), "it replaces nothing");
    // What is written afterwards is not in it.
    let (_, later) = script.add(2);
    assert!(append(&*store, before.head, &[later]).await);

    // Into either kind of database.
    let sqlite = format!("sqlite:{}", ground.file("restored").display());
    for url in [sqlite, ground.url()] {
        let epoch = restore(&file, &url).await.unwrap();
        let restored = open(&url).await.unwrap();
        let after = restored.load(10).await.unwrap();
        assert_eq!(after.head, Position { epoch, ..before.head });
        assert_ne!(epoch, before.head.epoch);
        let sorted = |loaded: &Loaded| {
            let mut objects = loaded.objects.clone();
            objects.sort_by(|a, b| a.key.cmp(&b.key));
            objects
        };
        assert_eq!(sorted(&after), sorted(&before));
        assert_eq!((after.recent, after.intakes), (before.recent.clone(), before.intakes.clone()));
        assert_eq!(after.given_up, before.given_up);
        assert_eq!(restored.secret("ca", "other").await.unwrap(), "key");
        assert_eq!(restored.enrolments().await.unwrap(), [enrolment(uid)]);
        assert_eq!(restored.secret("jwt", "other").await.unwrap(), "other", "no token from before counts");
        assert_eq!(restored.person_tokens().await.unwrap(), []);
    }
}

async fn a_restore_replaces_nothing(ground: &Ground) {
    let url = ground.url();
    let (store, _) = begun(&url).await;
    let file = ground.file("backup");
    backup(&*store, &file).await.unwrap();
    let head = store.head().await.unwrap();
    assert!(matches!(restore(&file, &url).await, Err(StoreError::Setup(_))), "the database is in use");
    assert_eq!(store.head().await.unwrap(), head);
    assert!(matches!(restore(&ground.file("none"), &ground.url()).await, Err(StoreError::Setup(_))));
    let rubbish = ground.file("rubbish");
    std::fs::write(&rubbish, b"this is no database, however long it may be made to look").unwrap();
    assert!(matches!(restore(&rubbish, &ground.url()).await, Err(StoreError::Setup(_))));
}

async fn operators_read_the_views(ground: &Ground) {
    let url = ground.url();
    let (store, mut script) = begun(&url).await;
    let from = script.state.position();
    let begin = script.begin();
    let (uid, add) = script.add(1);
    let endpoint = script.endpoint(uid, 1);
    assert!(append(&*store, from, &[begin, add, endpoint]).await);
    assert_eq!(ground.query(&url, "SELECT vip4 FROM fleet").await, ["240.64.0.0/16"]);
    assert_eq!(ground.query(&url, "SELECT name || ' ' || region FROM clusters").await, ["c1 north"]);
    let sql = "SELECT cluster || '/' || namespace || '/' || workload || '@' || node FROM endpoints";
    assert_eq!(ground.query(&url, sql).await, ["c1/shop/web@n1"]);
    for view in [
        "SELECT name FROM nodes",
        "SELECT name FROM namespaces",
        "SELECT name FROM service_exports",
        "SELECT name FROM service_imports",
        "SELECT name FROM policies",
        "SELECT name FROM policy_tests",
    ] {
        assert!(ground.query(&url, view).await.is_empty(), "{view}");
    }
    assert_eq!(ground.query(&url, "SELECT action FROM log WHERE revision = 2").await, ["cluster add c1"]);
}

async fn a_newer_database_is_refused(ground: &Ground) {
    let url = ground.url();
    drop(open(&url).await.unwrap());
    let sql = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
               VALUES (9999, 'later', true, '', 0) RETURNING description";
    assert_eq!(ground.query(&url, sql).await, ["later"]);
    let error = open(&url).await.unwrap_err().to_string();
    assert!(error.contains("9999") && error.contains("newer"), "{error}");
}

#[test]
fn the_last_word_on_a_key_counts() {
    let mut script = Script::new(Uid([1; 16]));
    let begin = script.begin();
    let (_, add) = script.add(1);
    let remove = script.run(Command::RemoveCluster { name: name("c1") }, "");
    let batch = Batch::of(&[begin, add, remove]);
    let key = Key { kind: Kind::Cluster, scope: Scope::Fleet, namespace: String::new(), name: name("c1") };
    assert!(matches!(batch.objects.get(&key), Some(batch::Last::Deleted(_))));
    assert_eq!(batch.removed.len(), 1);
}
