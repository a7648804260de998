use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::{Digest, Effect, Fault, Frame, Limits, Marker, Page, Reach, Receiver, Sender, Step, negotiate};
use crate::{
    log::{
        Change, Contents, Delta, Position, Retention,
        sketch::{Ops, Text, next, object, objects, ops, start},
    },
    model::{Envelope, Object},
    refusal::code,
};

/// A log and how much of it is at hand, as a sender sees it.
struct Source {
    contents: Contents,
    window: VecDeque<Delta>,
    width: usize,
    page: usize,
    /// What was at each position, ever.
    past: BTreeMap<(u8, u64), Vec<Object>>,
}

impl Source {
    fn new(width: usize, page: usize, retention: Retention) -> Self {
        let contents = start(1).keeping(retention);
        let mut source = Self { contents, window: VecDeque::new(), width, page, past: BTreeMap::new() };
        source.note();
        source
    }

    fn note(&mut self) {
        let at = self.contents.position();
        self.past.insert((at.epoch.0[0], at.revision), objects(&self.contents));
    }

    fn grow(&mut self, ops: &Ops) {
        let delta = next(&self.contents, ops);
        let _ = self.contents.apply(&delta).unwrap();
        self.window.push_back(delta);
        while self.window.len() > self.width {
            self.window.pop_front();
        }
        self.note();
    }

    /// A restore: the same objects, another epoch.
    fn restore(&mut self) {
        let mut at = self.contents.position();
        at.epoch.0[0] += 1;
        let (entries, _, _) = self.contents.parts();
        self.contents = Contents::restore(at, None, entries, &[], vec![]);
        self.window.clear();
        self.note();
    }

    fn reach(&self, at: &Position) -> Reach {
        if *at == self.contents.position() {
            Reach::Head
        } else if !self.contents.remembers(at) {
            Reach::Nothing
        } else if self.window.front().is_some_and(|oldest| oldest.from <= at.revision) {
            Reach::Follow
        } else {
            Reach::CatchUp
        }
    }

    fn frames(&self, sender: &mut Sender) -> Vec<Frame> {
        match sender.step(|at| self.reach(at)) {
            Step::Wait => vec![],
            Step::Follow(at) => {
                let delta = self.window.iter().find(|delta| delta.from == at.revision).unwrap();
                sender.sent(delta.to);
                vec![Frame::Delta(wire(delta))]
            }
            Step::CatchUp(at) => {
                let delta = self.contents.since(&at).unwrap();
                sender.sent(delta.to);
                vec![Frame::Delta(wire(&delta))]
            }
            Step::Snapshot => {
                sender.sent(self.contents.position());
                snapshot(&self.contents, self.page)
            }
        }
    }
}

fn wire(delta: &Delta) -> Delta<Envelope> {
    let change = |change: &Change| match change {
        Change::Put(object) => Change::Put(object.envelope()),
        Change::Delete { key, uid } => Change::Delete { key: key.clone(), uid: *uid },
    };
    Delta { from: delta.from, to: delta.to, changes: delta.changes.iter().map(change).collect(), origin: delta.origin }
}

fn snapshot(contents: &Contents, page: usize) -> Vec<Frame> {
    let (at, all) = (contents.position(), objects(contents));
    let mut digest = Digest::default();
    all.iter().for_each(|object| digest.add(&object.key, &object.uid, &object.payload));
    let mut pages: Vec<Vec<Envelope>> =
        all.chunks(page).map(|chunk| chunk.iter().map(Object::envelope).collect()).collect();
    if pages.is_empty() {
        pages.push(vec![]);
    }
    let count = all.len() as u64;
    let pages = pages.into_iter().zip(0..).map(|(objects, index)| Frame::Page(Page { at, index, objects }));
    pages.chain([Frame::Marker(Marker { at, count, digest: digest.finish(), origin: None })]).collect()
}

/// A reader's copy that survives its sessions.
struct Copy {
    contents: Contents,
    held: Option<Position>,
}

impl Copy {
    fn receiver(&self) -> Receiver {
        Receiver::new(self.held, &[], Limits::default())
    }

    /// Takes a frame; whether the copy moved.
    fn take(&mut self, receiver: &mut Receiver, frame: Frame) -> Result<bool, Fault> {
        match receiver.receive(frame, &Text)? {
            Effect::Nothing | Effect::Head(_) => return Ok(false),
            Effect::Apply(delta) => {
                assert!(delta.refused.is_empty());
                let _ = self.contents.apply(&delta.taken).expect("the receiver lets only joining deltas through");
            }
            Effect::Replace(snapshot) => drop(self.contents.replace(snapshot.taken, &snapshot.refused)),
        }
        self.held = Some(self.contents.position());
        Ok(true)
    }
}

#[derive(Debug, Clone)]
enum Event {
    Grow(Ops),
    Send,
    Deliver,
    /// What is under way is lost, and the reader comes again with what it holds.
    Cut,
    Restore,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => ops().prop_map(Event::Grow),
        6 => Just(Event::Send),
        8 => Just(Event::Deliver),
        2 => Just(Event::Cut),
        1 => Just(Event::Restore),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever is cut and whenever: the copy goes only through states that the log had, forward, and ends at its head.
    #[test]
    fn resume_never_loses_or_doubles(
        events in prop::collection::vec(event(), 0..80),
        width in 0_usize..6,
        page in 1_usize..4,
        steps in 1_usize..12,
    ) {
        let mut source = Source::new(width, page, Retention { steps, keys: 16 });
        let mut copy = Copy { contents: start(0), held: None };
        let (mut sender, mut receiver) = (Sender::new(copy.held), copy.receiver());
        let mut way: VecDeque<Frame> = VecDeque::new();
        let closing = [Event::Cut].into_iter().chain(std::iter::repeat_n([Event::Send, Event::Deliver], 200).flatten());
        for event in events.into_iter().chain(closing) {
            match event {
                Event::Grow(ops) => source.grow(&ops),
                Event::Restore => source.restore(),
                Event::Send => way.extend(source.frames(&mut sender)),
                Event::Cut => {
                    way.clear();
                    (sender, receiver) = (Sender::new(copy.held), copy.receiver());
                }
                Event::Deliver => {
                    let Some(frame) = way.pop_front() else { continue };
                    let before = copy.held;
                    if copy.take(&mut receiver, frame).unwrap() {
                        let at = copy.held.unwrap();
                        prop_assert_eq!(&objects(&copy.contents), &source.past[&(at.epoch.0[0], at.revision)]);
                        prop_assert!(before.is_none_or(|before| (before.epoch, before.revision) < (at.epoch, at.revision)));
                    }
                }
            }
        }
        prop_assert_eq!(copy.held, Some(source.contents.position()));
    }
}

fn log_of(count: u8) -> Source {
    let mut source = Source::new(8, 2, Retention::default());
    (0..count).for_each(|number| source.grow(&vec![(number, crate::log::sketch::Op::Write(number))]));
    source
}

fn fed(frames: Vec<Frame>) -> Result<Effect, Fault> {
    let mut receiver = Receiver::new(None, &[], Limits::default());
    let mut last = Effect::Nothing;
    for frame in frames {
        last = receiver.receive(frame, &Text)?;
    }
    Ok(last)
}

#[test]
fn a_gap_is_refused_and_nothing_moves() {
    let source = log_of(3);
    let held = Position { revision: 1, ..start(1).position() };
    let mut receiver = Receiver::new(Some(held), &[], Limits::default());
    let error = receiver.receive(Frame::Delta(wire(&source.window[2])), &Text).unwrap_err();
    assert_eq!(error, Fault::Gap { from: 2, held: 1 });
    assert_eq!(receiver.held(), Some(held));
    // The same delta twice does not double.
    assert!(receiver.receive(Frame::Delta(wire(&source.window[1])), &Text).is_ok());
    let error = receiver.receive(Frame::Delta(wire(&source.window[1])), &Text).unwrap_err();
    assert_eq!(error, Fault::Gap { from: 1, held: 2 });
}

#[test]
fn deltas_of_another_epoch_or_before_a_snapshot_are_refused() {
    let source = log_of(1);
    let delta = || Frame::Delta(wire(&source.window[0]));
    let mut receiver = Receiver::new(None, &[], Limits::default());
    assert_eq!(receiver.receive(delta(), &Text), Err(Fault::NothingHeld { from: 0 }));
    let mut receiver = Receiver::new(Some(start(2).position()), &[], Limits::default());
    assert!(matches!(receiver.receive(delta(), &Text), Err(Fault::Epoch { .. })));
}

#[test]
fn a_snapshot_is_taken_only_whole() {
    let source = log_of(5);
    let frames = snapshot(&source.contents, 2);
    assert!(matches!(fed(frames.clone()), Ok(Effect::Replace(it)) if it.taken.objects.len() == 5));
    for lost in 0..frames.len() - 1 {
        let mut some = frames.clone();
        some.remove(lost);
        assert!(fed(some).is_err(), "page {lost} is lost");
    }
    for (what, spoil) in [
        ("count", (|marker: &mut Marker| marker.count += 1) as fn(&mut Marker)),
        ("digest", |marker| marker.digest.0[0] ^= 1),
        ("position", |marker| marker.at.revision += 1),
    ] {
        let mut spoilt = frames.clone();
        if let Some(Frame::Marker(marker)) = spoilt.last_mut() {
            spoil(marker);
        }
        assert!(fed(spoilt).is_err(), "{what}");
    }
    let mut swapped = frames.clone();
    swapped.swap(0, 1);
    assert!(fed(swapped).is_err());
    // A payload that changed on the way.
    let mut garbled = frames;
    if let Frame::Page(page) = &mut garbled[0] {
        page.objects[0].payload = object(0, 1, 99).payload;
    }
    assert!(matches!(fed(garbled), Err(Fault::Marker { .. })));
}

#[test]
fn a_delta_inside_a_snapshot_is_refused() {
    let source = log_of(2);
    let mut frames = snapshot(&source.contents, 1);
    frames.insert(1, Frame::Delta(wire(&source.window[0])));
    assert!(matches!(fed(frames), Err(Fault::Snapshot(_))));
}

#[test]
fn a_snapshot_that_begins_again_replaces_the_one_under_way() {
    let source = log_of(3);
    let mut frames = snapshot(&source.contents, 1)[..2].to_vec();
    frames.extend(snapshot(&source.contents, 2));
    assert!(matches!(fed(frames), Ok(Effect::Replace(it)) if it.taken.objects.len() == 3));
}

#[test]
fn an_unknown_feature_refuses_that_object_by_name_and_the_rest_goes_on() {
    let source = log_of(2);
    let mut delta =
        next(&source.contents, &vec![(3, crate::log::sketch::Op::Write(1)), (4, crate::log::sketch::Op::Write(1))]);
    if let Change::Put(object) = &mut delta.changes[0] {
        object.features = vec!["teleport".into()];
        object.payload = "not understood".into();
    }
    let mut receiver = Receiver::new(Some(source.contents.position()), &[], Limits::default());
    let Effect::Apply(intake) = receiver.receive(Frame::Delta(wire(&delta)), &Text).unwrap() else { panic!("a delta") };
    assert_eq!(intake.taken.changes, delta.changes[1..]);
    assert_eq!(intake.refused[0].key, *delta.changes[0].key());
    assert_eq!(intake.refused[0].code, code::UNKNOWN_FEATURE);
    assert!(intake.refused[0].message.contains("teleport"), "{}", intake.refused[0]);
    assert_eq!(receiver.held(), Some(delta.to));
    // Known, but unreadable: refused as well, for what it is.
    let mut receiver = Receiver::new(Some(source.contents.position()), &["teleport"], Limits::default());
    let Effect::Apply(intake) = receiver.receive(Frame::Delta(wire(&delta)), &Text).unwrap() else { panic!("a delta") };
    assert_eq!(intake.refused[0].code, code::INVALID_OBJECT);
}

#[test]
fn an_object_under_a_name_that_is_not_its_own_is_refused() {
    let mut envelope = object(1, 1, 1).envelope();
    envelope.key = object(2, 1, 1).key;
    assert!(envelope.open(&Text).unwrap_err().contains("filed under its own name"));
}

#[test]
fn too_much_is_refused_before_it_is_gathered() {
    let source = log_of(5);
    for limits in [Limits { objects: 4, ..Limits::default() }, Limits { bytes: 10, ..Limits::default() }] {
        let mut receiver = Receiver::new(None, &[], limits);
        let mut frames = snapshot(&source.contents, 1).into_iter();
        assert!(frames.any(|frame| matches!(receiver.receive(frame, &Text), Err(Fault::TooMuch { .. }))));
        let catch_up = source.contents.since(&start(1).position()).unwrap();
        let mut receiver = Receiver::new(Some(start(1).position()), &[], limits);
        assert!(matches!(receiver.receive(Frame::Delta(wire(&catch_up)), &Text), Err(Fault::TooMuch { .. })));
    }
}

#[test]
fn versions_that_do_not_meet_are_refused_with_both_ranges() {
    assert_eq!(negotiate(1, 1), Ok(1));
    assert_eq!(negotiate(1, 7), Ok(1));
    assert!(negotiate(2, 7).unwrap_err().contains("2 to 7"));
    assert!(negotiate(0, 0).is_err());
}

#[test]
fn the_wait_before_a_reconnect_doubles_up_to_its_cap_and_spreads() {
    use std::time::Duration;
    let mut backoff = super::Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
    let ceilings: Vec<u128> = (0..6).map(|_| backoff.next(u64::MAX).as_millis()).collect();
    assert_eq!(ceilings, [99, 199, 399, 799, 999, 999]);
    assert_eq!(backoff.next(0), Duration::ZERO);
    backoff.reset();
    assert_eq!(backoff.next(1 << 63), Duration::from_millis(50));
}

mod leaders;
