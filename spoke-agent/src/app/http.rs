//! Metrics and health over plain HTTP on loopback, and metrics elsewhere where that is asked for.
mod metrics;

use std::{net::SocketAddr, sync::Arc};

use axle_transport::acceptor::{Acceptor, Limits, bind};
use axum::{Router, extract::State, http::StatusCode, routing::get};
use tokio_util::sync::CancellationToken;

use super::answers::Answers;
use crate::tasks::Tasks;

/// Serves both, and says where.
pub(super) fn start(address: SocketAddr, answers: Arc<Answers>, tasks: &mut Tasks) -> anyhow::Result<SocketAddr> {
    let health = Router::new().route("/livez", get(async || "ok\n")).route("/readyz", get(ready));
    serve("metrics and health", address, health.merge(metrics()).with_state(answers), tasks)
}

/// Serves metrics alone, and says where.
pub(super) fn start_metrics(
    address: SocketAddr,
    answers: Arc<Answers>,
    tasks: &mut Tasks,
) -> anyhow::Result<SocketAddr> {
    serve("metrics", address, metrics().with_state(answers), tasks)
}

fn metrics() -> Router<Arc<Answers>> {
    Router::new().route("/metrics", get(async |State(answers): State<Arc<Answers>>| metrics::render(&answers)))
}

fn serve(name: &'static str, address: SocketAddr, routes: Router, tasks: &mut Tasks) -> anyhow::Result<SocketAddr> {
    let listener = bind(address)?;
    let address = listener.local_addr()?;
    tasks.spawn(name, Acceptor::plain(Limits::default()).serve(listener, routes, CancellationToken::new()));
    Ok(address)
}

async fn ready(State(answers): State<Arc<Answers>>) -> (StatusCode, &'static str) {
    if answers.is_ready() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "no complete state is in force yet\n")
    }
}
