//! The newest deltas of a log, encoded once, from which every stream sends slices.
use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

use axle_core::log::{Delta, Position};
use axle_proto::{convert, v1};

use super::codec::{PREFIX, prefix};

/// Encoded deltas, laid end to end; bounded in bytes.
///
/// Blocks are parts of it that nobody appends to any more, each a message as it is sent. The last part is sealed into a
/// block when it is as large as a message should be, or first read: under load a block is what gathered between two
/// wake-ups.
pub(super) struct Window {
    blocks: VecDeque<Block>,
    /// Room for a prefix, then deltas; empty when there are none.
    open: BytesMut,
    open_ends: Vec<End>,
    /// Where the oldest delta begins.
    start: u64,
    head: Position,
    bytes: usize,
    limit: usize,
    /// Bytes of one message, unless a single delta is longer.
    slice: usize,
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

impl Window {
    pub(super) fn new(head: Position, limit: usize, slice: usize) -> Self {
        let (blocks, open) = (VecDeque::new(), BytesMut::new());
        Self { blocks, open, open_ends: Vec::new(), start: head.revision, head, bytes: 0, limit, slice }
    }

    /// Adds the next delta. One that is larger than the whole window empties it: its readers catch up otherwise.
    pub(super) fn append(&mut self, delta: &Delta) {
        let wire = v1::HubMessage { deltas: vec![convert::delta_to_wire(delta)], message: None };
        let len = wire.encoded_len();
        if len > self.limit {
            *self = Self::new(delta.to, self.limit, self.slice);
            return;
        }
        if self.open.capacity() - self.open.len() < PREFIX + len {
            self.seal();
            // A reader that is slow keeps what it is being sent: one allocation is not much larger.
            self.open = BytesMut::with_capacity(self.slice.max(PREFIX + len));
        }
        if self.open.is_empty() {
            self.open.put_bytes(0, PREFIX);
            self.bytes += PREFIX;
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
        let mut bytes = self.open.split();
        let len = bytes.len() - PREFIX;
        bytes[..PREFIX].copy_from_slice(&prefix(len));
        let bytes = bytes.freeze();
        self.blocks.push_back(Block { from, bytes, ends: std::mem::take(&mut self.open_ends) });
    }

    /// Whether everything after that revision is here.
    pub(super) fn reaches(&self, revision: u64) -> bool {
        self.start <= revision
    }

    /// A message of deltas after that revision, at least one, and where they lead. The revision must be where a delta of
    /// this window begins.
    pub(super) fn after(&mut self, revision: u64) -> Option<(Bytes, Position)> {
        self.seal();
        debug_assert!(self.blocks.front().is_none_or(|block| block.from == self.start), "blocks join");
        let first =
            self.blocks.partition_point(|block| block.ends.last().is_some_and(|end| end.to.revision <= revision));
        let block = self.blocks.get(first)?;
        let last = first + 1 == self.blocks.len();
        if block.from == revision && (last || block.bytes.len() > self.slice / 2) {
            // Whoever keeps pace comes here, and all send the same bytes.
            return block.ends.last().map(|end| (block.bytes.clone(), end.to));
        }
        self.gather(first, revision)
    }

    /// A message of its own for a reader that is within a block, or behind by many small ones.
    fn gather(&self, first: usize, revision: u64) -> Option<(Bytes, Position)> {
        let (mut message, mut to) = (vec![0; PREFIX], None);
        for block in self.blocks.range(first..) {
            let skip = block.ends.partition_point(|end| end.to.revision <= revision);
            let begin = if skip == 0 { PREFIX } else { block.ends[skip - 1].offset };
            let room = self.slice.saturating_sub(message.len());
            let fits = block.ends[skip..].partition_point(|end| end.offset - begin <= room);
            let take = if to.is_none() { fits.max(1) } else { fits };
            let Some(end) = take.checked_sub(1).and_then(|last| block.ends.get(skip + last)) else { break };
            message.extend_from_slice(&block.bytes[begin..end.offset]);
            to = Some(end.to);
            if skip + take < block.ends.len() {
                break;
            }
        }
        let len = message.len() - PREFIX;
        message[..PREFIX].copy_from_slice(&prefix(len));
        to.map(|to| (message.into(), to))
    }
}

#[cfg(test)]
mod tests {
    use axle_core::{
        log::Change,
        model::{Key, Kind, Name, Scope, Uid},
    };
    use proptest::prelude::*;

    use super::*;

    /// A delta whose length follows from `name`.
    fn delta(at: &Position, name: usize) -> Delta {
        let name = Name::new("n".repeat(name)).unwrap();
        let key = Key { kind: Kind::Namespace, scope: Scope::Fleet, namespace: String::new(), name };
        Delta::next(at, vec![Change::Delete { key, uid: Uid([7; 16]) }], None)
    }

    /// The deltas of one message, whose prefix must be right.
    fn read(message: &Bytes) -> Vec<v1::Delta> {
        let (before, deltas) = message.split_at(PREFIX);
        assert_eq!(before, prefix(deltas.len()));
        v1::HubMessage::decode(deltas).unwrap().deltas
    }

    proptest! {
        #[test]
        fn a_reader_gets_every_delta_once_whenever_it_reads(
            names in prop::collection::vec(1_usize..60, 1..80),
            reads in prop::collection::vec(any::<bool>(), 80),
            slice in 100_usize..800,
        ) {
            let start = Position::default();
            let mut window = Window::new(start, 1 << 20, slice);
            let (mut at, mut sent, mut got) = (start, Vec::new(), Vec::new());
            let mut reader = start;
            for (name, read_now) in names.iter().zip(reads) {
                let next = delta(&at, *name);
                at = next.to;
                sent.push(convert::delta_to_wire(&next));
                window.append(&next);
                if read_now && let Some((message, to)) = window.after(reader.revision) {
                    got.extend(read(&message));
                    reader = to;
                }
            }
            // Whoever begins now gets the same, and equal readers the same bytes.
            for mut cursor in [reader, start] {
                if cursor == start {
                    got.clear();
                }
                while let Some((message, to)) = window.after(cursor.revision) {
                    let deltas = read(&message);
                    prop_assert!(message.len() <= slice || deltas.len() == 1);
                    got.extend(deltas);
                    cursor = to;
                }
                prop_assert_eq!(&got, &sent);
                prop_assert_eq!(cursor, at);
            }
        }
    }

    #[test]
    fn readers_that_keep_pace_are_sent_the_same_bytes() {
        let mut window = Window::new(Position::default(), 1 << 20, 1 << 10);
        let mut at = Position::default();
        for _ in 0..2 {
            let before = at.revision;
            for _ in 0..3 {
                let next = delta(&at, 20);
                at = next.to;
                window.append(&next);
            }
            let [one, other] = [(); 2].map(|()| window.after(before).unwrap());
            assert_eq!((one.1, other.1), (at, at));
            assert_eq!(one.0.as_ptr(), other.0.as_ptr());
        }
    }
}
