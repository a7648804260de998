//! Metrics and health over plain HTTP, on loopback.
mod metrics;

use std::{net::SocketAddr, sync::Arc};

use axle_transport::acceptor::{Acceptor, Limits, bind};
use axum::{Router, extract::State, http::StatusCode, routing::get};
use tokio_util::sync::CancellationToken;

use super::answers::Answers;
use crate::tasks::Tasks;

/// Serves, and says where.
pub(super) fn start(address: SocketAddr, answers: Arc<Answers>, tasks: &mut Tasks) -> anyhow::Result<SocketAddr> {
    let routes = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(async |State(answers): State<Arc<Answers>>| metrics::render(&answers)))
        .with_state(answers);
    let listener = bind(address)?;
    let address = listener.local_addr()?;
    tasks.spawn("metrics", Acceptor::plain(Limits::default()).serve(listener, routes, CancellationToken::new()));
    Ok(address)
}

async fn ready(State(answers): State<Arc<Answers>>) -> (StatusCode, &'static str) {
    if answers.is_ready() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "no complete state is in force yet\n")
    }
}
