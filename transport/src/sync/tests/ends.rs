use std::time::{Duration, Instant};

use axle_core::model::Uid;
use axle_proto::{convert, v1};
use tokio_util::sync::CancellationToken;

use super::{
    rig::{Hub, Mesh, SOON, Served, Spoke, until, within},
    wire::Wire,
};
use crate::{
    sync::{Goodbye, LinkState, ViewSettings},
    tls::channel,
};

const CLUSTER: Uid = Uid([0xaa; 16]);

fn served() -> Served {
    Served::new(1, ViewSettings::default())
}

fn nothing() -> std::sync::Arc<crate::sync::View> {
    Served::new(9, ViewSettings::default()).view
}

#[tokio::test]
async fn both_sides_notice_a_silent_peer_and_meet_again() {
    let mesh = Mesh::new();
    let mut log = served();
    let beat = Duration::from_millis(100);
    let hub = Hub::new(log.view.clone(), beat, None);
    let (address, _serving) = hub.listen(&mesh);
    let wire = Wire::to(address).await;
    let spoke = Spoke::start(wire.address, mesh.relay(CLUSTER), nothing(), beat);
    spoke.at(&log.view).await;
    until("the hub's session", || hub.copy(CLUSTER).lock().sessions == 1).await;
    let before = wire.connections();
    wire.swallow();
    log.write(1, Some(1));
    spoke.at(&log.view).await;
    assert!(wire.connections() > before, "over another connection");
    until("the hub let the dead session go", || hub.copy(CLUSTER).lock().sessions == 1).await;
    assert_eq!(hub.counters.snapshots(), 1, "and no full sync was needed");
}

#[tokio::test]
async fn a_quiet_session_lives_and_tells_the_head() {
    let mesh = Mesh::new();
    let log = served();
    let beat = Duration::from_millis(100);
    let hub = Hub::new(log.view.clone(), beat, None);
    let (address, _serving) = hub.listen(&mesh);
    let wire = Wire::to(address).await;
    let spoke = Spoke::start(wire.address, mesh.relay(CLUSTER), nothing(), beat);
    spoke.at(&log.view).await;
    for _ in 0..8 {
        spoke.copy.lock().head = None;
        until("a heartbeat", || spoke.copy.lock().head == Some(log.view.position())).await;
    }
    assert_eq!(wire.connections(), 1, "longer than the patience, over one connection");
}

#[tokio::test]
async fn who_is_turned_away_says_why_and_comes_again_when_told() {
    let mesh = Mesh::new();
    let log = served();
    let hub = Hub::new(log.view.clone(), SOON, None);
    let wait = Duration::from_millis(300);
    hub.turn_away.lock().push(Goodbye { reason: "full house".into(), retry_after: wait });
    let (address, _serving) = hub.listen(&mesh);
    let begun = Instant::now();
    let mut spoke = Spoke::start(address, mesh.relay(CLUSTER), nothing(), SOON);
    let turned = |state: &LinkState| matches!(state, LinkState::Waiting { reason } if reason == "full house");
    within("the reason", spoke.state.wait_for(turned)).await.unwrap();
    spoke.at(&log.view).await;
    assert!(begun.elapsed() >= wait);
    assert_eq!(*spoke.state.borrow(), LinkState::Connected);
}

#[tokio::test]
async fn the_host_ends_a_session_and_the_spoke_resumes() {
    let mesh = Mesh::new();
    let mut log = served();
    let hub = Hub::new(log.view.clone(), SOON, None);
    let (address, _serving) = hub.listen(&mesh);
    let spoke = Spoke::start(address, mesh.relay(CLUSTER), nothing(), SOON);
    spoke.at(&log.view).await;
    std::mem::replace(&mut *hub.end.lock(), CancellationToken::new()).cancel();
    until("a second session", || hub.introductions.lock().len() == 2).await;
    log.write(1, Some(1));
    spoke.at(&log.view).await;
    assert_eq!((hub.counters.snapshots(), hub.counters.resumes()), (1, 1));
}

#[tokio::test]
async fn a_hub_that_is_away_for_a_while_is_found_again() {
    let mesh = Mesh::new();
    let mut log = served();
    let hub = Hub::new(log.view.clone(), SOON, None);
    let (address, serving) = hub.listen(&mesh);
    let wire = Wire::to(address).await;
    let mut spoke = Spoke::start(wire.address, mesh.relay(CLUSTER), nothing(), SOON);
    spoke.at(&log.view).await;
    drop(serving);
    let away = |state: &LinkState| matches!(state, LinkState::Waiting { .. });
    within("it notices", spoke.state.wait_for(away)).await.unwrap();
    log.write(1, Some(1));
    // The same port again.
    let mesh_listener = within("the port", async {
        loop {
            match std::net::TcpListener::bind(address) {
                Ok(listener) => return listener,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    })
    .await;
    drop(mesh_listener);
    let _serving = hub.listen_at(&mesh, address);
    spoke.at(&log.view).await;
    assert_eq!(hub.counters.snapshots(), 1);
}

async fn refused(messages: Vec<v1::SpokeMessage>, known: bool) -> String {
    let mesh = Mesh::new();
    let log = served();
    let hub = Hub::new(log.view.clone(), SOON, None);
    let (address, _serving) = hub.listen(&mesh);
    let tls = if known { mesh.relay(CLUSTER) } else { mesh.nobody() };
    let mut client = v1::sync_client::SyncClient::new(channel(&address.to_string(), &tls).unwrap());
    // The request stays open: what ends the session is what was said.
    let request = futures::StreamExt::chain(futures::stream::iter(messages), futures::stream::pending());
    let mut answers = match within("an answer", client.sync(request)).await {
        Err(status) => return status.message().to_owned(),
        Ok(answers) => answers.into_inner(),
    };
    loop {
        match within("a goodbye", answers.message()).await {
            Err(status) => return status.message().to_owned(),
            Ok(Some(v1::HubMessage { message: Some(v1::hub_message::Message::Goodbye(goodbye)), .. })) => {
                return goodbye.reason;
            }
            Ok(Some(_)) => {}
            Ok(None) => panic!("ended without a word"),
        }
    }
}

fn hello(min: u32, max: u32) -> v1::SpokeMessage {
    let hello = v1::Hello { min_version: min, max_version: max, ..v1::Hello::default() };
    v1::SpokeMessage { deltas: vec![], message: Some(v1::spoke_message::Message::Hello(hello)) }
}

#[tokio::test]
async fn a_spoke_that_breaks_the_protocol_is_told_how() {
    let log = served();
    let at = Some(convert::position_to_wire(&log.view.position()));
    let delta = v1::Delta { from: 4, to: at.clone(), changes: vec![], origin: None };
    let gap = v1::SpokeMessage { deltas: vec![delta], message: None };
    let marker = v1::SyncMarker { at, count: 1, digest: vec![0; 32].into(), origin: None };
    let marker = v1::SpokeMessage { deltas: vec![], message: Some(v1::spoke_message::Message::Marker(marker)) };
    let garbled = v1::SpokeMessage { deltas: vec![v1::Delta::default()], message: None };
    for (messages, known, reason) in [
        (vec![hello(1, 1)], false, "no client certificate"),
        (vec![gap.clone()], true, "wanted hello"),
        (vec![hello(7, 9)], true, "protocol versions 7 to 9"),
        (vec![hello(1, 1), hello(1, 1)], true, "a second hello"),
        (vec![hello(1, 1), gap], true, "nothing is held"),
        (vec![hello(1, 1), marker], true, "a marker came without pages"),
        (vec![hello(1, 1), garbled], true, "to: got nothing"),
    ] {
        let said = refused(messages, known).await;
        assert!(said.contains(reason), "{said:?} does not say {reason:?}");
    }
}
