//! A codec whose items are messages, or bytes that already are one.
use std::{fmt, marker::PhantomData};

use axle_proto::v1;
use bytes::{Buf, BufMut, Bytes};
use prost::Message;
use tonic::{
    Status,
    codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};
use tonic_prost::ProstCodec;

use super::density::{self, Shape};

/// What is sent.
#[derive(Debug)]
pub(super) enum Outgoing<M> {
    /// A message.
    Message(M),
    /// Encoded messages that, laid end to end, are one.
    Encoded(Vec<Bytes>),
}

/// Sends `Out`, receives `In`.
#[derive(Debug)]
pub(super) struct SessionCodec<Out, In>(PhantomData<(Out, In)>);

impl<Out, In> Default for SessionCodec<Out, In> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<Out: Message + Send + 'static, In: Message + Shape + Default + Send + 'static> Codec for SessionCodec<Out, In> {
    type Encode = Outgoing<Out>;
    type Decode = In;
    type Encoder = SessionEncoder<Out>;
    type Decoder = SessionDecoder<In>;

    fn encoder(&mut self) -> Self::Encoder {
        SessionEncoder(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        SessionDecoder(PhantomData)
    }
}

/// See [`SessionCodec`].
#[derive(Debug)]
pub(super) struct SessionEncoder<Out>(PhantomData<Out>);

impl<Out: Message> Encoder for SessionEncoder<Out> {
    type Item = Outgoing<Out>;
    type Error = Status;

    fn encode(&mut self, item: Self::Item, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        match item {
            Outgoing::Message(message) => message.encode(into).map_err(|error| Status::internal(error.to_string())),
            Outgoing::Encoded(slices) => {
                into.reserve(slices.iter().map(Bytes::len).sum());
                for slice in slices {
                    into.put_slice(&slice);
                }
                Ok(())
            }
        }
    }

    fn buffer_settings(&self) -> BufferSettings {
        // A slice goes out as soon as it is encoded.
        BufferSettings::new(8 << 10, 1)
    }
}

/// See [`SessionCodec`].
#[derive(Debug)]
pub(super) struct SessionDecoder<In>(PhantomData<In>);

impl<In: Message + Shape + Default> Decoder for SessionDecoder<In> {
    type Item = In;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<In>, Status> {
        let unreadable = |why: &dyn fmt::Display| Status::invalid_argument(format!("unreadable message: {why}"));
        // A message lies in one piece, as tonic gathers it.
        density::check::<In>(from.chunk()).map_err(|why| unreadable(&why))?;
        In::decode(from).map(Some).map_err(|why| unreadable(&why))
    }
}

/// Takes reports of flows.
#[derive(Debug)]
pub(super) struct ReportCodec;

impl Codec for ReportCodec {
    type Encode = v1::ReportSummary;
    type Decode = v1::FlowBatch;
    type Encoder = <ProstCodec<v1::ReportSummary, v1::FlowBatch> as Codec>::Encoder;
    type Decoder = SessionDecoder<v1::FlowBatch>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<v1::ReportSummary, v1::FlowBatch>::default().encoder()
    }

    fn decoder(&mut self) -> Self::Decoder {
        SessionDecoder(PhantomData)
    }
}
