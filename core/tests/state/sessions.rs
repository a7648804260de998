//! A spoke with more than one session: half-open ones, and ones on other hubs, whose last words come late.
use std::collections::{BTreeMap, VecDeque};

use axle_core::{
    log::{Change, Contents, Delta, Position, Snapshot},
    model::{Kind, Object, Uid},
    state::Command,
};
use proptest::prelude::*;

use super::common::{Hub, endpoint, gone, put, uid};

/// A cluster's own log, and what was in it at each place.
struct Spoke {
    cluster: Uid,
    log: Contents,
    past: BTreeMap<(Uid, u64), Vec<Object>>,
}

/// One session: what it knows to be taken in, and what is under way to the hub.
#[derive(Default)]
struct Session {
    held: Option<Position>,
    cursor: Option<Position>,
    way: VecDeque<Command>,
}

impl Spoke {
    fn note(&mut self) {
        let at = self.log.position();
        self.past.insert((at.epoch, at.revision), self.log.iter().cloned().collect());
    }

    /// The endpoint comes, moves, or goes.
    fn grow(&mut self, number: u8, host: u8) {
        let object = endpoint(self.cluster, number, "n1", &format!("10.1.0.{host}"));
        let change = if host == 0 { gone(&object) } else { put(object) };
        let delta = Delta::next(&self.log.position(), vec![change], None);
        let _ = self.log.apply(&delta).unwrap();
        self.note();
    }

    /// Its state is lost; the same objects come back in another log.
    fn lose(&mut self, epoch: u8) {
        let changes = self.log.iter().cloned().map(Change::Put).collect();
        self.log = Contents::new(uid(100 + epoch));
        let _ = self.log.apply(&Delta::next(&self.log.position(), changes, None)).unwrap();
        self.note();
    }

    fn send(&self, session: &mut Session) {
        let (cluster, after) = (self.cluster, session.cursor);
        if session.cursor == Some(self.log.position()) {
            return;
        }
        let command = match session.cursor.and_then(|at| self.log.since(&at)) {
            Some(delta) => Command::TakeDelta { cluster, after, delta },
            None => {
                let objects = self.log.iter().cloned().collect();
                let snapshot = Snapshot { at: self.log.position(), objects, origin: None };
                Command::TakeSnapshot { cluster, after, snapshot, refused: vec![] }
            }
        };
        session.cursor = Some(self.log.position());
        session.way.push_back(command);
    }
}

/// Delivers the oldest of what is under way; a session that is refused is over.
fn deliver(hub: &mut Hub, session: &mut Session) {
    let Some(mut command) = session.way.pop_front() else { return };
    let at = match &mut command {
        Command::TakeDelta { after, delta, .. } => {
            *after = session.held;
            delta.to
        }
        Command::TakeSnapshot { after, snapshot, .. } => {
            *after = session.held;
            snapshot.at
        }
        other => panic!("a spoke does not send {other:?}"),
    };
    match hub.write(command) {
        Ok(refused) => {
            assert_eq!(refused, []);
            session.held = Some(at);
        }
        Err(why) => {
            assert_eq!(why.code, "session_replaced");
            session.way.clear();
        }
    }
}

#[derive(Debug, Clone)]
enum Event {
    Grow(u8, u8),
    Lose,
    /// The spoke connects anew, and begins where the hub stands.
    Open(usize),
    Send(usize),
    Deliver(usize),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (1_u8..3, 0_u8..3).prop_map(|(number, host)| Event::Grow(number, host)),
        1 => Just(Event::Lose),
        2 => (0_usize..3).prop_map(Event::Open),
        6 => (0_usize..3).prop_map(Event::Send),
        6 => (0_usize..3).prop_map(Event::Deliver),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1024, ..ProptestConfig::default() })]

    /// However sessions overlap and whichever of them is heard when: what the hub has of a spoke is what the spoke's log
    /// held at the place that the hub says, and a session that nobody disturbs brings it to the end.
    #[test]
    fn late_words_of_a_replaced_session_change_nothing(events in prop::collection::vec(event(), 0..60)) {
        let mut hub = Hub::new();
        let cluster = hub.add("berlin", &["10.1.0.0/16"]).unwrap();
        let mut spoke = Spoke { cluster, log: Contents::new(uid(99)), past: BTreeMap::new() };
        spoke.note();
        let mut sessions: [Session; 3] = Default::default();
        let mut epoch = 0;
        let closing = [Event::Open(0), Event::Send(0), Event::Deliver(0)];
        for event in events.into_iter().chain(closing) {
            match event {
                Event::Grow(number, host) => spoke.grow(number, host),
                Event::Lose => {
                    epoch += 1;
                    spoke.lose(epoch);
                }
                Event::Open(i) => {
                    let held = hub.state.intake(cluster);
                    sessions[i] = Session { held, cursor: held, way: VecDeque::new() };
                }
                Event::Send(i) => spoke.send(&mut sessions[i]),
                Event::Deliver(i) => deliver(&mut hub, &mut sessions[i]),
            }
            if let Some(at) = hub.state.intake(cluster) {
                let mut there: Vec<Object> = hub.state.list(Kind::Endpoint).cloned().collect();
                there.iter_mut().for_each(|object| object.revision = 1);
                prop_assert_eq!(&there, &spoke.past[&(at.epoch, at.revision)]);
            }
        }
        prop_assert_eq!(hub.state.intake(cluster), Some(spoke.log.position()));
    }
}
