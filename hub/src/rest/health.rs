//! What whoever runs the hub asks: does it live, can it work.
use std::sync::Arc;

use axum::{Router, extract::State, routing::get};

use super::problem::Refusal;
use crate::operations::Operations;

pub(super) fn router() -> Router<Arc<Operations>> {
    Router::new().route("/livez", get(async || "ok\n")).route("/readyz", get(ready))
}

async fn ready(State(hub): State<Arc<Operations>>) -> Result<&'static str, Refusal> {
    hub.ready()?;
    Ok("ok\n")
}
