use std::{sync::Arc, time::Duration};

use axle_core::{log::Change, model::Uid, refusal::code};
use axle_proto::v1;

use super::{
    rig::{Hub, Mesh, SOON, Served, Spoke, object, until, within},
    wire::Wire,
};
use crate::sync::{LinkState, View, ViewSettings};

const CLUSTER: Uid = Uid([0xaa; 16]);
const BEAT: Duration = SOON;

fn nothing() -> Arc<View> {
    Served::new(9, ViewSettings::default()).view
}

#[tokio::test]
async fn a_spoke_that_comes_back_resumes_by_revision() {
    let mesh = Mesh::new();
    let mut log = Served::new(1, ViewSettings::default());
    log.write(1, Some(1));
    let hub = Hub::new(log.view.clone(), BEAT, None);
    let (address, _serving) = hub.listen(&mesh);
    let spoke = Spoke::start(address, mesh.relay(CLUSTER), nothing(), BEAT);
    spoke.at(&log.view).await;
    assert_eq!((hub.counters.snapshots(), hub.counters.resumes()), (1, 0));
    let copy = spoke.stop().await;
    for value in 0..50 {
        log.write(2, Some(value));
    }
    let spoke = Spoke::with(address, mesh.relay(CLUSTER), nothing(), BEAT, copy);
    spoke.at(&log.view).await;
    assert_eq!((hub.counters.snapshots(), hub.counters.resumes()), (1, 1));
    let copy = spoke.stop().await;
    let copy = copy.lock();
    assert_eq!((copy.snapshots, copy.past.len()), (1, 51), "every revision by itself");
    log.check(&copy);
    assert_eq!(hub.introductions.lock()[0].agent_version, "test");
    assert_eq!(hub.introductions.lock()[1].resume.map(|at| at.revision), Some(1));
}

#[tokio::test]
async fn a_spoke_beyond_the_window_gets_one_compacted_delta() {
    let mesh = Mesh::new();
    let mut log = Served::new(1, ViewSettings { window_bytes: 2_000, ..ViewSettings::default() });
    log.write(1, Some(1));
    let hub = Hub::new(log.view.clone(), BEAT, None);
    let (address, _serving) = hub.listen(&mesh);
    let spoke = Spoke::start(address, mesh.relay(CLUSTER), nothing(), BEAT);
    spoke.at(&log.view).await;
    let copy = spoke.stop().await;
    for value in 0..200 {
        log.write(2, Some(value));
    }
    log.write(1, None);
    let spoke = Spoke::with(address, mesh.relay(CLUSTER), nothing(), BEAT, copy);
    spoke.at(&log.view).await;
    let copy = spoke.stop().await;
    let copy = copy.lock();
    assert_eq!((copy.snapshots, copy.past.len()), (1, 2), "one step");
    log.check(&copy);
}

/// What goes wrong in a session is healed by the next one, so the cuts' test would not see it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_that_grow_while_they_are_served_need_one_session() {
    let mesh = Mesh::new();
    let settings = ViewSettings { page_bytes: 100, slice_bytes: 500, ..ViewSettings::default() };
    let (mut down, mut up) = (Served::new(1, settings), Served::new(2, settings));
    (0..200).for_each(|number| down.write(number, Some(1)));
    (0..200).for_each(|number| up.write(number, Some(1)));
    let hub = Hub::new(down.view.clone(), BEAT, None);
    let (address, _serving) = hub.listen(&mesh);
    let wire = Wire::to(address).await;
    let spoke = Spoke::start(wire.address, mesh.relay(CLUSTER), up.view.clone(), BEAT);
    for value in 0..300 {
        down.write(1, Some(value));
        up.write(2, Some(value));
        if value % 10 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    let upward = hub.copy(CLUSTER);
    until("both are level", || {
        spoke.copy.lock().held == Some(down.view.position()) && upward.lock().held == Some(up.view.position())
    })
    .await;
    assert_eq!((wire.connections(), hub.introductions.lock().len()), (1, 1));
    down.check(&spoke.stop().await.lock());
    up.check(&upward.lock());
    assert_eq!((hub.counters.snapshots(), upward.lock().snapshots), (1, 1));
}

#[tokio::test]
async fn another_epoch_is_a_snapshot_and_sweeps_what_is_gone() {
    let mesh = Mesh::new();
    let mut log = Served::new(1, ViewSettings::default());
    log.write(1, Some(1));
    let hub = Hub::new(log.view.clone(), BEAT, None);
    let (address, _serving) = hub.listen(&mesh);
    let spoke = Spoke::start(address, mesh.relay(CLUSTER), nothing(), BEAT);
    spoke.at(&log.view).await;
    log.restore();
    log.write(1, None);
    log.write(2, Some(2));
    spoke.at(&log.view).await;
    let copy = spoke.stop().await;
    let copy = copy.lock();
    let names: Vec<_> = copy.contents.iter().map(|object| object.key.name.to_string()).collect();
    assert_eq!(names, ["n2"]);
    assert_eq!(copy.snapshots, 2);
    log.check(&copy);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_herd_shares_one_snapshot() {
    let mesh = Mesh::new();
    let mut log = Served::new(1, ViewSettings { page_bytes: 200, ..ViewSettings::default() });
    (0..100).for_each(|number| log.write(number, Some(1)));
    let hub = Hub::new(log.view.clone(), BEAT, None);
    let (address, _serving) = hub.listen(&mesh);
    let herd: Vec<Spoke> =
        (0..40).map(|number| Spoke::start(address, mesh.relay(Uid([number; 16])), nothing(), BEAT)).collect();
    for spoke in &herd {
        spoke.at(&log.view).await;
    }
    // Those who come while the log goes on get it too: from its place the window leads on.
    log.write(1, Some(2));
    let late = Spoke::start(address, mesh.relay(Uid([99; 16])), nothing(), BEAT);
    late.at(&log.view).await;
    assert_eq!(hub.counters.snapshots(), 41);
    assert_eq!(log.view.snapshots_built(), 1);
    log.check(&late.copy.lock());
}

#[tokio::test]
async fn refusals_go_back_by_name_in_both_directions_and_the_session_goes_on() {
    let mesh = Mesh::new();
    let mut log = Served::new(1, ViewSettings::default());
    let mut own = Served::new(2, ViewSettings::default());
    log.write(1, Some(1));
    let hub = Hub::new(log.view.clone(), BEAT, Some(object(7, 0).key));
    let (address, _serving) = hub.listen(&mesh);
    let spoke = Spoke::start(address, mesh.relay(CLUSTER), own.view.clone(), BEAT);
    spoke.at(&log.view).await;
    let mut advanced = object(5, 1);
    advanced.features = vec!["teleport".into()];
    log.append(vec![Change::Put(advanced.clone()), Change::Put(object(6, 1))]);
    spoke.at(&log.view).await;
    {
        let copy = spoke.copy.lock();
        assert!(copy.contents.get(&advanced.key).is_none() && copy.contents.get(&object(6, 1).key).is_some());
        assert_eq!(
            (copy.refused[0].key.clone(), copy.refused[0].code.as_str()),
            (advanced.key.clone(), code::UNKNOWN_FEATURE)
        );
    }
    let upward = hub.copy(CLUSTER);
    until("the hub hears what the spoke refused", || {
        upward.lock().acks.iter().any(|ack| ack.refused.iter().any(|refusal| refusal.key == advanced.key))
    })
    .await;
    until("the hub holds the snapshot of the spoke's empty log", || upward.lock().held.is_some()).await;
    own.write(7, Some(1));
    until("the spoke hears what the hub refused", || {
        spoke.copy.lock().acks.iter().any(|ack| {
            ack.received == own.view.position() && ack.refused.iter().any(|refusal| refusal.message == "not mine")
        })
    })
    .await;
    assert_eq!(*spoke.state.borrow(), LinkState::Connected);
}

#[tokio::test]
async fn the_newest_statuses_reach_the_hub_now_and_after_a_reconnect() {
    let mesh = Mesh::new();
    let log = Served::new(1, ViewSettings::default());
    let hub = Hub::new(log.view.clone(), BEAT, None);
    let (address, _serving) = hub.listen(&mesh);
    let wire = Wire::to(address).await;
    let spoke = Spoke::start(wire.address, mesh.relay(CLUSTER), nothing(), BEAT);
    let status = |workloads| vec![v1::NodeStatus { node: "n1".into(), workloads, ..v1::NodeStatus::default() }];
    for workloads in 1..4 {
        spoke.statuses.send_replace(status(workloads));
        until("the status", || hub.copy(CLUSTER).lock().statuses == status(workloads)).await;
    }
    hub.copy(CLUSTER).lock().statuses.clear();
    wire.cut();
    until("the status again", || hub.copy(CLUSTER).lock().statuses == status(3)).await;
}

#[tokio::test]
async fn flows_have_a_stream_of_their_own() {
    let mesh = Mesh::new();
    let log = Served::new(1, ViewSettings::default());
    let hub = Hub::new(log.view, BEAT, None);
    let (address, _serving) = hub.listen(&mesh);
    let channel = crate::tls::channel(&address.to_string(), &mesh.relay(CLUSTER)).unwrap();
    let mut client = v1::sync_client::SyncClient::new(channel);
    let batch = |count: usize| v1::FlowBatch { flows: vec![v1::Flow::default(); count], dropped: 3 };
    let batches = futures::stream::iter([batch(2), batch(1)]);
    let summary = within("the report", client.report(batches)).await.unwrap().into_inner();
    assert_eq!(summary.received, 3);
    let flows = hub.flows.lock();
    assert_eq!(flows.iter().map(|(_, batch)| batch.dropped).sum::<u64>(), 6);
    assert_eq!(flows[0].0, crate::pki::Principal::Relay(CLUSTER));
}
