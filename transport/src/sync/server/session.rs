//! One session, upper side.
use std::{sync::Arc, time::Duration};

use axle_core::{
    model::Name,
    session::{FEATURES, Receiver, negotiate},
};
use axle_proto::{
    convert,
    v1::{self, HubMessage, SpokeMessage},
};
use futures::StreamExt;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::Messages;
use crate::{
    pki::Peer,
    sync::{
        codec::framed,
        host::{Admission, Host, Introduction},
        inbound,
        message::{FromSpoke, Other, SessionMessage},
        outbound::Outbound,
        outbox::Outbox,
        replica::{Goodbye, Replica},
    },
};

/// How long a spoke may take to say hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// Waits for the hello, admits the spoke and begins to serve it.
pub(super) async fn open<H: Host>(
    host: Arc<H>,
    peer: Peer,
    mut incoming: Streaming<SpokeMessage>,
) -> Result<Messages, Status> {
    let first = tokio::time::timeout(HELLO_TIMEOUT, incoming.message()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("no hello came: wanted it as the first message"))??;
    let hello = match first.and_then(|message| message.message) {
        Some(v1::spoke_message::Message::Hello(hello)) => hello,
        _ => return Err(Status::invalid_argument("the first message is no hello; wanted hello")),
    };
    let version = negotiate(hello.min_version, hello.max_version).map_err(Status::failed_precondition)?;
    let introduction = introduction(hello).map_err(Status::invalid_argument)?;
    match host.admit(&peer, &introduction).await {
        Ok(admission) => Ok(serve(admission, incoming, &introduction, version)),
        Err(goodbye) => {
            let only = framed(&farewell(&goodbye));
            Ok(futures::stream::iter([only]).boxed())
        }
    }
}

/// What a hello says; it is logged and kept as long as the session, so that it has its bounds.
fn introduction(hello: v1::Hello) -> Result<Introduction, String> {
    for (what, got, most) in [
        ("bytes of node", hello.node.len(), Name::MAX),
        ("bytes of agent_version", hello.agent_version.len(), 64),
        ("features", hello.features.len(), 1_000),
    ] {
        if got > most {
            return Err(format!("the hello has {got} {what}; wanted at most {most}"));
        }
    }
    let position = |at| convert::position_from_wire(at).map_err(|invalid| invalid.to_string());
    Ok(Introduction {
        node: hello.node,
        agent_version: hello.agent_version,
        features: hello.features,
        resume: hello.resume.map(position).transpose()?,
        head: hello.head.map(position).transpose()?,
    })
}

fn serve<R: Replica>(
    admission: Admission<R>,
    incoming: Streaming<SpokeMessage>,
    introduction: &Introduction,
    version: u32,
) -> Messages {
    let Admission { view, replica, limits, heartbeat, end, ask, counters } = admission;
    let outbox = Outbox::new();
    let held = replica.held();
    let welcome = v1::Welcome {
        version,
        features: FEATURES.iter().map(ToString::to_string).collect(),
        head: Some(convert::position_to_wire(&view.position())),
        resume: held.as_ref().map(convert::position_to_wire),
    };
    outbox.greet(HubMessage { deltas: Vec::new(), message: Some(v1::hub_message::Message::Welcome(welcome)) });
    outbox.serve(introduction.resume);
    // The stream's end ends the reading half, and the other way round.
    let gone = CancellationToken::new();
    let reading = Reading { incoming, receiver: Receiver::new(held, FEATURES, limits), replica, end, ask };
    let (patience, posts, dropped) = (heartbeat.patience(), outbox.clone(), gone.clone());
    tokio::spawn(async move {
        let last = tokio::select! {
            last = reading.run(&posts, patience) => last,
            () = dropped.cancelled() => None,
        };
        posts.close(last.as_ref().map(farewell));
    });
    let outbound = Outbound { view, outbox, heartbeat, counters, _guard: Some(gone.drop_guard()) };
    outbound.stream().boxed()
}

struct Reading<R> {
    incoming: Streaming<SpokeMessage>,
    receiver: Receiver,
    replica: R,
    end: CancellationToken,
    ask: Arc<Notify>,
}

impl<R: Replica> Reading<R> {
    /// Reads until the spoke ends, is silent for too long, breaks the protocol, or the host ends the session. Says what
    /// the spoke is to be told, if it is still there.
    async fn run(mut self, outbox: &Outbox<HubMessage>, patience: Duration) -> Option<Goodbye> {
        loop {
            let message = tokio::select! {
                // A session that was replaced takes nothing any more, also not what lies ready to be read.
                biased;
                () = self.end.cancelled() => return Some(Goodbye::because("the session was ended: reconnect")),
                () = self.ask.notified() => {
                    let message = Some(v1::hub_message::Message::Ask(v1::Ask {}));
                    outbox.latest(HubMessage { deltas: Vec::new(), message });
                    continue;
                }
                message = tokio::time::timeout(patience, self.incoming.message()) => message,
            };
            let message = match message {
                Err(_) => return Some(Goodbye::because(format_args!("nothing was heard for {patience:?}"))),
                Ok(Ok(Some(message))) => message,
                Ok(Ok(None) | Err(_)) => return None,
            };
            if let Err(goodbye) = self.take(message, outbox).await {
                tracing::warn!(reason = %goodbye, "a spoke's session ends");
                return Some(goodbye);
            }
        }
    }

    async fn take(&mut self, message: SpokeMessage, outbox: &Outbox<HubMessage>) -> Result<(), Goodbye> {
        let incoming = message.read().map_err(Goodbye::because)?;
        match incoming.other {
            Some(Other::Ack(ack)) => self.replica.acknowledged(ack),
            Some(Other::Own(FromSpoke::Statuses(statuses))) => self.replica.statuses(statuses),
            Some(Other::Own(FromSpoke::Hello)) => {
                return Err(Goodbye::because("a second hello: wanted one a session"));
            }
            None => {}
        }
        inbound::take(incoming.frames, &mut self.receiver, &mut self.replica, outbox).await
    }
}

fn farewell(goodbye: &Goodbye) -> HubMessage {
    let retry_after_ms = u64::try_from(goodbye.retry_after.as_millis()).unwrap_or(u64::MAX);
    let goodbye = v1::Goodbye { reason: goodbye.reason.clone(), retry_after_ms };
    HubMessage { deltas: Vec::new(), message: Some(v1::hub_message::Message::Goodbye(goodbye)) }
}
