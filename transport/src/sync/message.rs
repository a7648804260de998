//! The two messages of a session, as one shape: frames of a log, an answer, and what only one side says.
use axle_core::{
    log::Position,
    session::{Ack, Fault, Frame},
};
use axle_proto::{
    convert::{self, Invalid},
    v1::{self, HubMessage, SpokeMessage},
};
use prost::Message;

use super::bounds;

/// A message that came.
#[derive(Debug)]
pub(super) struct Incoming<Own> {
    /// About the sender's log, in order.
    pub(super) frames: Vec<Frame>,
    pub(super) other: Option<Other<Own>>,
}

/// What is not about the sender's log.
#[derive(Debug)]
pub(super) enum Other<Own> {
    Ack(Ack),
    /// What only this side says.
    Own(Own),
}

/// One side's message.
pub(super) trait SessionMessage: Message + Default + 'static {
    /// What only this side says.
    type Own: Send;
    fn heartbeat(head: &Position) -> Self;
    fn ack(ack: &Ack) -> Self;
    fn read(self) -> Result<Incoming<Self::Own>, Fault>;
}

/// What only the lower side says.
#[derive(Debug)]
pub(super) enum FromSpoke {
    /// One too many: the session's own hello was read before.
    Hello,
    Statuses(Vec<v1::NodeStatus>),
}

/// What only the upper side says.
#[derive(Debug)]
pub(super) enum FromHub {
    Welcome(v1::Welcome),
    Goodbye(v1::Goodbye),
    Ask,
}

fn unreadable(invalid: Invalid) -> Fault {
    Fault::Unreadable(invalid.to_string())
}

/// The most deltas in one message. A slice of a log has some hundred; each is a command, and all of a message are done in
/// one transaction, for which everybody else waits.
const MOST_DELTAS: usize = 4_096;

fn deltas(wire: Vec<v1::Delta>) -> Result<Vec<Frame>, Fault> {
    if wire.len() > MOST_DELTAS {
        return Err(Fault::Unreadable(format!("it has {} deltas; wanted at most {MOST_DELTAS}", wire.len())));
    }
    wire.into_iter().map(|delta| convert::delta_from_wire(delta).map(Frame::Delta).map_err(unreadable)).collect()
}

fn head(wire: v1::Heartbeat) -> Result<Option<Frame>, Fault> {
    wire.head.map(|head| convert::position_from_wire(head).map(Frame::Head).map_err(unreadable)).transpose()
}

fn beat(head: &Position) -> v1::Heartbeat {
    v1::Heartbeat { head: Some(convert::position_to_wire(head)) }
}

macro_rules! session_message {
    ($message:ty, $of:path, $own:ty, { $($only:ident => $variant:expr),* }) => {
        impl SessionMessage for $message {
            type Own = $own;

            fn heartbeat(head: &Position) -> Self {
                use $of as of;
                Self { deltas: Vec::new(), message: Some(of::Heartbeat(beat(head))) }
            }

            fn ack(ack: &Ack) -> Self {
                use $of as of;
                Self { deltas: Vec::new(), message: Some(of::Ack(convert::ack_to_wire(ack))) }
            }

            fn read(self) -> Result<Incoming<$own>, Fault> {
                use $of as of;
                let mut frames = deltas(self.deltas)?;
                let other = match self.message {
                    None => None,
                    Some(of::Page(page)) => {
                        frames.push(Frame::Page(convert::page_from_wire(page).map_err(unreadable)?));
                        None
                    }
                    Some(of::Marker(marker)) => {
                        frames.push(Frame::Marker(convert::marker_from_wire(marker).map_err(unreadable)?));
                        None
                    }
                    Some(of::Heartbeat(heartbeat)) => {
                        frames.extend(head(heartbeat)?);
                        None
                    }
                    Some(of::Ack(ack)) => Some(Other::Ack(convert::ack_from_wire(ack).map_err(unreadable)?)),
                    $(Some(of::$only(only)) => Some(Other::Own($variant(only))),)*
                };
                Ok(Incoming { frames, other })
            }
        }
    };
}

session_message!(SpokeMessage, v1::spoke_message::Message, FromSpoke, {
    Hello => |_| FromSpoke::Hello,
    Statuses => |all: v1::NodeStatuses| FromSpoke::Statuses(all.statuses.into_iter().map(bounds::status).collect())
});
session_message!(HubMessage, v1::hub_message::Message, FromHub, {
    Welcome => FromHub::Welcome,
    Goodbye => FromHub::Goodbye,
    Ask => |_| FromHub::Ask
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_holds_so_many_deltas() {
        let at = |revision| v1::Position { epoch: vec![1; 16].into(), revision, hash: vec![2; 32].into() };
        let delta = |n: usize| v1::Delta { from: n as u64, to: Some(at(n as u64 + 1)), ..v1::Delta::default() };
        let message = |count| SpokeMessage { deltas: (0..count).map(delta).collect(), message: None };
        assert_eq!(message(MOST_DELTAS).read().unwrap().frames.len(), MOST_DELTAS);
        let fault = message(MOST_DELTAS + 1).read().unwrap_err().to_string();
        assert!(fault.contains("4097 deltas") && fault.contains("at most 4096"), "{fault}");
    }
}
