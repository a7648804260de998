//! What grows with time: how much is kept, and how much is read at once.
use axle_core::state::RESTING;

use super::*;

pub(super) async fn addresses_given_up_are_kept(ground: &Ground) {
    let url = ground.url();
    let (store, mut script) = begun(&url).await;
    let address = |number: u32| std::net::IpAddr::V4(number.into());
    let mut at = script.state.position();
    let many = (0..RESTING as u32).map(|number| (address(number), 1));
    // One goes a second time, and one is new: the oldest is forgotten.
    for addresses in [many.collect::<Vec<_>>(), vec![(address(0), 2), (address(1 << 31), 2)]] {
        let record = if at.revision == 0 { script.begin() } else { script.add(1).1 };
        assert!(store.append(at, &Batch::of(&[record]).giving_up(addresses)).await.unwrap());
        at = script.state.position();
    }
    drop(store);
    let loaded = open(&url).await.unwrap().load(1).await.unwrap().given_up;
    assert_eq!(loaded.len(), RESTING);
    assert!(loaded.contains(&(address(0), 2)) && loaded.contains(&(address(1 << 31), 2)));
}

pub(super) async fn old_records_are_forgotten_from_the_beginning_on(ground: &Ground) {
    let (store, mut script) = begun(&ground.url()).await;
    let from = script.state.position();
    let mut records = vec![script.begin()];
    records.extend((1..10).map(|number| script.add(number).1));
    assert!(append(&*store, from, &records).await);
    let before = store.load(100).await.unwrap();
    let time = records[0].time_ms;
    assert_eq!((store.oldest().await.unwrap(), store.forget(time, 0, 100).await.unwrap()), (Some(1), 0), "not older");
    assert_eq!(store.forget(time + 1, 8, 100).await.unwrap(), 2, "the newest eight stay");
    assert_eq!(store.forget(time + 1, 0, 3).await.unwrap(), 3, "so many at once");
    assert_eq!(store.oldest().await.unwrap(), Some(6));
    let after = store.load(100).await.unwrap();
    assert_eq!((after.head, after.objects.len()), (before.head, before.objects.len()), "the objects are all there");
    assert_eq!(after.recent, records[5..]);
    assert_eq!(forgettable(&[(1, 5), (2, 9), (3, 5)], 10, 8, 0), Some(1), "no gap where a clock went back");
}

pub(super) async fn large_records_come_a_few_at_a_time(ground: &Ground) {
    let (store, mut script) = begun(&ground.url()).await;
    let mut at = script.state.position();
    let mut records = vec![script.begin(), script.add(1).1];
    // Four of 6 MiB each, between small ones.
    for number in 2..6 {
        records.push(script.large(number, 6 << 20));
        records.push(script.add(number + 10).1);
    }
    for record in &records {
        assert!(append(&*store, at, std::slice::from_ref(record)).await);
        at = record.position(at.epoch);
    }
    let (mut after, mut forward) = (0, Vec::new());
    let (mut before, mut back) = (u64::MAX, Vec::new());
    for _ in 0..2 {
        let page = store.records_after(after, 100).await.unwrap();
        assert!(page.len() > 2 && page.len() < 8, "{}", page.len());
        after = page.last().unwrap().revision;
        forward.extend(page);
        let page = store.records_before(before, 100).await.unwrap();
        assert!(page.len() > 2 && page.len() < 8, "{}", page.len());
        before = page.last().unwrap().revision;
        back.extend(page);
    }
    back.reverse();
    assert!(forward == records && back == records, "each once, in order");
    assert!(store.load(100).await.unwrap().recent.len() < 8);
}
