use std::collections::BTreeSet;

use axle_core::{
    log::{Hash, Position},
    model::{Action, Cluster, Fleet, Name},
};
use axle_tests::postgres::Postgres;
use tokio::time::timeout;

use super::*;
use crate::store;

const SOON: Duration = Duration::from_secs(60);

/// One hub's writer.
struct Hub {
    store: Arc<dyn Store>,
    writer: Writer,
    replica: Arc<Replica>,
    stop: CancellationToken,
    ended: tokio::task::JoinHandle<()>,
}

impl Hub {
    async fn start(url: &str) -> Self {
        let store = store::open(url).await.unwrap();
        let stop = CancellationToken::new();
        let (writer, replica, ended) = Writer::start(store.clone(), stop.clone()).await.unwrap();
        Self { store, writer, replica, stop, ended }
    }

    async fn begin(&self) {
        let fleet = Fleet {
            vip4: "240.64.0.0/16".parse().unwrap(),
            vip6: "fd61::/64".parse().unwrap(),
            excluded_label_keys: Vec::new(),
        };
        self.writer.submit(Command::Begin { fleet }, "hub", "").await.unwrap();
    }

    async fn add(&self, number: u16, request_id: &str) -> Result<Committed, WriteError> {
        self.writer.submit(Command::AddCluster { cluster: cluster(number) }, "user:test", request_id).await
    }

    async fn reaches(&self, wanted: impl Fn(&Position) -> bool) {
        timeout(SOON, self.replica.head().wait_for(wanted)).await.expect("the replica gets there").unwrap();
    }

    async fn records(&self) -> Vec<Record> {
        self.store.records_after(0, u32::MAX >> 1).await.unwrap()
    }
}

fn cluster(number: u16) -> Cluster {
    let [high, low] = number.to_be_bytes();
    Cluster {
        name: Name::new(format!("c{number}")).unwrap(),
        region: String::new(),
        labels: std::collections::BTreeMap::new(),
        prefixes: vec![format!("10.{high}.{low}.0/24").parse().unwrap()],
        default_action: Action::Accept,
        draining: false,
    }
}

fn sqlite(dir: &tempfile::TempDir) -> String {
    format!("sqlite:{}", dir.path().join("hub.db").display())
}

/// On the test's own thread: the server lives no longer than the thread that started it.
fn postgres() -> Postgres {
    Postgres::start().unwrap()
}

fn assert_chained(records: &[Record]) {
    let mut hash = Hash::default();
    for (record, revision) in records.iter().zip(1..) {
        assert_eq!(record.revision, revision, "no gap");
        assert_eq!(record.hash, record.hash_after(hash), "one chain");
        hash = record.hash;
    }
}

#[tokio::test]
async fn what_is_committed_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub::start(&sqlite(&dir)).await;
    hub.begin().await;
    let writes: Vec<_> = (0..300).map(|number| hub.writer.clone().add_later(number)).collect();
    let mut revisions = BTreeSet::new();
    for write in writes {
        revisions.insert(write.await.unwrap().unwrap().revision);
    }
    assert_eq!(revisions, (2..302).collect(), "each command one revision, none twice, none left out");
    let head = hub.replica.read().position();
    hub.stop.cancel();
    timeout(SOON, hub.ended).await.expect("it ends").unwrap();
    drop(hub.store);

    let again = Hub::start(&sqlite(&dir)).await;
    assert_eq!(again.replica.read().position(), head);
    assert_eq!(again.replica.read().clusters().count(), 300);
    assert_chained(&again.records().await);
}

impl Writer {
    fn add_later(self, number: u16) -> tokio::task::JoinHandle<Result<Committed, WriteError>> {
        let command = Command::AddCluster { cluster: cluster(number) };
        tokio::spawn(async move { self.submit(command, "user:test", "").await })
    }
}

#[tokio::test]
async fn a_command_that_cannot_be_done_leaves_nothing_and_harms_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub::start(&sqlite(&dir)).await;
    hub.begin().await;
    hub.add(1, "").await.unwrap();
    let (twice, other) = tokio::join!(hub.add(1, ""), hub.add(2, ""));
    assert!(matches!(twice, Err(WriteError::Rejected(why)) if why.code == "duplicate_name"));
    assert_eq!(other.unwrap().revision, 3);
    // In order means: what follows a command that cannot be done is not done.
    let commands = [3, 1, 4].map(|number| Command::AddCluster { cluster: cluster(number) }).to_vec();
    assert!(hub.writer.submit_in_order(commands, "user:test").await.is_err());
    assert!(hub.replica.read().cluster(&Name::new("c4").unwrap()).is_none());
}

#[tokio::test]
async fn a_repeated_request_is_answered_not_done_again() {
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub::start(&sqlite(&dir)).await;
    hub.begin().await;
    let first = hub.add(1, "r1").await.unwrap();
    assert_eq!(hub.add(1, "r1").await.unwrap(), Committed { repeated: true, ..first });
    let (one, two) = tokio::join!(hub.add(2, "r2"), hub.add(2, "r2"));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.revision, two.revision, "also while the first is on its way");
    assert!(one.repeated != two.repeated);
    assert_eq!(hub.records().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_writers_on_one_database_make_one_log() {
    const EACH: u16 = 150;
    let postgres = postgres();
    let url = postgres.database().unwrap();
    let (one, two) = tokio::join!(Hub::start(&url), Hub::start(&url));
    assert_eq!(one.replica.read().position().epoch, two.replica.read().position().epoch, "one epoch");
    one.begin().await;
    let writes: Vec<_> = (0..EACH)
        .flat_map(|number| [one.writer.clone().add_later(number), two.writer.clone().add_later(number + EACH)])
        .collect();
    // And both want the same names: each is given once.
    let contested: Vec<_> = (1000..1020)
        .map(|number| (one.writer.clone().add_later(number), two.writer.clone().add_later(number)))
        .collect();
    let mut revisions = BTreeSet::new();
    for write in writes {
        assert!(revisions.insert(write.await.unwrap().unwrap().revision), "no revision is given twice");
    }
    for (a, b) in contested {
        let (a, b) = (a.await.unwrap(), b.await.unwrap());
        assert_eq!(u8::from(a.is_ok()) + u8::from(b.is_ok()), 1, "{a:?} {b:?}");
        revisions.insert(a.or(b).unwrap().revision);
    }
    let total = 1 + u64::from(EACH) * 2 + 20;
    assert_eq!(revisions, (2..=total).collect(), "every acknowledged write is a revision of its own, without a gap");
    for hub in [&one, &two] {
        hub.reaches(|head| head.revision == total).await;
    }
    let records = one.records().await;
    assert_eq!(records.len() as u64, total);
    assert_chained(&records);
    let contents = |hub: &Hub| hub.replica.read().contents().iter().cloned().collect::<Vec<_>>();
    assert_eq!(contents(&one), contents(&two));
    assert_eq!(one.replica.read().position(), two.replica.read().position());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_request_repeated_at_another_hub_is_done_once() {
    let postgres = postgres();
    let url = postgres.database().unwrap();
    let (one, two) = tokio::join!(Hub::start(&url), Hub::start(&url));
    one.begin().await;
    for number in 0..20 {
        let id = format!("r{number}");
        let (a, b) = tokio::join!(one.add(number, &id), two.add(number, &id));
        assert_eq!(a.unwrap().revision, b.unwrap().revision);
    }
    assert_eq!(one.records().await.len(), 21);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_database_that_dies_loses_no_acknowledged_write() {
    let mut postgres = postgres();
    let url = postgres.database().unwrap();
    let hub = Hub::start(&url).await;
    hub.begin().await;
    let mut acknowledged = Vec::new();
    let mut number = 0;
    for round in 0..3 {
        let writes: Vec<_> = (0..50)
            .map(|_| {
                number += 1;
                (number, hub.writer.clone().add_later(number))
            })
            .collect();
        postgres.kill().unwrap();
        postgres.resume().unwrap();
        for (number, write) in writes {
            match timeout(SOON, write).await.expect("an answer comes").unwrap() {
                Ok(committed) => acknowledged.push((number, committed.revision)),
                Err(WriteError::Unknown(_)) => {}
                Err(why) => panic!("{why}"),
            }
        }
        // It works again without a restart.
        number += 1;
        let id = format!("again{round}");
        let again = async {
            loop {
                match hub.add(number, &id).await {
                    Ok(committed) => break committed,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        };
        acknowledged.push((number, timeout(SOON, again).await.expect("it writes again").revision));
    }
    let records = hub.records().await;
    assert_chained(&records);
    assert!(acknowledged.len() >= 3);
    for (number, revision) in acknowledged {
        let record = records.iter().find(|record| record.revision == revision).expect("it is in the log");
        assert_eq!(record.action, format!("cluster add c{number}"));
    }
    assert_eq!(hub.replica.health(), Ok(()));
}

/// A hub that was cut off for so long that the records which it lacks are forgotten takes the state anew: what the others
/// committed is no loss, and no epoch begins.
#[tokio::test]
async fn a_hub_that_fell_behind_the_log_takes_the_state_anew() {
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub::start(&sqlite(&dir)).await;
    hub.begin().await;
    let state = catch_up::load(&*hub.store).await.unwrap();
    let replica = Arc::new(Replica::new(state.clone()));
    let mut behind = Task { store: hub.store.clone(), replica: replica.clone(), state };
    for number in 1..6 {
        hub.add(number, "").await.unwrap();
    }
    assert_eq!(hub.store.forget(u64::MAX >> 1, 2, 100).await.unwrap(), 4);
    assert!(behind.catch_up().await.unwrap());
    assert_eq!(replica.read().position(), hub.replica.read().position());
    assert_eq!(replica.read().clusters().count(), 5);
}

#[tokio::test]
async fn a_database_that_lost_commits_begins_a_new_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let url = sqlite(&dir);
    let hub = Hub::start(&url).await;
    hub.begin().await;
    for number in 1..5 {
        hub.add(number, "").await.unwrap();
    }
    let before = hub.replica.read().position();
    // What a standby that lagged would hold.
    let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
    for sql in [
        "DELETE FROM log WHERE revision > 3",
        "DELETE FROM objects WHERE revision > 3",
        "UPDATE head SET revision = 3, hash = (SELECT hash FROM log WHERE revision = 3)",
    ] {
        sqlx::query(sql).execute(&pool).await.unwrap();
    }
    hub.reaches(|head| head.epoch != before.epoch).await;
    let head = hub.replica.read().position();
    assert_eq!(head.revision, 3);
    assert_eq!(hub.replica.read().clusters().count(), 2);
    assert_eq!(hub.add(9, "").await.unwrap().revision, 4);
    assert_chained(&hub.records().await);
}

#[tokio::test]
async fn a_hub_stops_at_a_record_that_it_cannot_read() {
    use axle_proto::v1;
    use prost::Message as _;
    let dir = tempfile::tempdir().unwrap();
    let url = sqlite(&dir);
    let hub = Hub::start(&url).await;
    hub.begin().await;
    let before = hub.replica.read().position();
    // What a newer hub writes: of a kind of object that there is not yet.
    let key = v1::Key { kind: 200, name: "new".into(), ..v1::Key::default() };
    let delete = v1::Tombstone { key: Some(key), uid: vec![1; 16].into() };
    let change = v1::Change { change: Some(v1::change::Change::Delete(delete)) };
    let (revision, hash) = (before.revision + 1, vec![7; 32]);
    let record = v1::Record { revision, hash: hash.clone().into(), changes: vec![change], ..v1::Record::default() };
    let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
    let sql = "INSERT INTO log SELECT revision + 1, ?1, 0, 'user:test', '', 'new', ?2 FROM head";
    sqlx::query(sql).bind(&hash).bind(record.encode_to_vec()).execute(&pool).await.unwrap();
    sqlx::query("UPDATE head SET revision = revision + 1, hash = ?1").bind(&hash).execute(&pool).await.unwrap();

    timeout(SOON, async {
        while hub.replica.health().is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("it is not ready any more");
    assert!(hub.add(1, "").await.is_err(), "and takes no write");
    assert_eq!(hub.replica.read().position(), before, "it goes on with what it has");
}
