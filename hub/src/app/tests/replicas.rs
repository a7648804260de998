//! Several hubs on one Postgres, and a hub that comes out of a backup.
use axle_proto::v1::NodeStatus;
use axle_tests::postgres::Postgres;

use super::*;
use crate::store::{backup, restore};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_hubs_are_one_control_plane() {
    // On the test's own thread: the server lives no longer than the thread that started it.
    let postgres = Postgres::start().unwrap();
    let database = format!("--database={}", postgres.database().unwrap());
    let flags = [database.as_str()];
    let (one, two) = tokio::join!(Hub::start(&flags), Hub::start(&flags));
    assert_eq!(one.running.root().certificate(), two.running.root().certificate(), "one authority, whoever was first");
    // Enrolled at one, served by the other.
    let relay = one.relay("one", "10.1.0.0/16").await;
    let relay = Relay { address: two.address(), ..relay };
    let mut session = relay.link(vec![relay.endpoint(1, "10.1.0.1")]);
    session.is(|state| *state == LinkState::Connected).await;
    eventually("what one hub takes in, the other knows", || one.objects(Kind::Endpoint).len() == 1).await;
    one.add("two", "10.2.0.0/16").await;
    session.sees(|contents| contents.list(Kind::Cluster).count() == 2).await;
    // A person's token of one opens the other, until it is revoked at either.
    let Parts { tokens, writer, .. } = &one.running.parts;
    let token = tokens.issue(writer, "user:test", "alice", Role::Viewer, HOUR).await.unwrap();
    let mut headers = http::HeaderMap::new();
    headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    let need = crate::auth::Need::Role(Role::Viewer);
    let opens = |hub: &Hub| hub.running.parts.gate.check(need, &headers, &http::Extensions::new()).is_ok();
    assert!(opens(&one) && opens(&two));
    let listed = two.running.parts.tokens.list().await.unwrap();
    assert!(tokens.revoke(&listed[0].id, "user:test").await.unwrap());
    assert!(!opens(&one), "at once");
    eventually("the other hears of it", || !opens(&two)).await;
    // Removed at one, cut off by the other.
    one.remove("one").await;
    session.is(|state| *state != LinkState::Connected).await;
    eventually("both know", || two.objects(Kind::Endpoint).is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_hub_knows_what_one_of_them_hears() {
    let postgres = Postgres::start().unwrap();
    let database = format!("--database={}", postgres.database().unwrap());
    let flags = [database.as_str(), "--heartbeat=1s"];
    let (one, two) = tokio::join!(Hub::start(&flags), Hub::start(&flags));
    let cluster = one.add("one", "10.1.0.0/16").await;
    let (here, there) = (one.running.parts.live.clone(), two.running.parts.live.clone());
    let spoke = |live: &crate::live::Live| live.spokes().remove(&cluster).unwrap_or_default();
    let mut changes = here.changes();
    changes.mark_unchanged();

    let session = there.join(cluster);
    let applied = |revision| Some(axle_proto::v1::Position { revision, ..Default::default() });
    let status = |revision| NodeStatus { node: "n1".into(), applied: applied(revision), ..NodeStatus::default() };
    session.received(4);
    session.statuses(vec![status(4)]);
    eventually("the other hub hears of it", || spoke(&here).nodes.contains_key("n1")).await;
    let seen = spoke(&here);
    assert!(seen.connected && seen.fresh && seen.received == 4, "{seen:?}");
    assert!(changes.has_changed().unwrap(), "whoever waits is woken");
    session.statuses(vec![status(5)]);
    eventually("and of each change", || spoke(&here).nodes["n1"].applied == applied(5)).await;
    changes.mark_unchanged();
    session.received(5);
    eventually("of an acknowledgement alone", || spoke(&here).received == 5).await;
    assert_eq!(spoke(&here).nodes["n1"].applied, applied(5), "the statuses stay");
    assert!(changes.has_changed().unwrap(), "whoever waits is woken");

    // It moves: whoever has the session has the word, also while the old one is thought to live.
    let moved = here.join(cluster);
    moved.statuses(vec![status(6)]);
    drop(session);
    eventually("the first hub hears of the move", || {
        let spoke = spoke(&there);
        spoke.connected && spoke.nodes["n1"].applied == applied(6)
    })
    .await;
    // It goes, and comes back to a hub that then dies without a word.
    drop(moved);
    eventually("both know that it is away", || !spoke(&here).connected && !spoke(&there).connected).await;
    let again = there.join(cluster);
    again.statuses(vec![status(7)]);
    eventually("it is back", || spoke(&here).connected && spoke(&here).nodes["n1"].applied == applied(7)).await;
    drop(two);
    eventually("a hub that is gone has no sessions", || !spoke(&here).connected).await;
    assert_eq!(spoke(&here).nodes["n1"].applied, applied(7), "its last word stays");
    drop(again);
    one.remove("one").await;
    eventually("what was removed is forgotten", || !here.spokes().contains_key(&cluster)).await;
    // Another hub may hear of it once more before it knows.
    let report = crate::store::Report {
        cluster,
        version: 1,
        connected: true,
        silence: Duration::ZERO,
        received: 1,
        resumes: 0,
        resyncs: 0,
        statuses: Some(Vec::new()),
    };
    let store = &one.running.parts.store;
    store.publish(Uid([9; 16]), &[report]).await.unwrap();
    assert_eq!(store.published(Uid([8; 16]), &[]).await.unwrap(), [], "and brings nothing back");
}

#[tokio::test]
async fn after_a_restore_every_relay_takes_a_snapshot() {
    let hub = Hub::start(&[]).await;
    let relay = hub.relay("one", "10.1.0.0/16").await;
    let session = relay.link(vec![relay.endpoint(1, "10.1.0.1")]);
    session.sees(|contents| contents.list(Kind::Endpoint).count() == 1).await;
    let file = hub.dir.path().join("backup");
    backup(&*hub.running.parts.store, &file).await.unwrap();
    // The relay sees what the backup does not hold.
    hub.add("lost", "10.2.0.0/16").await;
    session.sees(|contents| contents.list(Kind::Cluster).count() == 2).await;
    let before = hub.running.parts.replica.read().position();
    let listen = format!("--listen={}", hub.running.tls_address);
    hub.running.stop().await;

    let dir = tempfile::tempdir().unwrap();
    let epoch = restore(&file, &format!("sqlite:{}", dir.path().join("hub.db").display())).await.unwrap();
    let hub = Hub { running: App::start(config(&dir, &[&listen])).await.unwrap(), dir };
    let head = hub.running.parts.replica.read().position();
    assert_eq!((head.epoch, head.revision), (epoch, before.revision - 1));
    session.sees(|contents| contents.position().epoch == epoch && contents.list(Kind::Cluster).count() == 1).await;
    let spoke = &hub.running.parts.live.spokes()[&relay.cluster];
    assert_eq!((spoke.resumes, spoke.resyncs), (0, 1));
    assert_eq!(hub.objects(Kind::Endpoint).len(), 1, "what the relay says of itself is there as before");
}
