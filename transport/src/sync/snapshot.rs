//! A whole log, encoded once for all who need it at that time.
use axle_core::{
    log::{Contents, Position},
    session::{Digest, Marker},
};
use axle_proto::{convert, v1};
use bytes::Bytes;
use prost::Message;

use super::codec::framed;

/// Pages and marker, each a message as it is sent.
#[derive(Debug)]
pub(super) struct EncodedSnapshot {
    pub(super) at: Position,
    pub(super) messages: Vec<Bytes>,
}

impl EncodedSnapshot {
    /// Encodes `contents` in pages of about `page_bytes`. There is at least one page.
    pub(super) fn of(contents: &Contents, page_bytes: usize) -> Self {
        let at = contents.position();
        let mut pages = Pages { at, messages: Vec::new(), objects: Vec::new(), bytes: 0 };
        let mut digest = Digest::default();
        for object in contents.iter() {
            digest.add(&object.key, &object.uid, &object.payload);
            let envelope = convert::envelope_to_wire(object);
            pages.bytes += envelope.encoded_len();
            pages.objects.push(envelope);
            if pages.bytes >= page_bytes {
                pages.turn();
            }
        }
        if !pages.objects.is_empty() || pages.messages.is_empty() {
            pages.turn();
        }
        let marker = Marker { at, count: contents.len() as u64, digest: digest.finish(), origin: contents.origin() };
        let marker = v1::hub_message::Message::Marker(convert::marker_to_wire(&marker));
        let mut messages = pages.messages;
        messages.push(encode(marker));
        Self { at, messages }
    }
}

struct Pages {
    at: Position,
    messages: Vec<Bytes>,
    objects: Vec<v1::Envelope>,
    bytes: usize,
}

impl Pages {
    fn turn(&mut self) {
        let index = u32::try_from(self.messages.len()).unwrap_or(u32::MAX);
        let objects = std::mem::take(&mut self.objects);
        let page = v1::SnapshotPage { at: Some(convert::position_to_wire(&self.at)), index, objects };
        self.messages.push(encode(v1::hub_message::Message::Page(page)));
        self.bytes = 0;
    }
}

fn encode(message: v1::hub_message::Message) -> Bytes {
    framed(&v1::HubMessage { deltas: Vec::new(), message: Some(message) })
}
