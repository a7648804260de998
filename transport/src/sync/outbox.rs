//! What a session has to say beside its log. Nothing queues up: answers and statuses are merged until they are sent, so
//! that neither side's reading ever waits for its writing.
use std::sync::Arc;

use axle_core::{log::Position, session::Ack};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::message::SessionMessage;

/// Refusals that wait for a peer: one that does not read costs this much and no more, and the answer fits a message.
const MOST_REFUSALS: usize = 10_000;

/// Filled by the reading half, emptied by the writing half.
pub(super) struct Outbox<M> {
    slots: Mutex<Slots<M>>,
    filled: Notify,
}

struct Slots<M> {
    greeting: Option<M>,
    ack: Option<Ack>,
    latest: Option<M>,
    beat: bool,
    serve: Option<Option<Position>>,
    farewell: Option<M>,
    closed: bool,
}

/// What to do next.
pub(super) enum Post<M> {
    Send(M),
    /// Show that this side lives.
    Beat,
    /// Begin to serve the log, to a peer that holds this.
    Serve(Option<Position>),
    Nothing,
    Closed,
}

impl<M: SessionMessage> Outbox<M> {
    pub(super) fn new() -> Arc<Self> {
        let slots =
            Slots { greeting: None, ack: None, latest: None, beat: false, serve: None, farewell: None, closed: false };
        Arc::new(Self { slots: Mutex::new(slots), filled: Notify::new() })
    }

    fn fill(&self, fill: impl FnOnce(&mut Slots<M>)) {
        fill(&mut self.slots.lock());
        self.filled.notify_one();
    }

    /// Sent before anything else.
    pub(super) fn greet(&self, greeting: M) {
        self.fill(|slots| slots.greeting = Some(greeting));
    }

    /// Begins to serve the log.
    pub(super) fn serve(&self, held: Option<Position>) {
        self.fill(|slots| slots.serve = Some(held));
    }

    /// Joins what is still to be answered: the newest position and the refusals, of which those beyond
    /// [`MOST_REFUSALS`] are only logged here.
    pub(super) fn ack(&self, ack: Ack) {
        let mut left_out = 0;
        self.fill(|slots| {
            let waiting = slots.ack.get_or_insert_with(|| Ack { received: ack.received, refused: Vec::new() });
            waiting.received = ack.received;
            waiting.refused.extend(ack.refused);
            left_out = waiting.refused.len().saturating_sub(MOST_REFUSALS);
            waiting.refused.truncate(MOST_REFUSALS);
        });
        if left_out > 0 {
            tracing::warn!(left_out, "more objects are refused than the peer is told of: {MOST_REFUSALS} at once");
        }
    }

    /// Replaces what was not sent yet.
    pub(super) fn latest(&self, message: M) {
        self.fill(|slots| slots.latest = Some(message));
    }

    /// Shows at once that this side lives.
    pub(super) fn beat(&self) {
        self.fill(|slots| slots.beat = true);
    }

    /// Ends the stream, with a last message if there is one.
    pub(super) fn close(&self, farewell: Option<M>) {
        self.fill(|slots| {
            slots.closed = true;
            slots.farewell = farewell;
        });
    }

    pub(super) fn take(&self) -> Post<M> {
        let mut slots = self.slots.lock();
        if let Some(greeting) = slots.greeting.take() {
            return Post::Send(greeting);
        }
        if let Some(held) = slots.serve.take() {
            return Post::Serve(held);
        }
        if let Some(ack) = slots.ack.take() {
            return Post::Send(M::ack(&ack));
        }
        if let Some(farewell) = slots.farewell.take() {
            return Post::Send(farewell);
        }
        if slots.closed {
            return Post::Closed;
        }
        if std::mem::take(&mut slots.beat) {
            return Post::Beat;
        }
        slots.latest.take().map_or(Post::Nothing, Post::Send)
    }

    /// Resolves when something was filled in since the last call.
    pub(super) async fn filled(&self) {
        self.filled.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use axle_core::{
        model::{Key, Kind, Name, Scope},
        refusal::Refusal,
    };
    use axle_proto::v1::HubMessage;

    use super::*;

    #[test]
    fn a_peer_that_does_not_read_is_owed_the_newest_place_and_so_many_refusals() {
        let outbox = Outbox::<HubMessage>::new();
        let key =
            Key { kind: Kind::Node, scope: Scope::Fleet, namespace: String::new(), name: Name::new("n").unwrap() };
        let refusal = Refusal { key, revision: 1, code: "foreign_object".into(), message: String::new() };
        for revision in 1..=30 {
            let received = Position { revision, ..Position::default() };
            outbox.ack(Ack { received, refused: vec![refusal.clone(); 1_000] });
        }
        let waiting = outbox.slots.lock().ack.take().unwrap();
        assert_eq!((waiting.received.revision, waiting.refused.len()), (30, MOST_REFUSALS));
    }
}
