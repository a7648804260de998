//! How much a message unfolds to, before it is decoded. An entry of a list may take two bytes on the wire and some
//! hundred in memory: a message of nothing but empty ones would be a hundred times as large as the limit on its bytes.
use prost::encoding::{WireType, decode_key, decode_varint};

/// The least bytes of an entry, on average: the smallest honest ones (a deleted node with its key and uid) have more.
const ENTRY: usize = 32;
/// Entries that need not be so large: a short message is no danger.
const FREE: usize = 4_096;

/// A field that is a list, or leads to one.
pub(super) struct Field {
    number: u32,
    /// Whether each occurrence is an entry of a list.
    entry: bool,
    inside: &'static [Field],
}

/// Messages whose lists are known.
pub(super) trait Shape {
    const LISTS: &'static [Field];
}

const fn list(number: u32, inside: &'static [Field]) -> Field {
    Field { number, entry: true, inside }
}

const fn one(number: u32, inside: &'static [Field]) -> Field {
    Field { number, entry: false, inside }
}

const ENVELOPE: &[Field] = &[list(4, &[])];
const DELTA: &[Field] = &[list(3, &[one(1, ENVELOPE)])];
const PAGE: &[Field] = &[list(3, ENVELOPE)];
const ACK: &[Field] = &[list(2, &[])];
const STATUS: &[Field] = &[list(5, &[]), list(10, &[]), list(11, &[])];

impl Shape for axle_proto::v1::SpokeMessage {
    const LISTS: &'static [Field] =
        &[list(1, DELTA), one(2, &[list(3, &[])]), one(3, PAGE), one(5, ACK), one(7, &[list(1, STATUS)])];
}

impl Shape for axle_proto::v1::HubMessage {
    const LISTS: &'static [Field] = &[list(1, DELTA), one(2, &[list(2, &[])]), one(3, PAGE), one(5, ACK)];
}

impl Shape for axle_proto::v1::FlowBatch {
    const LISTS: &'static [Field] = &[list(1, &[])];
}

/// Whether that message is worth its bytes.
///
/// # Errors
/// Says how many entries are too many, or that it is no message.
pub(super) fn check<M: Shape>(message: &[u8]) -> Result<(), String> {
    let most = FREE + message.len() / ENTRY;
    let mut entries = 0;
    count(message, M::LISTS, &mut entries, most)
}

fn count(mut message: &[u8], lists: &[Field], entries: &mut usize, most: usize) -> Result<(), String> {
    while !message.is_empty() {
        let (number, wire_type) = decode_key(&mut message).map_err(|why| why.to_string())?;
        let len = match wire_type {
            WireType::Varint => {
                decode_varint(&mut message).map_err(|why| why.to_string())?;
                continue;
            }
            WireType::ThirtyTwoBit => 4,
            WireType::SixtyFourBit => 8,
            WireType::LengthDelimited => decode_varint(&mut message).map_err(|why| why.to_string())?,
            WireType::StartGroup | WireType::EndGroup => return Err("groups are not part of any message".into()),
        };
        let split = usize::try_from(len).ok().and_then(|len| message.split_at_checked(len));
        let (value, rest) = split.ok_or("it ends within a field")?;
        message = rest;
        let Some(field) = lists.iter().find(|field| field.number == number) else { continue };
        *entries += usize::from(field.entry);
        if *entries > most {
            return Err(format!("more than {most} entries in so few bytes: wanted {ENTRY} bytes each, on average"));
        }
        // What has no lists inside may be a text.
        if !field.inside.is_empty() {
            count(value, field.inside, entries, most)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use axle_proto::v1::{
        Ack, Capacity, Change, Delta, Envelope, FlowBatch, Hello, HubMessage, NodeStatus, NodeStatuses, Refusal,
        SnapshotPage, SpokeMessage, hub_message, spoke_message::Message,
    };
    use prost::Message as _;

    use super::*;

    fn spoke(message: Message) -> Vec<u8> {
        SpokeMessage { deltas: Vec::new(), message: Some(message) }.encode_to_vec()
    }

    /// Each way to fill a message with `count` entries of nothing.
    fn hollow(count: usize) -> Vec<Vec<u8>> {
        let envelope = Envelope { required_features: vec![String::new(); count], ..Envelope::default() };
        let put = Change { change: Some(axle_proto::v1::change::Change::Put(envelope.clone())) };
        let delta = |changes| SpokeMessage { deltas: vec![Delta { changes, ..Delta::default() }], message: None };
        let status = |status| spoke(Message::Statuses(NodeStatuses { statuses: vec![status] }));
        let page = |objects| spoke(Message::Page(SnapshotPage { objects, ..SnapshotPage::default() }));
        vec![
            SpokeMessage { deltas: vec![Delta::default(); count], message: None }.encode_to_vec(),
            delta(vec![Change::default(); count]).encode_to_vec(),
            delta(vec![put]).encode_to_vec(),
            page(vec![Envelope::default(); count]),
            page(vec![envelope]),
            spoke(Message::Hello(Hello { features: vec![String::new(); count], ..Hello::default() })),
            spoke(Message::Ack(Ack { refused: vec![Refusal::default(); count], ..Ack::default() })),
            spoke(Message::Statuses(NodeStatuses { statuses: vec![NodeStatus::default(); count] })),
            status(NodeStatus { refused: vec![Refusal::default(); count], ..NodeStatus::default() }),
            status(NodeStatus { problems: vec![String::new(); count], ..NodeStatus::default() }),
            status(NodeStatus { capacity: vec![Capacity::default(); count], ..NodeStatus::default() }),
        ]
    }

    #[test]
    fn a_message_of_nothing_but_empty_entries_is_refused() {
        for message in hollow(100_000) {
            let why = check::<SpokeMessage>(&message).unwrap_err();
            assert!(why.contains("entries in so few bytes"), "{why}");
        }
        let welcome = axle_proto::v1::Welcome { features: vec![String::new(); 100_000], ..Default::default() };
        let welcome = HubMessage { deltas: Vec::new(), message: Some(hub_message::Message::Welcome(welcome)) };
        assert!(check::<HubMessage>(&welcome.encode_to_vec()).is_err());
        let flows = FlowBatch { flows: vec![Default::default(); 100_000], dropped: 0 };
        assert!(check::<FlowBatch>(&flows.encode_to_vec()).is_err());
    }

    #[test]
    fn what_is_short_or_full_passes() {
        for message in hollow(1_000) {
            check::<SpokeMessage>(&message).unwrap();
        }
        let key =
            axle_proto::v1::Key { kind: 3, cluster: vec![1; 16].into(), namespace: String::new(), name: "n".into() };
        let gone = axle_proto::v1::Tombstone { key: Some(key), uid: vec![2; 16].into() };
        let gone = Change { change: Some(axle_proto::v1::change::Change::Delete(gone)) };
        let required_features = vec!["teleport".to_owned()];
        let put = Envelope { required_features, payload: vec![7; 100].into(), ..Envelope::default() };
        let put = Change { change: Some(axle_proto::v1::change::Change::Put(put)) };
        let changes = [vec![gone; 200_000], vec![put; 100_000]].concat();
        let deltas = vec![Delta { changes, ..Delta::default() }];
        check::<SpokeMessage>(&SpokeMessage { deltas, message: None }.encode_to_vec()).unwrap();
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for bytes in [&[0x0a, 5, 0][..], &[0x0b], &[0x80], &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]] {
            assert!(check::<SpokeMessage>(bytes).is_err(), "{bytes:?}");
        }
    }
}
