//! Flows on their way up, on a stream of their own: they never hold up a session, and what is lost is counted.
use std::{sync::atomic::Ordering, time::Duration};

use axle_proto::v1::{Flow, FlowBatch, sync_client::SyncClient};
use axle_transport::tls::{ClientTls, channel};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::flow_queue::FlowSource;

/// Flows in one batch, at most.
const BATCH: usize = 512;
/// How long flows gather.
const GATHER: Duration = Duration::from_millis(200);
/// The wait before another attempt.
const PAUSE: Duration = Duration::from_secs(2);

/// Sends what comes from `source` to `address`, for ever.
pub async fn keep_reporting(mut source: FlowSource, address: String, tls: ClientTls) {
    let mut told = 0;
    loop {
        // Without anything to send there is no stream.
        let Some(first) = source.flows.recv().await else { return };
        match channel(&address, &tls) {
            Ok(channel) => stream(&mut source, first, &mut told, SyncClient::new(channel)).await,
            Err(error) => tracing::warn!(%error, "flows cannot be reported"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// One stream, until it breaks.
async fn stream(
    source: &mut FlowSource,
    first: Flow,
    told: &mut u64,
    mut client: SyncClient<tonic::transport::Channel>,
) {
    let (sender, receiver) = mpsc::channel(2);
    let call = client.report(ReceiverStream::new(receiver));
    tokio::pin!(call);
    let mut flows = vec![first];
    loop {
        let batch = tokio::select! {
            ended = &mut call => return report_end(ended.err()),
            batch = gather(source, std::mem::take(&mut flows), told) => batch,
        };
        tokio::select! {
            ended = &mut call => return report_end(ended.err()),
            sent = sender.send(batch) => if sent.is_err() { return },
        }
    }
}

fn report_end(error: Option<tonic::Status>) {
    if let Some(status) = error {
        tracing::debug!(reason = %status.message(), "the stream of flows ended");
    }
}

/// The next batch: what gathers in a short while after the first flow.
async fn gather(source: &mut FlowSource, mut flows: Vec<Flow>, told: &mut u64) -> FlowBatch {
    if flows.is_empty()
        && let Some(flow) = source.flows.recv().await
    {
        flows.push(flow);
    }
    let until = tokio::time::Instant::now() + GATHER;
    while flows.len() < BATCH {
        match tokio::time::timeout_at(until, source.flows.recv()).await {
            Ok(Some(flow)) => flows.push(flow),
            Ok(None) | Err(_) => break,
        }
    }
    let dropped = source.dropped.load(Ordering::Relaxed);
    let lately = dropped - *told;
    *told = dropped;
    FlowBatch { flows, dropped: lately }
}
