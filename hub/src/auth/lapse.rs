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

/// A body that ends when `lapsed` does.
pub(super) struct Lapsing {
    body: Body,
    lapsed: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    grpc: bool,
}

impl Lapsing {
    pub(super) fn new(body: Body, lapsed: impl Future<Output = ()> + Send + 'static, grpc: bool) -> Self {
        Self { body, lapsed: Some(Box::pin(lapsed)), grpc }
    }
}

impl http_body::Body for Lapsing {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let over = self.lapsed.as_mut().is_some_and(|lapsed| lapsed.as_mut().poll(context).is_ready());
        if over {
            // Whoever fills the body is let go at once.
            (self.body, self.lapsed) = (Body::empty(), None);
            if self.grpc {
                return Poll::Ready(Some(Ok(Frame::trailers(trailers()))));
            }
        }
        Pin::new(&mut self.body).poll_frame(context)
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
