//! Requests in flight on one connection, to know when it is idle.
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use http_body::{Body, Frame, SizeHint};

/// Requests of one connection.
#[derive(Debug, Default)]
pub(super) struct Requests {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Requests {
    /// One begins; it ends when what is returned is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Flight {
        self.begun.fetch_add(1, Ordering::Relaxed);
        Flight(Arc::clone(self))
    }

    pub(super) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Whether none is in flight.
    pub(super) fn rest(&self) -> bool {
        let ended = self.ended.load(Ordering::Acquire);
        self.begun.load(Ordering::Acquire) == ended
    }
}

/// A request in flight.
#[derive(Debug)]
pub(super) struct Flight(Arc<Requests>);

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Release);
    }
}

/// The body of an answer, which is in flight as long as it lasts.
pub(super) struct InFlight<B> {
    body: Pin<Box<B>>,
    _flight: Flight,
}

impl<B> InFlight<B> {
    pub(super) fn new(body: B, flight: Flight) -> Self {
        Self { body: Box::pin(body), _flight: flight }
    }
}

impl<B: Body> Body for InFlight<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.body.as_mut().poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
