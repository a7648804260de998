//! What a session has to say beside its log. Nothing queues up: answers and statuses are merged until they are sent, so
//! that neither side's reading ever waits for its writing.
use std::sync::Arc;

use axle_core::{log::Position, session::Ack};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::message::SessionMessage;

/// Filled by the reading half, emptied by the writing half.
pub(super) struct Outbox<M> {
    slots: Mutex<Slots<M>>,
    filled: Notify,
}

struct Slots<M> {
    greeting: Option<M>,
    ack: Option<Ack>,
    latest: Option<M>,
    serve: Option<Option<Position>>,
    farewell: Option<M>,
    closed: bool,
}

/// What to do next.
pub(super) enum Post<M> {
    Send(M),
    /// Begin to serve the log, to a peer that holds this.
    Serve(Option<Position>),
    Nothing,
    Closed,
}

impl<M: SessionMessage> Outbox<M> {
    pub(super) fn new() -> Arc<Self> {
        let slots = Slots { greeting: None, ack: None, latest: None, serve: None, farewell: None, closed: false };
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

    /// Joins what is still to be answered: the newest position, all refusals.
    pub(super) fn ack(&self, ack: Ack) {
        self.fill(|slots| match &mut slots.ack {
            Some(waiting) => {
                waiting.received = ack.received;
                waiting.refused.extend(ack.refused);
            }
            none => *none = Some(ack),
        });
    }

    /// Replaces what was not sent yet.
    pub(super) fn latest(&self, message: M) {
        self.fill(|slots| slots.latest = Some(message));
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
        slots.latest.take().map_or(Post::Nothing, Post::Send)
    }

    /// Resolves when something was filled in since the last call.
    pub(super) async fn filled(&self) {
        self.filled.notified().await;
    }
}
