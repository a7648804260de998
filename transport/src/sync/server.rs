//! The `axle.v1.Sync` service around a host.
mod session;

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axle_proto::v1::{self, SpokeMessage};
use bytes::Bytes;
use futures::Stream;
use http::{Extensions, HeaderMap, HeaderValue, header::CONTENT_TYPE};
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    metadata::GRPC_CONTENT_TYPE,
    server::{ClientStreamingService, Grpc, NamedService},
};

use super::{
    MAX_MESSAGE, bounds,
    codec::{Reader, ReportCodec, body},
    host::Host,
};
use crate::pki::Peer;

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
/// What goes to a spoke, as it is sent.
type Messages = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

/// The gRPC service: add it to a tonic server whose acceptor puts the [`Peer`] into each request.
pub struct SyncServer<H>(Arc<H>);

impl<H> SyncServer<H> {
    /// Serves that host.
    #[must_use]
    pub fn new(host: Arc<H>) -> Self {
        Self(host)
    }
}

impl<H> Clone for SyncServer<H> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<H> NamedService for SyncServer<H> {
    const NAME: &'static str = "axle.v1.Sync";
}

impl<H: Host, B> tower::Service<http::Request<B>> for SyncServer<H>
where
    B: http_body::Body + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
    B: http_body::Body<Data = Bytes>,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let host = self.0.clone();
        Box::pin(async move {
            Ok(match request.uri().path() {
                "/axle.v1.Sync/Sync" => {
                    let (parts, incoming) = request.into_parts();
                    let incoming = Streaming::new_request(Reader::default(), incoming, None, Some(MAX_MESSAGE));
                    match open(host, &parts.extensions, incoming).await {
                        Ok(messages) => answer(messages),
                        Err(status) => status.into_http(),
                    }
                }
                "/axle.v1.Sync/Report" => Grpc::new(ReportCodec).client_streaming(Report(host), request).await,
                path => Status::unimplemented(format!("no method {path} in this version: upgrade it")).into_http(),
            })
        })
    }
}

async fn open<H: Host>(
    host: Arc<H>,
    extensions: &Extensions,
    incoming: Streaming<SpokeMessage>,
) -> Result<Messages, Status> {
    session::open(host, peer(extensions)?, incoming).await
}

fn answer(messages: Messages) -> http::Response<Body> {
    // A session ends with a goodbye, and is no error to gRPC.
    let trailers = HeaderMap::from_iter([(Status::GRPC_STATUS, HeaderValue::from_static("0"))]);
    let mut response = http::Response::new(body(messages, Some(trailers)));
    response.headers_mut().insert(CONTENT_TYPE, GRPC_CONTENT_TYPE);
    response
}

struct Report<H>(Arc<H>);

impl<H: Host> ClientStreamingService<v1::FlowBatch> for Report<H> {
    type Response = v1::ReportSummary;
    type Future = BoxFuture<Result<Response<v1::ReportSummary>, Status>>;

    fn call(&mut self, request: Request<Streaming<v1::FlowBatch>>) -> Self::Future {
        let host = self.0.clone();
        Box::pin(async move {
            let peer = peer(request.extensions())?;
            let mut batches = request.into_inner();
            let mut received = 0;
            while let Some(batch) = batches.message().await? {
                received += batch.flows.len() as u64;
                host.report(&peer, bounds::flows(batch)).map_err(|goodbye| Status::unavailable(goodbye.reason))?;
            }
            Ok(Response::new(v1::ReportSummary { received }))
        })
    }
}

fn peer(extensions: &Extensions) -> Result<Peer, Status> {
    let unknown = || {
        Status::unauthenticated(
            "no client certificate: a spoke shows the one that it got when it enrolled; let it enrol first",
        )
    };
    extensions.get::<Peer>().cloned().ok_or_else(unknown)
}
