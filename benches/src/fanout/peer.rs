//! The peer: a tonic service as it is usually written. Each stream takes each update from a shared list, makes a message of
//! its own of it and lets tonic encode it; tonic joins what is ready into writes of 32 KiB.
//!
//! Its messages are those of `sync.proto` byte for byte, but with the endpoint in them as a message, where ours have the
//! bytes that it was encoded to once.
use std::{
    convert::Infallible,
    future::{Ready, ready},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axle_proto::v1;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use tokio::sync::watch;
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    codegen::{self, StdError, http},
    server::{Grpc, StreamingService},
};

/// A [`v1::HubMessage`] of deltas.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Update {
    #[prost(message, repeated, tag = "1")]
    deltas: Vec<Delta>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Delta {
    #[prost(uint64, tag = "1")]
    from: u64,
    #[prost(message, optional, tag = "2")]
    to: Option<v1::Position>,
    #[prost(message, repeated, tag = "3")]
    changes: Vec<Change>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Change {
    #[prost(message, optional, tag = "1")]
    put: Option<Envelope>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Envelope {
    #[prost(message, optional, tag = "1")]
    key: Option<v1::Key>,
    #[prost(bytes = "bytes", tag = "2")]
    uid: Bytes,
    #[prost(uint64, tag = "3")]
    revision: u64,
    #[prost(message, optional, tag = "5")]
    endpoint: Option<v1::Endpoint>,
}

/// Every update so far.
#[derive(Clone)]
pub(super) struct Peer(pub(super) watch::Sender<Vec<Arc<Update>>>);

impl<B> tower::Service<http::Request<B>> for Peer
where
    B: codegen::Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let peer = self.clone();
        let codec = tonic_prost::ProstCodec::<Update, v1::SpokeMessage>::default();
        Box::pin(async move { Ok(Grpc::new(codec).streaming(peer, request).await) })
    }
}

impl StreamingService<v1::SpokeMessage> for Peer {
    type Response = Update;
    type ResponseStream = Pin<Box<dyn Stream<Item = Result<Update, Status>> + Send>>;
    type Future = Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, _: Request<Streaming<v1::SpokeMessage>>) -> Self::Future {
        let greeting = futures::stream::iter([Ok(Update::default())]);
        let begin = (self.0.subscribe(), Vec::new().into_iter(), 0);
        let updates = futures::stream::unfold(begin, |(mut list, mut ready, mut taken)| async move {
            loop {
                if let Some(update) = ready.next() {
                    let update: Arc<Update> = update;
                    return Some((Ok((*update).clone()), (list, ready, taken)));
                }
                list.changed().await.ok()?;
                let more = list.borrow_and_update()[taken..].to_vec();
                taken += more.len();
                ready = more.into_iter();
            }
        });
        ready(Ok(Response::new(greeting.chain(updates).boxed())))
    }
}
