//! Streams as server-sent events: one JSON message each.
use std::convert::Infallible;

use axum::response::{
    IntoResponse as _, Response, Sse,
    sse::{Event, KeepAlive},
};
use futures::{Stream, StreamExt as _};
use http::{HeaderMap, header};
use serde::Serialize;

/// Whether the caller asks for a stream.
pub(super) fn wanted(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accept.split(',').any(|kind| kind.trim().starts_with("text/event-stream"))
}

/// The items as events, with comments in between so that a dead connection is noticed.
pub(super) fn of<T: Serialize + Send + 'static>(items: impl Stream<Item = T> + Send + 'static) -> Response {
    let events = items.filter_map(async |item| match serde_json::to_string(&item) {
        Ok(text) => Some(Ok::<_, Infallible>(Event::default().data(text))),
        Err(error) => {
            tracing::error!(%error, "an event cannot be written as JSON");
            None
        }
    });
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}
