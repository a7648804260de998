//! What relays see, and what they may say.
use axle_proto::v1::{Flow, FlowBatch};

use super::*;

#[tokio::test]
async fn a_relay_enrols_sees_the_fleet_and_is_seen() {
    let hub = Hub::start(&[]).await;
    let one = hub.relay("one", "10.1.0.0/16").await;
    let two = hub.relay("two", "10.2.0.0/16").await;
    let first = one.link(vec![one.endpoint(1, "10.1.0.1")]);
    let second = two.link(vec![]);
    second.sees(|contents| contents.list(Kind::Endpoint).count() == 1).await;
    first.sees(|contents| contents.list(Kind::Cluster).count() == 2).await;
    // And what changes afterwards, in both directions.
    first.offer(vec![Change::Put(one.endpoint(2, "10.1.0.2"))]);
    second.sees(|contents| contents.list(Kind::Endpoint).count() == 2).await;
    hub.add("three", "10.3.0.0/16").await;
    first.sees(|contents| contents.list(Kind::Cluster).count() == 3).await;
    let spokes = hub.running.parts.live.spokes();
    assert!(spokes[&one.cluster].connected && spokes[&one.cluster].fresh);
}

#[tokio::test]
async fn a_relay_speaks_for_its_own_cluster_alone() {
    let hub = Hub::start(&[]).await;
    let victim = hub.relay("victim", "10.1.0.0/16").await;
    let thief = hub.relay("thief", "10.2.0.0/16").await;
    let before = victim.link(vec![victim.endpoint(1, "10.1.0.1")]);
    eventually("the victim's endpoint arrives", || hub.objects(Kind::Endpoint).len() == 1).await;
    let node =
        Node { name: Name::new("n9").unwrap(), labels: std::collections::BTreeMap::new(), addresses: Vec::new() };
    let stolen = hub.objects(Kind::Endpoint).remove(0);
    let cluster = hub.objects(Kind::Cluster).remove(0);
    let session = thief.link(vec![
        thief.endpoint(2, "10.1.0.7"),
        victim.endpoint(3, "10.1.0.3"),
        victim.object(Resource::Node(node.clone()), Uid([4; 16])),
        cluster.clone(),
        thief.object(Resource::Node(node), Uid([5; 16])),
    ]);
    // The one object that is its own and fits is taken; that is how we know that the others were looked at.
    eventually("its own node arrives", || hub.objects(Kind::Node).len() == 1).await;
    session.offer(vec![Change::Delete { key: stolen.key.clone(), uid: stolen.uid }]);
    eventually("each is refused by name", || session.refused.lock().len() >= 5).await;
    let mut codes: Vec<String> = session.refused.lock().iter().map(|refusal| refusal.code.clone()).collect();
    codes.sort();
    assert_eq!(
        codes,
        ["address_outside_cluster", "foreign_object", "foreign_object", "foreign_object", "foreign_object"]
    );
    assert_eq!(hub.objects(Kind::Endpoint), [stolen]);
    assert!(hub.objects(Kind::Cluster).contains(&cluster));
    assert_eq!(hub.objects(Kind::Node)[0].key.scope, Scope::Cluster(thief.cluster));
    drop(before);
}

#[tokio::test]
async fn a_removed_cluster_is_cut_off_and_stays_out() {
    let hub = Hub::start(&[]).await;
    let relay = hub.relay("one", "10.1.0.0/16").await;
    let mut session = relay.link(vec![relay.endpoint(1, "10.1.0.1")]);
    eventually("its endpoint arrives", || hub.objects(Kind::Endpoint).len() == 1).await;
    session.is(|state| *state == LinkState::Connected).await;
    hub.remove("one").await;
    session.is(|state| *state != LinkState::Connected).await;
    assert!(hub.objects(Kind::Endpoint).is_empty());
    let key = relay.credentials.load().key().clone();
    assert!(relay.renew(&key).await.is_err());
    // A new cluster of the same name is another one: the old certificate does not open it.
    hub.add("one", "10.1.0.0/16").await;
    assert!(relay.renew(&key).await.is_err());
    assert!(!hub.running.parts.live.spokes().contains_key(&relay.cluster));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_double_is_refused_and_both_are_flagged() {
    let hub = Hub::start(&[]).await;
    let relay = hub.relay("one", "10.1.0.0/16").await;
    let mut first = relay.link(vec![relay.endpoint(1, "10.1.0.1")]);
    first.is(|state| *state == LinkState::Connected).await;
    let mut second = relay.link(vec![relay.endpoint(2, "10.1.0.2")]);
    let refused = second.is(|state| matches!(state, LinkState::Waiting { reason } if !reason.is_empty())).await;
    assert!(format!("{refused:?}").contains("already_exists"), "{refused:?}");
    assert!(hub.running.parts.sessions.problem(relay.cluster).unwrap().contains("second process"));
    // The first goes on, and nothing of the second came in.
    first.offer(vec![Change::Put(relay.endpoint(3, "10.1.0.3"))]);
    eventually("the first is heard", || hub.objects(Kind::Endpoint).len() == 2).await;
    assert_eq!(*first.connected.borrow(), LinkState::Connected);
    // Once the first is gone the second is no double.
    drop(first);
    second.is(|state| *state == LinkState::Connected).await;
    eventually("its own log counts now", || hub.objects(Kind::Endpoint).len() == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_later_leader_is_served_at_once_and_the_earlier_one_never_again() {
    let hub = Hub::start(&[]).await;
    let relay = hub.relay("one", "10.1.0.0/16").await;
    let mut first = relay.link_of(1, vec![relay.endpoint(1, "10.1.0.1")]);
    first.is(|state| *state == LinkState::Connected).await;
    eventually("it is heard", || hub.objects(Kind::Endpoint).len() == 1).await;
    let mut second = relay.link_of(2, vec![relay.endpoint(2, "10.1.0.2")]);
    second.is(|state| *state == LinkState::Connected).await;
    let told = |state: &LinkState| matches!(state, LinkState::Waiting { reason } if reason.starts_with("superseded: "));
    first.is(told).await;
    let of_second = || hub.objects(Kind::Endpoint).iter().map(|object| object.uid).eq([Uid([2; 16])]);
    eventually("the second's log counts", of_second).await;
    assert_eq!(hub.running.parts.sessions.problem(relay.cluster), None, "it is no double");
    // Also when nobody else is there: what the second said stays.
    drop(second);
    first.connected.mark_unchanged();
    for _ in 0..4 {
        timeout(SOON, first.connected.changed()).await.unwrap().unwrap();
        first.is(told).await;
    }
    assert!(of_second());
}

#[tokio::test]
async fn a_session_that_only_seems_to_live_gives_way_to_its_owner() {
    let hub = Hub::start(&[]).await;
    let relay = hub.relay("one", "10.1.0.0/16").await;
    // It says hello and then nothing, as behind a cable that was pulled.
    let hello = axle_proto::v1::Hello { min_version: 1, max_version: 1, node: "n0".into(), ..Default::default() };
    let message = Some(axle_proto::v1::spoke_message::Message::Hello(hello));
    let hello = axle_proto::v1::SpokeMessage { message, ..Default::default() };
    let said = futures::StreamExt::chain(tokio_stream::iter([hello]), tokio_stream::pending());
    let mut dead = SyncClient::new(channel(&hub.address(), &relay.tls()).unwrap());
    let _unread = dead.sync(said).await.unwrap();
    let mut owner = relay.link(vec![]);
    owner.is(|state| *state == LinkState::Connected).await;
    assert_eq!(hub.running.parts.sessions.problem(relay.cluster), None);
}

#[tokio::test]
async fn nobody_syncs_without_a_certificate() {
    let hub = Hub::start(&[]).await;
    let roots = [hub.running.root().certificate().clone()];
    let anonymous = channel(&hub.address(), &ClientTls::anonymous(&roots, Expect::Hub).unwrap()).unwrap();
    let refused = SyncClient::new(anonymous).sync(tokio_stream::iter([])).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    // The hub's own kind of certificate does not make a relay either.
    let key = PrivateKey::generate().unwrap();
    let validity = Validity::starting(SystemTime::now(), HOUR);
    let leaf = hub.running.root().issue(&key.public().unwrap(), &Principal::Hub, &[], validity).unwrap();
    let own = Credentials::new(vec![leaf], key, roots.to_vec()).unwrap().shared();
    let other = channel(&hub.address(), &ClientTls::mutual(own, Expect::Hub).unwrap()).unwrap();
    assert!(SyncClient::new(other).sync(tokio_stream::iter([])).await.is_err());
}

#[tokio::test]
async fn a_restart_keeps_everything_and_relays_resume() {
    let hub = Hub::start(&[]).await;
    let relay = hub.relay("one", "10.1.0.0/16").await;
    let session = relay.link(vec![relay.endpoint(1, "10.1.0.1")]);
    session.sees(|contents| contents.list(Kind::Endpoint).count() == 1).await;
    let (head, listen) = (hub.running.parts.replica.read().position(), format!("--listen={}", hub.running.tls_address));
    let root = hub.running.root().certificate().clone();
    let Hub { running, dir } = hub;
    timeout(SOON, running.stop()).await.expect("it stops although a session is open");

    let running = App::start(config(&dir, &[&listen])).await.unwrap();
    let hub = Hub { running, dir };
    assert_eq!(hub.running.parts.replica.read().position(), head);
    assert_eq!(*hub.running.root().certificate(), root);
    hub.add("two", "10.2.0.0/16").await;
    session.sees(|contents| contents.list(Kind::Cluster).count() == 2).await;
    let spoke = &hub.running.parts.live.spokes()[&relay.cluster];
    assert_eq!((spoke.resumes, spoke.resyncs), (1, 0), "it resumed by revision");
    assert!(spoke.received >= head.revision, "what it held when it came back counts");
}

#[tokio::test]
async fn flows_are_of_the_cluster_that_reports_them() {
    let hub = Hub::start(&[]).await;
    let relay = hub.relay("one", "10.1.0.0/16").await;
    let mut flows = hub.running.parts.live.flows();
    let lie = Flow { cluster: vec![9; 16].into(), verdict: "deny".into(), ..Flow::default() };
    let batch = FlowBatch { flows: vec![lie.clone(), lie], dropped: 3 };
    let mut client = SyncClient::new(channel(&hub.address(), &relay.tls()).unwrap());
    let summary = client.report(tokio_stream::iter([batch])).await.unwrap().into_inner();
    assert_eq!(summary.received, 2);
    assert_eq!(flows.recv().await.unwrap().cluster, relay.cluster.0.to_vec());
    assert_eq!(hub.running.parts.live.lost(), 3);
}
