//! A thousand clients, each with a connection of its own, that count what comes and look no further.
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use axle_core::{log::Position, model::Uid};
use axle_proto::{convert, v1};
use axle_transport::tls::{ClientTls, connect};
use bytes::Buf;
use futures::StreamExt;
use prost::Message;
use tokio::runtime::Runtime;
use tonic::{
    Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
};

use super::server::Mesh;

/// The connections; they live as long as this.
pub(super) struct Spokes {
    _runtime: Runtime,
    /// Bytes of messages that came, over all connections.
    received: Arc<AtomicU64>,
}

impl Spokes {
    pub(super) fn connect(mesh: &Mesh, address: SocketAddr, streams: usize) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let received = Arc::new(AtomicU64::new(0));
        let connecting = async {
            // A few at a time, as backoff with jitter would have it.
            let one = |number: usize| {
                let (tls, received) = (mesh.spoke(number), received.clone());
                async move { open(address, tls?, received).await }
            };
            let mut opened = futures::stream::iter(0..streams).map(one).buffer_unordered(32);
            while let Some(result) = opened.next().await {
                result?;
            }
            anyhow::Ok(())
        };
        runtime.block_on(connecting)?;
        Ok(Self { _runtime: runtime, received })
    }

    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Waits until so many bytes have come.
    pub(super) fn reach(&self, bytes: u64) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(120);
        while self.received() < bytes {
            anyhow::ensure!(Instant::now() < deadline, "{} of {bytes} bytes came within two minutes", self.received());
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

/// Opens a session, waits for its welcome and counts from there on.
async fn open(address: SocketAddr, tls: ClientTls, received: Arc<AtomicU64>) -> anyhow::Result<()> {
    let channel = connect(&address.to_string(), &tls).await.map_err(|error| anyhow::anyhow!("{error:?}"))?;
    let mut grpc = Grpc::new(channel).max_decoding_message_size(usize::MAX);
    grpc.ready().await?;
    let resume = Position { epoch: Uid([1; 16]), ..Position::default() };
    let hello = v1::Hello {
        min_version: 1,
        max_version: 1,
        resume: Some(convert::position_to_wire(&resume)),
        ..v1::Hello::default()
    };
    let hello = v1::SpokeMessage { deltas: vec![], message: Some(v1::spoke_message::Message::Hello(hello)) };
    let request = futures::stream::iter([hello]).chain(futures::stream::pending());
    let path = PathAndQuery::from_static("/axle.v1.Sync/Sync");
    let mut answers = grpc.streaming(Request::new(request), path, Count).await?.into_inner();
    answers.message().await?.context("ended before its welcome")?;
    tokio::spawn(async move {
        while let Ok(Some(bytes)) = answers.message().await {
            received.fetch_add(bytes, Ordering::Relaxed);
        }
    });
    Ok(())
}

/// Decodes a message to its length.
#[derive(Clone, Copy)]
struct Count;

impl Codec for Count {
    type Encode = v1::SpokeMessage;
    type Decode = u64;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Count {
    type Item = v1::SpokeMessage;
    type Error = Status;

    fn encode(&mut self, item: Self::Item, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(into).map_err(|error| Status::internal(error.to_string()))
    }
}

impl Decoder for Count {
    type Item = u64;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<u64>, Status> {
        let bytes = from.remaining();
        from.advance(bytes);
        Ok(Some(bytes as u64))
    }
}
