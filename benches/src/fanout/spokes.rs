//! A thousand clients, each with a connection of its own, that compare every byte with what was to come.
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
use parking_lot::RwLock;
use prost::Message;
use tokio::runtime::Runtime;
use tonic::{
    Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
};

use super::server::{Mesh, Server};

/// What every stream is to bring: the messages of all updates so far, laid end to end. However a server cuts them into
/// messages, these are the bytes.
pub(super) type Expected = Arc<RwLock<Vec<u8>>>;

/// The connections; they live as long as this.
pub(super) struct Spokes {
    _runtime: Runtime,
    came: Arc<Came>,
}

/// What came over all connections.
#[derive(Default)]
struct Came {
    /// Bytes of updates, each as expected.
    bytes: AtomicU64,
    /// Streams that ended, or brought something else.
    failed: AtomicU64,
}

impl Spokes {
    pub(super) fn connect(mesh: &Mesh, server: &Server, streams: usize) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let came = Arc::<Came>::default();
        let connecting = async {
            // A few at a time, as backoff with jitter would have it.
            let one = |number: usize| {
                let (tls, expected, came) = (mesh.spoke(number), server.expected.clone(), came.clone());
                async move { open(server.address, tls?, expected, came).await }
            };
            let mut opened = futures::stream::iter(0..streams).map(one).buffer_unordered(32);
            while let Some(result) = opened.next().await {
                result?;
            }
            anyhow::Ok(())
        };
        runtime.block_on(connecting)?;
        Ok(Self { _runtime: runtime, came })
    }

    pub(super) fn received(&self) -> u64 {
        self.came.bytes.load(Ordering::Relaxed)
    }

    /// Waits until so many bytes have come.
    pub(super) fn reach(&self, bytes: u64) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(120);
        while self.received() < bytes {
            anyhow::ensure!(Instant::now() < deadline, "{} of {bytes} bytes came within two minutes", self.received());
            let failed = self.came.failed.load(Ordering::Relaxed);
            anyhow::ensure!(failed == 0, "{failed} streams ended or brought other updates than were sent");
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

/// Opens a session, waits for its welcome and compares from there on.
async fn open(address: SocketAddr, tls: ClientTls, expected: Expected, came: Arc<Came>) -> anyhow::Result<()> {
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
    let mut answers = grpc.streaming(Request::new(request), path, Compare { expected, at: None }).await?.into_inner();
    answers.message().await?.context("ended before its welcome")?;
    tokio::spawn(async move {
        while let Ok(Some(bytes)) = answers.message().await {
            came.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        came.failed.fetch_add(1, Ordering::Relaxed);
    });
    Ok(())
}

/// Takes the welcome, then of each message only its length, once it is what was expected.
#[derive(Clone)]
struct Compare {
    expected: Expected,
    /// Bytes of updates so far; none before the welcome.
    at: Option<usize>,
}

impl Codec for Compare {
    type Encode = v1::SpokeMessage;
    type Decode = u64;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        self.clone()
    }

    fn decoder(&mut self) -> Self {
        self.clone()
    }
}

impl Encoder for Compare {
    type Item = v1::SpokeMessage;
    type Error = Status;

    fn encode(&mut self, item: Self::Item, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(into).map_err(|error| Status::internal(error.to_string()))
    }
}

impl Decoder for Compare {
    type Item = u64;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<u64>, Status> {
        let wrong = || Status::data_loss("not what was expected");
        let Some(mut at) = self.at else {
            let welcome = v1::HubMessage::decode(from).map_err(|_| wrong())?;
            self.at = Some(0);
            return welcome.deltas.is_empty().then_some(Some(0)).ok_or_else(wrong);
        };
        let (bytes, expected) = (from.remaining() as u64, self.expected.read());
        while from.has_remaining() {
            let chunk = from.chunk();
            let (len, to) = (chunk.len(), at + chunk.len());
            if expected.get(at..to) != Some(chunk) {
                return Err(wrong());
            }
            at = to;
            from.advance(len);
        }
        self.at = Some(at);
        Ok(Some(bytes))
    }
}
