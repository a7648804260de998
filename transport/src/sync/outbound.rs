//! The writing half of a session: a stream of what the peer is to get.
use std::{pin::Pin, sync::Arc};

use axle_core::session::{Heartbeat, Sender};
use bytes::Bytes;
use futures::Stream;
use tokio::{
    sync::watch,
    time::{Instant, Sleep, sleep_until},
};
use tokio_util::sync::DropGuard;

use super::{
    codec::framed,
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
    /// Looks whether a heartbeat is due; moved on when it fires, not with every message.
    timer: Pin<Box<Sleep>>,
}

struct Serving {
    sender: Sender,
    /// The snapshot being sent, and its next message.
    snapshot: Option<(Arc<EncodedSnapshot>, usize)>,
    begun: bool,
}

impl<M: SessionMessage> Outbound<M> {
    /// The messages as they are sent. It is polled only as fast as the peer reads, so a slow peer costs a cursor.
    pub(super) fn stream(self) -> impl Stream<Item = Bytes> + Send + 'static {
        let (head, said) = (self.view.watch(), Instant::now());
        let timer = Box::pin(sleep_until(said + self.heartbeat.period));
        let writing = Writing { session: self, head, serving: None, said, timer };
        futures::stream::unfold(writing, |mut writing| async move {
            let item = writing.next().await?;
            writing.said = Instant::now();
            Some((item, writing))
        })
    }
}

impl<M: SessionMessage> Writing<M> {
    fn beat(&self) -> Bytes {
        framed(&M::heartbeat(&self.session.view.position()))
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            match self.session.outbox.take() {
                Post::Send(message) => return Some(framed(&message)),
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
                && let Some(message) = serving.next(&self.session).await
            {
                return Some(message);
            }
            tokio::select! {
                () = self.session.outbox.filled() => {}
                // The view outlives this: the session holds it.
                _ = self.head.changed() => {}
                () = self.timer.as_mut() => {
                    let (now, period) = (Instant::now(), self.session.heartbeat.period);
                    if self.said + period <= now {
                        self.timer.as_mut().reset(now + period);
                        return Some(self.beat());
                    }
                    self.timer.as_mut().reset(self.said + period);
                }
            }
        }
    }
}

impl Serving {
    async fn next<M>(&mut self, session: &Outbound<M>) -> Option<Bytes> {
        if self.snapshot.is_none() {
            match session.view.next(&self.sender) {
                Batch::Nothing => {
                    self.begin(session, false);
                    return None;
                }
                Batch::Deltas(message, to) => {
                    self.begin(session, false);
                    self.sender.sent(to);
                    return Some(message);
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
        message
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
