//! How a log lies on disk. Field numbers are on disk for ever.
use std::collections::BTreeMap;

use axle_core::{
    log::{Change, Contents, Delta, Position},
    model::{Key, Kind, Name},
    refusal::Refusal,
};
use axle_proto::{
    convert::{
        Invalid, Wire, contents_from_wire, contents_to_wire, delta_from_wire, delta_to_wire, position_from_wire,
        position_to_wire, refusal_from_wire, refusal_to_wire,
    },
    v1,
};
use prost::Message;

use super::Feed;

#[derive(Clone, PartialEq, Message)]
struct State {
    #[prost(message, optional, tag = "1")]
    contents: Option<v1::Contents>,
    #[prost(message, repeated, tag = "2")]
    feeds: Vec<Fed>,
    #[prost(message, repeated, tag = "3")]
    unread: Vec<v1::Refusal>,
    /// The newest kind that the writer knew; 0 if it did not say.
    #[prost(uint32, tag = "4")]
    newest_kind: u32,
}

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(message, optional, tag = "1")]
    delta: Option<v1::Delta>,
    #[prost(message, optional, tag = "2")]
    fed: Option<Fed>,
    /// Absent: as before.
    #[prost(message, optional, tag = "3")]
    unread: Option<Refusals>,
}

#[derive(Clone, PartialEq, Message)]
struct Refusals {
    #[prost(message, repeated, tag = "1")]
    all: Vec<v1::Refusal>,
}

/// A feed and how far it has been taken in.
#[derive(Clone, PartialEq, Message)]
struct Fed {
    #[prost(enumeration = "From", tag = "1")]
    from: i32,
    #[prost(string, tag = "2")]
    node: String,
    /// Absent: it begins with everything again.
    #[prost(message, optional, tag = "3")]
    at: Option<v1::Position>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
enum From {
    Unspecified = 0,
    Upstream = 1,
    Local = 2,
    Node = 3,
}

fn fed(feed: &Feed, at: Option<Position>) -> Fed {
    let (from, node) = match feed {
        Feed::Upstream => (From::Upstream, String::new()),
        Feed::Local => (From::Local, String::new()),
        Feed::Node(name) => (From::Node, name.to_string()),
    };
    Fed { from: from.into(), node, at: at.as_ref().map(position_to_wire) }
}

fn read_fed(fed: Fed) -> Result<(Feed, Option<Position>), String> {
    let feed = match fed.from() {
        From::Upstream => Feed::Upstream,
        From::Local => Feed::Local,
        From::Node => Feed::Node(Name::new(fed.node.clone()).map_err(|error| error.to_string())?),
        From::Unspecified => return Err(format!("a feed of the unknown sort {}", fed.from)),
    };
    let at = fed.at.map(position_from_wire).transpose().map_err(text)?;
    Ok((feed, at))
}

fn text(invalid: Invalid) -> String {
    invalid.to_string()
}

fn unread_to_wire(unread: &BTreeMap<Key, Refusal>) -> Vec<v1::Refusal> {
    unread.values().map(refusal_to_wire).collect()
}

fn read_unread(unread: Vec<v1::Refusal>) -> Result<BTreeMap<Key, Refusal>, String> {
    let one = |refusal| refusal_from_wire(refusal).map(|refusal| (refusal.key.clone(), refusal));
    unread.into_iter().map(one).collect::<Result<_, _>>().map_err(text)
}

/// A revision as it is kept.
pub(super) struct Kept {
    pub(super) delta: Delta,
    /// The feed that it came from, and how far that has been taken in with it.
    pub(super) feed: Feed,
    pub(super) at: Option<Position>,
    /// What of the upstream's log is not in this one, if that changed.
    pub(super) unread: Option<BTreeMap<Key, Refusal>>,
}

/// A revision with the feed that it came from.
pub(super) fn entry(
    delta: &Delta,
    feed: &Feed,
    at: Option<Position>,
    unread: Option<&BTreeMap<Key, Refusal>>,
) -> Vec<u8> {
    let unread = unread.map(|unread| Refusals { all: unread_to_wire(unread) });
    Entry { delta: Some(delta_to_wire(delta)), fed: Some(fed(feed, at)), unread }.encode_to_vec()
}

pub(super) fn read_entry(bytes: &[u8]) -> Result<Kept, String> {
    let entry = Entry::decode(bytes).map_err(|error| error.to_string())?;
    let Entry { delta: Some(delta), fed: Some(fed), unread } = entry else {
        return Err("an entry without its delta or its feed".into());
    };
    let Delta { from, to, changes, origin } = delta_from_wire(delta).map_err(text)?;
    let open = |change| match change {
        Change::Put(envelope) => axle_core::model::Envelope::open(envelope, &Wire).map(Change::Put),
        Change::Delete { key, uid } => Ok(Change::Delete { key, uid }),
    };
    let changes = changes.into_iter().map(open).collect::<Result<_, _>>()?;
    let (feed, at) = read_fed(fed)?;
    let unread = unread.map(|unread| read_unread(unread.all)).transpose()?;
    Ok(Kept { delta: Delta { from, to, changes, origin }, feed, at, unread })
}

/// Everything.
pub(super) fn state(contents: &Contents, feeds: &BTreeMap<Feed, Position>, unread: &BTreeMap<Key, Refusal>) -> Vec<u8> {
    let feeds = feeds.iter().map(|(feed, at)| fed(feed, Some(*at))).collect();
    let (contents, unread) = (Some(contents_to_wire(contents)), unread_to_wire(unread));
    State { contents, feeds, unread, newest_kind: newest_kind() }.encode_to_vec()
}

fn newest_kind() -> u32 {
    Kind::ALL.into_iter().map(|kind| kind as u32).max().unwrap_or_default()
}

/// The state as a program wrote it that knew fewer kinds.
#[cfg(test)]
pub(super) fn as_if_older(bytes: &[u8]) -> Vec<u8> {
    State { newest_kind: 0, ..State::decode(bytes).unwrap() }.encode_to_vec()
}

/// The log, how far its feeds have been taken in, and what of the upstream's is not in it.
pub(super) type Everything = (Contents, BTreeMap<Feed, Position>, BTreeMap<Key, Refusal>);

/// A log as it was kept.
pub(super) struct Found {
    pub(super) everything: Everything,
    /// Whether its writer knew fewer kinds: those above did not send it the others.
    pub(super) lacks_kinds: bool,
}

pub(super) fn read_state(bytes: &[u8]) -> Result<Found, String> {
    let state = State::decode(bytes).map_err(|error| error.to_string())?;
    let contents = contents_from_wire(state.contents.ok_or("it holds no log")?).map_err(text)?;
    let mut feeds = BTreeMap::new();
    for fed in state.feeds {
        if let (feed, Some(at)) = read_fed(fed)? {
            feeds.insert(feed, at);
        }
    }
    let everything = (contents, feeds, read_unread(state.unread)?);
    Ok(Found { everything, lacks_kinds: state.newest_kind < newest_kind() })
}
