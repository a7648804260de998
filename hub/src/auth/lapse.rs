//! What a token opened ends with it: a stream lives no longer than the right to read it.
use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use http::header;
use http_body::{Frame, SizeHint};
use tonic::Status;

/// Frames that an answer may still have when its token lapses, if they are ready: a message and its trailers. Whoever
/// revokes the token that they bear get their answer.
const LAST_FRAMES: u8 = 2;

/// A body that ends when `lapsed` does.
pub(super) struct Lapsing {
    body: Body,
    lapsed: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    left: u8,
    grpc: bool,
}

impl Lapsing {
    pub(super) fn new(body: Body, lapsed: impl Future<Output = ()> + Send + 'static, grpc: bool) -> Self {
        Self { body, lapsed: Some(Box::pin(lapsed)), left: LAST_FRAMES, grpc }
    }
}

impl http_body::Body for Lapsing {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(lapsed) = &mut self.lapsed {
            if lapsed.as_mut().poll(context).is_pending() {
                return Pin::new(&mut self.body).poll_frame(context);
            }
            self.lapsed = None;
        }
        if self.left > 0
            && let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context)
        {
            self.left -= 1;
            // Trailers are the last word, and so is an end.
            self.grpc &= matches!(&frame, Some(Ok(frame)) if frame.is_data());
            return Poll::Ready(frame);
        }
        // Whoever fills the body is let go at once.
        (self.body, self.left) = (Body::empty(), 0);
        let said = std::mem::take(&mut self.grpc);
        Poll::Ready(said.then(|| Ok(Frame::trailers(trailers()))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn trailers() -> http::HeaderMap {
    let status = Status::unauthenticated("the token is over or was revoked: log in with another one");
    let mut headers = status.into_http::<Body>().into_parts().0.headers;
    headers.remove(header::CONTENT_TYPE);
    headers
}
