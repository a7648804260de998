use std::time::Duration;

use axle_core::model::Uid;
use proptest::prelude::*;

use super::{
    rig::{Hub, Mesh, Served, Spoke, until},
    wire::Wire,
};
use crate::sync::ViewSettings;

#[derive(Debug, Clone)]
enum Event {
    /// The hub's log grows by this many revisions.
    Down(u8, u8),
    /// The spoke's own log grows.
    Up(u8, u8),
    Cut,
    /// Connections made from now on are cut after so many bytes.
    CutAfter(Option<u16>),
    RestoreHub,
    RestoreSpoke,
    /// Let things happen until both sides are level, or do not.
    Level,
    Breathe(u8),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (any::<u8>(), 1_u8..20).prop_map(|(seed, count)| Event::Down(seed, count)),
        4 => (any::<u8>(), 1_u8..20).prop_map(|(seed, count)| Event::Up(seed, count)),
        4 => Just(Event::Cut),
        3 => prop::option::weighted(0.7, 3000_u16..9000).prop_map(Event::CutAfter),
        1 => Just(Event::RestoreHub),
        1 => Just(Event::RestoreSpoke),
        2 => Just(Event::Level),
        4 => (0_u8..6).prop_map(Event::Breathe),
    ]
}

fn grow(log: &mut Served, seed: u8, count: u8) {
    for i in 0..count {
        let number = seed.wrapping_mul(31).wrapping_add(i.wrapping_mul(7)) % 24;
        let value = (i % 4 != 3).then_some(u32::from(seed) << 8 | u32::from(i));
        log.write(number, value);
    }
}

async fn run(events: &[Event], window_bytes: usize) {
    let mesh = Mesh::new();
    let cluster = Uid([0xaa; 16]);
    let small = ViewSettings { slice_bytes: 700, page_bytes: 300, ..ViewSettings::default() };
    let settings = ViewSettings { window_bytes, coalesce: Duration::from_millis(1), ..small };
    let (mut down, mut up) = (Served::new(1, settings), Served::new(2, settings));
    let beat = Duration::from_secs(2);
    let hub = Hub::new(down.view.clone(), beat, None);
    let (address, _serving) = hub.listen(&mesh);
    let wire = Wire::to(address).await;
    let spoke = Spoke::start(wire.address, mesh.relay(cluster), up.view.clone(), beat);
    let upward = hub.copy(cluster);
    for event in events {
        match *event {
            Event::Down(seed, count) => grow(&mut down, seed, count),
            Event::Up(seed, count) => grow(&mut up, seed, count),
            Event::Cut => wire.cut(),
            Event::CutAfter(bytes) => wire.cut_after(bytes.map(usize::from)),
            Event::RestoreHub => down.restore(),
            Event::RestoreSpoke => up.restore(),
            Event::Level => {
                wire.cut_after(None);
                wire.cut();
                spoke.at(&down.view).await;
                until("the hub is level", || upward.lock().held == Some(up.view.position())).await;
            }
            Event::Breathe(ms) => tokio::time::sleep(Duration::from_millis(ms.into())).await,
        }
    }
    wire.cut_after(None);
    wire.cut();
    spoke.at(&down.view).await;
    until("the hub is level", || upward.lock().held == Some(up.view.position())).await;
    let copy = spoke.stop().await;
    down.check(&copy.lock());
    up.check(&upward.lock());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Over real mTLS and gRPC: whatever is cut and whenever, in both directions, the copies go only through states that
    /// the logs had, forward, and end level.
    #[test]
    fn sessions_never_lose_or_double(events in prop::collection::vec(event(), 1..30), window_bytes in prop_oneof![Just(0_usize), 500_usize..4000, Just(1 << 20)]) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(run(&events, window_bytes));
    }
}
