//! The REST door: `/api/v1`, problem+json, an OpenAPI document made from the same table as the router.
mod handlers;
mod health;
mod input;
mod openapi;
mod problem;
mod route;
mod stream;
mod table;

use std::sync::Arc;

use axum::{
    Router,
    response::{IntoResponse as _, Response},
    routing::get,
};
use http::{HeaderName, HeaderValue, header};
use tower_http::set_header::SetResponseHeaderLayer;

pub use problem::ProblemBody;

use crate::operations::Operations;

/// The API, and `pages` (the dashboard) beside it: what everybody may be served.
pub fn router(operations: Arc<Operations>, pages: Router) -> Router {
    let routes = table::routes();
    let document = openapi::document(&routes);
    let mut router: Router<Arc<Operations>> = Router::new();
    for route in routes {
        router = router.route(&route.full_path(), route.handler);
    }
    router
        .route("/api/v1/openapi.json", get(async move || json(document)))
        .merge(health::router())
        .with_state(operations)
        .layer(header_layer(header::CACHE_CONTROL, "no-store"))
        .merge(pages)
        .layer(header_layer(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(header_layer(header::REFERRER_POLICY, "no-referrer"))
}

/// What answers where nothing else does.
pub fn nowhere() -> Response {
    problem::Refusal::no_route().into_response()
}

fn json(document: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], document).into_response()
}

fn header_layer(name: HeaderName, value: &'static str) -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value))
}
