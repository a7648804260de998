use proptest::prelude::*;

use super::{
    Change, Contents, Delta, Hash, Position, Record, Retention, Snapshot,
    sketch::{Ops, next, object, objects, ops, start},
};
use crate::model::Uid;

type Past = Vec<(Position, Vec<crate::model::Object>)>;

fn run(revisions: &[Ops]) -> (Contents, Past, Vec<Delta>) {
    let mut contents = start(1);
    let mut past = vec![(contents.position(), vec![])];
    let mut deltas = Vec::new();
    for ops in revisions {
        let delta = next(&contents, ops);
        let _ = contents.apply(&delta).unwrap();
        past.push((contents.position(), objects(&contents)));
        deltas.push(delta);
    }
    (contents, past, deltas)
}

fn copy_at(at: &Position, state: &[crate::model::Object]) -> Contents {
    let mut copy = start(9);
    copy.replace(Snapshot { at: *at, objects: state.to_vec(), origin: None }, &[]);
    copy
}

proptest! {
    #[test]
    fn a_snapshot_and_what_follows_is_the_later_snapshot(revisions in prop::collection::vec(ops(), 1..12), cut in any::<prop::sample::Index>()) {
        let (contents, past, deltas) = run(&revisions);
        let cut = cut.index(past.len());
        let mut copy = copy_at(&past[cut].0, &past[cut].1);
        for delta in &deltas[cut..] {
            let _ = copy.apply(delta).unwrap();
        }
        prop_assert_eq!(objects(&copy), objects(&contents));
        prop_assert_eq!(copy.position(), contents.position());
    }

    #[test]
    fn a_compacted_catch_up_leads_to_the_same_state(revisions in prop::collection::vec(ops(), 1..12), cut in any::<prop::sample::Index>()) {
        let (contents, past, _) = run(&revisions);
        let (at, state) = &past[cut.index(past.len() - 1)];
        let mut copy = copy_at(at, state);
        let catch_up = contents.since(at).unwrap();
        let _ = copy.apply(&catch_up).unwrap();
        prop_assert_eq!(objects(&copy), objects(&contents));
        let puts = catch_up.changes.iter().filter(|change| matches!(change, Change::Put(_)));
        let keys: Vec<_> = puts.map(Change::key).collect();
        prop_assert!(keys.windows(2).all(|pair| pair[0] < pair[1]), "each object once, in order");
    }

    #[test]
    fn a_log_restored_from_its_parts_serves_the_same(revisions in prop::collection::vec(ops(), 1..12)) {
        let (contents, past, _) = run(&revisions);
        let (entries, history, tombstones) = contents.parts();
        let restored = Contents::restore(contents.position(), contents.origin(), entries, &history, tombstones);
        for (at, _) in &past[..past.len() - 1] {
            // Where a key was deleted more than once, the order of its tombstones is free.
            let sorted = |contents: &Contents| {
                let mut delta = contents.since(at).unwrap();
                delta.changes.sort_by_key(|change| format!("{change:?}"));
                delta
            };
            prop_assert_eq!(sorted(&restored), sorted(&contents));
        }
    }

    #[test]
    fn undoing_leaves_no_trace(revisions in prop::collection::vec(ops(), 1..8), last in ops()) {
        let (mut contents, _, _) = run(&revisions);
        let before = contents.parts();
        let at = contents.position();
        let applied = contents.apply(&next(&contents.clone(), &last)).unwrap();
        contents.undo(applied);
        prop_assert_eq!(contents.parts(), before);
        prop_assert_eq!(contents.position(), at);
        let delta = next(&contents, &last);
        prop_assert!(contents.apply(&delta).is_ok());
        prop_assert_eq!(contents.since(&at).map(|delta| delta.to), Some(delta.to));
    }

    #[test]
    fn what_is_forgotten_is_refused_and_the_rest_is_right(revisions in prop::collection::vec(ops(), 1..16), steps in 1_usize..6, keys in 1_usize..8) {
        let mut contents = start(1).keeping(Retention { steps, keys });
        let mut past = vec![(contents.position(), vec![])];
        for ops in &revisions {
            let _ = contents.apply(&next(&contents.clone(), ops)).unwrap();
            past.push((contents.position(), objects(&contents)));
        }
        for (at, state) in &past {
            if let Some(catch_up) = contents.since(at).filter(|delta| delta.to != *at) {
                let mut copy = copy_at(at, state);
                let _ = copy.apply(&catch_up).unwrap();
                prop_assert_eq!(objects(&copy), objects(&contents));
            }
        }
        prop_assert!(contents.remembers(&contents.position()));
        prop_assert!(past.iter().filter(|(at, _)| contents.remembers(at)).count() <= steps);
    }
}

#[test]
fn another_past_or_epoch_is_not_remembered() {
    let (contents, past, _) = run(&[vec![], vec![], vec![]]);
    let (at, _) = &past[1];
    assert!(contents.remembers(at));
    assert!(!contents.remembers(&Position { hash: Hash([1; 32]), ..*at }));
    assert!(!contents.remembers(&Position { epoch: Uid([2; 16]), ..*at }));
    assert!(!contents.remembers(&Position { revision: 9, ..*at }));
}

#[test]
fn a_delta_must_begin_where_the_log_stands() {
    let (mut contents, _, deltas) = run(&[vec![], vec![]]);
    let error = contents.apply(&deltas[0]).unwrap_err();
    assert_eq!((error.at.revision, error.from, error.to), (2, 0, 1));
    let mut foreign = next(&contents, &vec![]);
    foreign.to.epoch = Uid([5; 16]);
    assert!(contents.apply(&foreign).is_err());
    assert_eq!(contents.position().revision, 2);
}

#[test]
fn a_refused_object_of_a_snapshot_stays_as_it_was() {
    let (mut contents, _, _) = run(&[]);
    let first = next(&contents, &vec![(1, super::sketch::Op::Write(1)), (2, super::sketch::Op::Write(1))]);
    let _ = contents.apply(&first).unwrap();
    let refusal = crate::refusal::Refusal {
        key: super::sketch::key(1),
        revision: 2,
        code: crate::refusal::code::UNKNOWN_FEATURE.into(),
        message: String::new(),
    };
    let at = Position { revision: 8, ..contents.position() };
    let changes = contents.replace(Snapshot { at, objects: vec![], origin: None }, &[refusal]);
    assert_eq!(changes.iter().map(Change::key).collect::<Vec<_>>(), [&super::sketch::key(2)]);
    assert_eq!(contents.iter().map(|object| &object.key).collect::<Vec<_>>(), [&super::sketch::key(1)]);
}

/// On disk for ever: if this fails, the canonical form has changed, and every log written before is broken.
#[test]
fn golden_hashes() {
    let record = Record {
        revision: 0,
        hash: Hash::default(),
        time_ms: 1_700_000_000_000,
        actor: "user:alice".into(),
        request_id: "r-1".into(),
        action: "policy apply web".into(),
        changes: vec![Change::Put(object(1, 2, 3)), Change::Delete { key: super::sketch::key(2), uid: Uid([4; 16]) }],
        intake: Some(super::Intake { cluster: Uid([5; 16]), position: Position::default() }),
    };
    let before = Position { epoch: Uid([1; 16]), revision: 41, hash: Hash([9; 32]) };
    let sealed = record.sealed(&before);
    assert_eq!(sealed.revision, 42);
    assert_eq!(sealed.hash_after(before.hash), sealed.hash);
    assert_eq!(sealed.hash.to_string(), "5122b7add828f16251a991f6cd99a37c99d8da55bd9622da0ded8732e252aa62");
    let delta = Delta::next(&before, sealed.changes.clone(), Some(sealed.position(Uid([6; 16]))));
    assert_eq!(delta.to.hash.to_string(), "c8fc2bfacc1eab6a437cd6e1efa1b4db9e4dfba2cc7d6a55ce1356ccf9642064");

    let mut other = sealed.clone();
    other.request_id = "r-2".into();
    assert_ne!(other.hash_after(before.hash), sealed.hash, "every field counts");
}
