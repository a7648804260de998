//! The writing half of a session: a stream of what the peer is to get.
use std::sync::Arc;

use axle_core::session::{Heartbeat, Sender};
use bytes::Bytes;
use futures::Stream;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::DropGuard;

use super::{
    codec::Outgoing,
    host::SessionCounters,
    message::SessionMessage,
    outbox::{Outbox, Post},
    snapshot::EncodedSnapshot,
    view::{Batch, View},
};
use axle_core::log::Position;

pub(super) struct Outbound<M> {
    pub(super) view: Arc<View>,
    pub(super) outbox: Arc<Outbox<M>>,
    pub(super) heartbeat: Heartbeat,
    pub(super) counters: Arc<SessionCounters>,
    /// Ends the reading half, where nothing else would, when the stream is dropped.
    pub(super) _guard: Option<DropGuard>,
}

struct Writing<M> {
    session: Outbound<M>,
    head: watch::Receiver<Position>,
    serving: Option<Serving>,
    said: Instant,
}

struct Serving {
    sender: Sender,
    /// The snapshot being sent, and its next message.
    snapshot: Option<(Arc<EncodedSnapshot>, usize)>,
    begun: bool,
}

impl<M: SessionMessage> Outbound<M> {
    /// The stream. It is polled only as fast as the peer reads, so a slow peer costs a cursor.
    pub(super) fn stream(self) -> impl Stream<Item = Outgoing<M>> + Send + 'static {
        let head = self.view.watch();
        let writing = Writing { session: self, head, serving: None, said: Instant::now() };
        futures::stream::unfold(writing, |mut writing| async move {
            let item = writing.next().await?;
            writing.said = Instant::now();
            Some((item, writing))
        })
    }
}

impl<M: SessionMessage> Writing<M> {
    fn beat(&self) -> Outgoing<M> {
        Outgoing::Message(M::heartbeat(&self.session.view.position()))
    }

    async fn next(&mut self) -> Option<Outgoing<M>> {
        loop {
            match self.session.outbox.take() {
                Post::Send(message) => return Some(Outgoing::Message(message)),
                Post::Beat => return Some(self.beat()),
                Post::Serve(held) => {
                    self.serving = Some(Serving { sender: Sender::new(held), snapshot: None, begun: false });
                }
                Post::Closed => return None,
                Post::Nothing => {}
            }
            // Before looking at the log: what is appended from here on wakes again.
            self.head.mark_unchanged();
            if let Some(serving) = &mut self.serving
                && let Some(slices) = serving.next(&self.session).await
            {
                return Some(Outgoing::Encoded(slices));
            }
            let beat = self.said + self.session.heartbeat.period;
            tokio::select! {
                () = self.session.outbox.filled() => {}
                // The view outlives this: the session holds it.
                _ = self.head.changed() => {}
                () = tokio::time::sleep_until(beat) => {
                    return Some(self.beat());
                }
            }
        }
    }
}

impl Serving {
    async fn next<M>(&mut self, session: &Outbound<M>) -> Option<Vec<Bytes>> {
        if self.snapshot.is_none() {
            match session.view.next(&self.sender) {
                Batch::Nothing => {
                    self.begin(session, false);
                    return None;
                }
                Batch::Deltas(slices, to) => {
                    self.begin(session, false);
                    self.sender.sent(to);
                    return Some(slices);
                }
                Batch::Snapshot => {
                    self.begin(session, true);
                    self.snapshot = Some((session.view.snapshot().await, 0));
                }
            }
        }
        let (snapshot, next) = self.snapshot.as_mut()?;
        let message = snapshot.messages.get(*next).cloned();
        *next += 1;
        if *next >= snapshot.messages.len() {
            self.sender.sent(snapshot.at);
            self.snapshot = None;
        }
        message.map(|message| vec![message])
    }

    /// Counts how the peer was served: once when it begins, and every snapshot.
    fn begin<M>(&mut self, session: &Outbound<M>, snapshot: bool) {
        if snapshot {
            session.counters.snapshot();
        } else if !self.begun {
            session.counters.resume();
        }
        self.begun = true;
    }
}
