//! The newest deltas of a log, encoded once, from which every stream sends slices.
use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use prost::Message;

use axle_core::log::{Delta, Position};
use axle_proto::{convert, v1};

/// Encoded deltas, laid end to end; bounded in bytes.
///
/// Blocks are parts of it that nobody appends to any more. The last part is sealed into a block when it is first read, so
/// under load a block is what gathered between two wake-ups.
pub(super) struct Window {
    blocks: VecDeque<Block>,
    open: BytesMut,
    open_ends: Vec<End>,
    /// Where the oldest delta begins.
    start: u64,
    head: Position,
    bytes: usize,
    limit: usize,
}

struct Block {
    from: u64,
    bytes: Bytes,
    ends: Vec<End>,
}

/// Where a delta ends.
#[derive(Clone, Copy)]
struct End {
    to: Position,
    offset: usize,
}

/// Allocated at once for the open part.
const CHUNK: usize = 256 << 10;

impl Window {
    pub(super) fn new(head: Position, limit: usize) -> Self {
        let (blocks, open) = (VecDeque::new(), BytesMut::new());
        Self { blocks, open, open_ends: Vec::new(), start: head.revision, head, bytes: 0, limit }
    }

    /// Adds the next delta. One that is larger than the whole window empties it: its readers catch up otherwise.
    pub(super) fn append(&mut self, delta: &Delta) {
        let wire = v1::HubMessage { deltas: vec![convert::delta_to_wire(delta)], message: None };
        let len = wire.encoded_len();
        if len > self.limit {
            *self = Self::new(delta.to, self.limit);
            return;
        }
        if self.open.capacity() - self.open.len() < len {
            self.seal();
            self.open = BytesMut::with_capacity(CHUNK.max(len));
        }
        self.open.extend_from_slice(&wire.encode_to_vec());
        self.open_ends.push(End { to: delta.to, offset: self.open.len() });
        self.head = delta.to;
        self.bytes += len;
        while self.bytes > self.limit {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if self.blocks.is_empty() {
            self.seal();
        }
        if let Some(block) = self.blocks.pop_front() {
            self.bytes -= block.bytes.len();
            self.start = block.ends.last().map_or(self.start, |end| end.to.revision);
        }
    }

    fn seal(&mut self) {
        if self.open_ends.is_empty() {
            return;
        }
        let from = self.blocks.back().and_then(|block| block.ends.last()).map_or(self.start, |end| end.to.revision);
        let bytes = self.open.split().freeze();
        self.blocks.push_back(Block { from, bytes, ends: std::mem::take(&mut self.open_ends) });
    }

    /// Whether everything after that revision is here.
    pub(super) fn reaches(&self, revision: u64) -> bool {
        self.start <= revision
    }

    /// The deltas after that revision, as many as fit `limit` bytes but at least one, and where they lead. The revision
    /// must be where a delta of this window begins.
    pub(super) fn after(&mut self, revision: u64, limit: usize) -> Option<(Vec<Bytes>, Position)> {
        self.seal();
        let first =
            self.blocks.partition_point(|block| block.ends.last().is_some_and(|end| end.to.revision <= revision));
        let (mut slices, mut len, mut to) = (Vec::new(), 0, None);
        for block in self.blocks.range(first..) {
            let skip = block.ends.partition_point(|end| end.to.revision <= revision);
            let begin = if skip == 0 { 0 } else { block.ends[skip - 1].offset };
            let fits = block.ends[skip..].partition_point(|end| len + end.offset - begin <= limit);
            let take = if to.is_none() { fits.max(1) } else { fits };
            let Some(end) = take.checked_sub(1).and_then(|last| block.ends.get(skip + last)) else { break };
            slices.push(block.bytes.slice(begin..end.offset));
            (len, to) = (len + end.offset - begin, Some(end.to));
            if skip + take < block.ends.len() {
                break;
            }
        }
        debug_assert!(self.blocks.front().is_none_or(|block| block.from == self.start), "blocks join");
        to.map(|to| (slices, to))
    }
}
