//! A log whose leaders come one after the other, each with a copy of the one before that may lack its last words; and a
//! reader that comes to whichever of them, also to one that does not know yet that it leads no more.
use super::*;
use crate::{
    log::{Epoch, Hash, Snapshot},
    session::superseded_by,
};

/// One replica and its log.
struct Replica {
    source: Source,
    term: u32,
}

impl Replica {
    fn take(&mut self, delta: &Delta) {
        let _ = self.source.contents.apply(delta).unwrap();
        self.source.window.push_back(delta.clone());
    }

    fn lead(&mut self, term: u32) {
        let first = Delta::led(&self.source.contents.position(), term, None).unwrap();
        self.take(&first);
        self.term = term;
    }

    /// Becomes a copy of the other.
    fn copy(&mut self, of: &Self) {
        let at = of.source.contents.position();
        let objects = objects(&of.source.contents);
        self.source.contents.replace(Snapshot { at, objects, origin: None }, &[]);
        self.source.window.clear();
    }
}

#[derive(Debug, Clone)]
enum Event {
    /// Whoever leads writes; so does who led before, if it is still there.
    Write(bool, Ops),
    /// The copy comes as far as the leader.
    Copy,
    /// The one with the copy leads. The one before goes on alone.
    TakeOver,
    /// It hears of that and stands by.
    StandBy,
    /// The reader comes to whoever leads, or to who led before, and is served so many frames.
    Read(bool, usize),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (prop::bool::weighted(0.8), ops()).prop_map(|(leader, ops)| Event::Write(leader, ops)),
        4 => Just(Event::Copy),
        2 => Just(Event::TakeOver),
        2 => Just(Event::StandBy),
        6 => (prop::bool::weighted(0.7), 0_usize..8).prop_map(|(leader, frames)| Event::Read(leader, frames)),
    ]
}

struct Play {
    replicas: [Replica; 2],
    leader: usize,
    /// Whether the other one believes that it leads.
    is_split: bool,
    term: u32,
    /// What was at each place, ever. Only a hash tells what two leaders wrote after one place.
    past: BTreeMap<(Epoch, u64, Hash), Vec<Object>>,
    reader: Copy,
}

impl Play {
    fn new(width: usize) -> Self {
        let retention = Retention { steps: 8, keys: 64 };
        let replica = || Replica { source: Source::new(width, 2, retention), term: 0 };
        let reader = Copy { contents: start(0), held: None };
        let mut play = Self {
            replicas: [replica(), replica()],
            leader: 0,
            is_split: false,
            term: 0,
            past: BTreeMap::new(),
            reader,
        };
        play.note(0);
        play
    }

    fn note(&mut self, who: usize) {
        let contents = &self.replicas[who].source.contents;
        let at = contents.position();
        self.past.insert((at.epoch, at.revision, at.hash), objects(contents));
    }

    fn play(&mut self, event: Event) -> Result<(), TestCaseError> {
        let other = 1 - self.leader;
        match event {
            Event::Write(leader, ops) => {
                let who = if leader { self.leader } else { other };
                if leader || self.is_split {
                    let delta = next(&self.replicas[who].source.contents, &ops);
                    self.replicas[who].take(&delta);
                    self.note(who);
                }
            }
            Event::Copy if !self.is_split => {
                let [one, two] = &mut self.replicas;
                let (from, to) = if self.leader == 0 { (one, two) } else { (two, one) };
                let at = to.source.contents.position();
                match from.source.contents.since(&at) {
                    // Revision by revision where that is at hand.
                    Some(_) if from.source.window.front().is_some_and(|first| first.from <= at.revision) => {
                        let later: Vec<Delta> =
                            from.source.window.iter().filter(|delta| delta.from >= at.revision).cloned().collect();
                        later.iter().for_each(|delta| to.take(delta));
                    }
                    Some(delta) if delta.from < delta.to.revision => to.take(&delta),
                    Some(_) => {}
                    None => to.copy(from),
                }
            }
            Event::TakeOver if !self.is_split => {
                self.term += 1;
                self.replicas[other].lead(self.term);
                (self.leader, self.is_split) = (other, true);
                self.note(other);
            }
            Event::StandBy => self.is_split = false,
            Event::Read(leader, frames) => {
                self.read(if leader || !self.is_split { self.leader } else { other }, frames)?
            }
            Event::Copy | Event::TakeOver => {}
        }
        Ok(())
    }

    fn read(&mut self, who: usize, frames: usize) -> Result<(), TestCaseError> {
        let Replica { source, term } = &self.replicas[who];
        let held = self.reader.held;
        let goes_on = held.is_some_and(|held| source.contents.remembers(&held));
        let (mut sender, mut receiver) = (Sender::new(held), self.reader.receiver());
        for frame in std::iter::repeat_with(|| source.frames(&mut sender)).take(frames).flatten().collect::<Vec<_>>() {
            let is_whole = matches!(frame, Frame::Page(_));
            prop_assert!(!(is_whole && goes_on), "who is on the leader's way goes on from there");
            let before = self.reader.held;
            match self.reader.take(&mut receiver, frame) {
                Ok(true) => {
                    let at = self.reader.held.unwrap();
                    prop_assert_eq!(&objects(&self.reader.contents), &self.past[&(at.epoch, at.revision, at.hash)]);
                    prop_assert!(
                        before.is_none_or(|before| before.term() <= at.term()),
                        "never back to a former leader"
                    );
                }
                Ok(false) => {}
                Err(fault) => {
                    prop_assert!(matches!(fault, Fault::Superseded { .. }), "{fault}");
                    prop_assert_eq!(superseded_by(&fault.to_string()), held.map(|held| held.term()));
                    prop_assert!(held.unwrap().term() > *term, "{fault}");
                    break;
                }
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever the copy lacked, whoever the reader came to: it holds only what some leader had at that place, never goes
    /// back to a former one, begins anew only where its place is not on the way, and ends where the last leader is.
    #[test]
    fn a_reader_of_leaders_is_never_led_astray(events in prop::collection::vec(event(), 0..80), width in 0_usize..6) {
        let mut play = Play::new(width);
        for event in events {
            play.play(event)?;
            for replica in &mut play.replicas {
                while replica.source.window.len() > width {
                    replica.source.window.pop_front();
                }
            }
        }
        play.read(play.leader, 40)?;
        prop_assert_eq!(play.reader.held, Some(play.replicas[play.leader].source.contents.position()));
    }
}
