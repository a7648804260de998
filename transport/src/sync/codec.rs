//! A session's messages on the wire: framed for gRPC when they are made, so that they are sent as they lie; read by tonic.
use std::{convert::Infallible, fmt, marker::PhantomData};

use axle_proto::v1;
use bytes::{Buf, Bytes};
use futures::{Stream, StreamExt};
use http::HeaderMap;
use http_body::Frame;
use http_body_util::StreamBody;
use prost::Message;
use tonic::{
    Status,
    body::Body,
    codec::{Codec, DecodeBuf, Decoder},
};
use tonic_prost::ProstCodec;

use super::density::{self, Shape};

/// Bytes before each message.
pub(super) const PREFIX: usize = 5;

/// What gRPC wants before a message of that length: that it is not compressed, and the length.
pub(super) fn prefix(len: usize) -> [u8; PREFIX] {
    // Nothing longer comes here, and no receiver would take it: see `MAX_MESSAGE`.
    let [a, b, c, d] = u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
    [0, a, b, c, d]
}

/// A message as it is sent.
pub(super) fn framed(message: &impl Message) -> Bytes {
    let message = message.encode_to_vec();
    [&prefix(message.len())[..], &message].concat().into()
}

/// An HTTP body of framed messages, and what follows them. HTTP/2 and TLS get the bytes where they are; tonic's encoder
/// would copy them for each stream.
pub(super) fn body(messages: impl Stream<Item = Bytes> + Send + 'static, trailers: Option<HeaderMap>) -> Body {
    let frames = messages.map(Frame::data).chain(futures::stream::iter(trailers.map(Frame::trailers)));
    Body::new(StreamBody::new(frames.map(Ok::<_, Infallible>)))
}

/// Reads messages.
#[derive(Debug)]
pub(super) struct Reader<M>(PhantomData<M>);

impl<M> Default for Reader<M> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<M: Message + Shape + Default> Decoder for Reader<M> {
    type Item = M;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<M>, Status> {
        let unreadable = |why: &dyn fmt::Display| Status::invalid_argument(format!("unreadable message: {why}"));
        // A message lies in one piece, as tonic gathers it.
        density::check::<M>(from.chunk()).map_err(|why| unreadable(&why))?;
        M::decode(from).map(Some).map_err(|why| unreadable(&why))
    }
}

/// Takes reports of flows.
#[derive(Debug)]
pub(super) struct ReportCodec;

impl Codec for ReportCodec {
    type Encode = v1::ReportSummary;
    type Decode = v1::FlowBatch;
    type Encoder = <ProstCodec<v1::ReportSummary, v1::FlowBatch> as Codec>::Encoder;
    type Decoder = Reader<v1::FlowBatch>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<v1::ReportSummary, v1::FlowBatch>::default().encoder()
    }

    fn decoder(&mut self) -> Self::Decoder {
        Reader::default()
    }
}
