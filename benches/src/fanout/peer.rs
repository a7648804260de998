//! The peer: a tonic service as it is usually written. Each stream takes each update from a shared list, makes a message of
//! it and lets tonic encode it; tonic joins what is ready into writes of 32 KiB.
use std::{pin::Pin, sync::Arc};

use axle_proto::v1::{self, sync_server::Sync};
use futures::Stream;
use tokio::sync::watch;
use tonic::{Request, Response, Status, Streaming};

/// Every update so far.
#[derive(Clone)]
pub(super) struct Peer(pub(super) watch::Sender<Vec<Arc<v1::Delta>>>);

#[tonic::async_trait]
impl Sync for Peer {
    type SyncStream = Pin<Box<dyn Stream<Item = Result<v1::HubMessage, Status>> + Send>>;

    async fn sync(&self, _: Request<Streaming<v1::SpokeMessage>>) -> Result<Response<Self::SyncStream>, Status> {
        let welcome = v1::hub_message::Message::Welcome(v1::Welcome::default());
        let welcome = v1::HubMessage { deltas: vec![], message: Some(welcome) };
        let begin = (self.0.subscribe(), Vec::new().into_iter(), 0);
        let deltas = futures::stream::unfold(begin, |(mut list, mut ready, mut taken)| async move {
            loop {
                if let Some(delta) = ready.next() {
                    let delta: Arc<v1::Delta> = delta;
                    let message = v1::HubMessage { deltas: vec![(*delta).clone()], message: None };
                    return Some((Ok(message), (list, ready, taken)));
                }
                list.changed().await.ok()?;
                let more = list.borrow_and_update()[taken..].to_vec();
                taken += more.len();
                ready = more.into_iter();
            }
        });
        let stream = futures::StreamExt::chain(futures::stream::iter([Ok(welcome)]), deltas);
        Ok(Response::new(Box::pin(stream)))
    }

    async fn report(&self, _: Request<Streaming<v1::FlowBatch>>) -> Result<Response<v1::ReportSummary>, Status> {
        Err(Status::unimplemented("not measured"))
    }
}
