//! One session, lower side.
use std::{sync::Arc, time::Duration};

use axle_core::{
    log::Position,
    session::{MAX_VERSION, MIN_VERSION, Receiver},
};
use axle_proto::{
    convert,
    v1::{self, HubMessage, SpokeMessage},
};
use http::{
    HeaderValue, Method, Uri,
    header::{CONTENT_TYPE, TE},
};
use tonic::{Code, Status, Streaming, metadata::GRPC_CONTENT_TYPE, transport::Channel};
use tower::{Service, ServiceExt};

use super::{Ended, Link, LinkState};
use crate::sync::{
    MAX_MESSAGE,
    codec::{Reader, body},
    host::SessionCounters,
    inbound,
    message::{FromHub, Other, SessionMessage},
    outbound::Outbound,
    outbox::Outbox,
    replica::{Goodbye, Replica},
};

/// From hello to whatever ends it.
pub(super) async fn run<R: Replica>(link: &mut Link<R>, channel: Channel, counters: &Arc<SessionCounters>) -> Ended {
    let outbox = Outbox::new();
    let _closing = Closing(outbox.clone());
    outbox.greet(hello(link));
    let outbound = Outbound {
        view: link.own.clone(),
        outbox: outbox.clone(),
        heartbeat: link.settings.heartbeat,
        counters: counters.clone(),
        _guard: None,
    };
    match tokio::time::timeout(link.settings.connect_timeout, open(channel, outbound)).await {
        Err(_) => Ended::Refused(Goodbye::because("the upstream did not welcome this side in time")),
        Ok(Err(status)) => Ended::Refused(Goodbye::because(said(&status))),
        Ok(Ok(incoming)) => match converse(link, incoming, &outbox).await {
            (true, goodbye) => Ended::Lost(goodbye),
            (false, goodbye) => Ended::Refused(goodbye),
        },
    }
}

/// Ends the writing half with the reading half, also if that is dropped: else it would say for ever that it lives.
struct Closing(Arc<Outbox<SpokeMessage>>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close(None);
    }
}

async fn open(mut channel: Channel, outbound: Outbound<SpokeMessage>) -> Result<Streaming<HubMessage>, Status> {
    let mut request = http::Request::new(body(outbound.stream(), None));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static("/axle.v1.Sync/Sync");
    request.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
    request.headers_mut().insert(CONTENT_TYPE, GRPC_CONTENT_TYPE);
    let answer = channel.ready().await.map_err(|error| Status::unavailable(error.to_string()))?.call(request).await;
    let (head, messages) = answer.map_err(|error| Status::from_error(error.into()))?.into_parts();
    // An answer that is nothing but a status has it in its head.
    match Status::from_header_map(&head.headers).filter(|status| status.code() != Code::Ok) {
        Some(status) => Err(status),
        None => Ok(Streaming::new_response(Reader::default(), messages, head.status, None, Some(MAX_MESSAGE))),
    }
}

fn hello<R: Replica>(link: &Link<R>) -> SpokeMessage {
    let hello = v1::Hello {
        min_version: MIN_VERSION,
        max_version: MAX_VERSION,
        features: link.settings.features.iter().map(ToString::to_string).collect(),
        agent_version: link.agent_version.clone(),
        node: link.node.clone(),
        resume: link.replica.held().as_ref().map(convert::position_to_wire),
        head: Some(convert::position_to_wire(&link.own.position())),
    };
    SpokeMessage { deltas: Vec::new(), message: Some(v1::spoke_message::Message::Hello(hello)) }
}

/// Takes what comes until the session ends: whether it was welcomed, and why it ended.
async fn converse<R: Replica>(
    link: &mut Link<R>,
    mut incoming: Streaming<HubMessage>,
    outbox: &Outbox<SpokeMessage>,
) -> (bool, Goodbye) {
    let mut receiver = Receiver::new(link.replica.held(), link.settings.features, link.settings.limits);
    let patience = link.settings.heartbeat.patience();
    let mut welcomed = false;
    let mut resume = None;
    link.statuses.mark_changed();
    let mut statuses_open = true;
    loop {
        let message = tokio::select! {
            message = tokio::time::timeout(patience, incoming.message()) => message,
            changed = link.statuses.changed(), if welcomed && statuses_open => {
                statuses_open = changed.is_ok();
                outbox.latest(statuses(link.statuses.borrow_and_update().clone()));
                continue;
            }
        };
        let taken = match message {
            Err(_) => return (welcomed, Goodbye::because(format_args!("the upstream was silent for {patience:?}"))),
            Ok(Err(status)) => return (welcomed, Goodbye::because(said(&status))),
            Ok(Ok(None)) => return (welcomed, Goodbye::because("the upstream ended the session")),
            Ok(Ok(Some(message))) => take(link, message, &mut receiver, outbox, &mut resume).await,
        };
        welcomed |= resume.is_some();
        if let Err(goodbye) = taken {
            return (welcomed, goodbye);
        }
        if link.replica.may_serve()
            && let Some(resume) = resume.take()
        {
            outbox.serve(resume);
        }
    }
}

async fn take<R: Replica>(
    link: &mut Link<R>,
    message: HubMessage,
    receiver: &mut Receiver,
    outbox: &Outbox<SpokeMessage>,
    welcomed: &mut Option<Option<Position>>,
) -> Result<(), Goodbye> {
    let incoming = message.read().map_err(Goodbye::because)?;
    match incoming.other {
        Some(Other::Ack(ack)) => link.replica.acknowledged(ack),
        Some(Other::Own(FromHub::Welcome(welcome))) => {
            let resume = welcome.resume.map(convert::position_from_wire).transpose().map_err(Goodbye::because)?;
            if let Some(head) = welcome.head {
                link.replica.head(convert::position_from_wire(head).map_err(Goodbye::because)?);
            }
            if resume.is_none() {
                link.replica.begins_anew();
            }
            *welcomed = Some(resume);
            link.state.send_replace(LinkState::Connected);
        }
        Some(Other::Own(FromHub::Ask)) => outbox.beat(),
        Some(Other::Own(FromHub::Goodbye(goodbye))) => {
            let retry_after = Duration::from_millis(goodbye.retry_after_ms);
            return Err(Goodbye { reason: goodbye.reason, retry_after });
        }
        None => {}
    }
    inbound::take(incoming.frames, receiver, &mut link.replica, outbox).await
}

fn statuses(statuses: Vec<v1::NodeStatus>) -> SpokeMessage {
    let statuses = v1::NodeStatuses { statuses };
    SpokeMessage { deltas: Vec::new(), message: Some(v1::spoke_message::Message::Statuses(statuses)) }
}

fn said(status: &Status) -> String {
    format!("the upstream said: {} ({:?})", status.message(), status.code())
}
