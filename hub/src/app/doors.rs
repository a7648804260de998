//! Every way in, behind one gate.
use std::sync::Arc;

use axle_proto::v1::enrollment_server::EnrollmentServer;
use axle_transport::sync::SyncServer;
use axum::{
    Router,
    extract::Request,
    middleware,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};
use serde_json::json;
use tonic::{Status, service::Routes};

use super::Parts;
use crate::{auth, distribution::Distribution};

/// The largest enrolment request, in bytes.
const MAX_ENROLMENT: usize = 64 * 1024;

/// What is served with TLS: everything.
pub(super) fn tls(parts: &Parts, distribution: Arc<Distribution>) -> Router {
    let enrollment = EnrollmentServer::from_arc(parts.enroller.clone()).max_decoding_message_size(MAX_ENROLMENT);
    let grpc = Routes::default().add_service(SyncServer::new(distribution)).add_service(enrollment);
    gated(parts, grpc.into_axum_router().reset_fallback())
}

/// What is served on loopback without TLS: what people look at.
pub(super) fn local(parts: &Parts) -> Router {
    gated(parts, Router::new())
}

fn gated(parts: &Parts, router: Router) -> Router {
    router.fallback(nowhere).layer(middleware::from_fn_with_state(parts.gate.clone(), auth::guard))
}

async fn nowhere(request: Request) -> Response {
    let content = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if content.is_some_and(|content| content.starts_with("application/grpc")) {
        return Status::unimplemented("there is no such method in this version").into_http();
    }
    let body = json!({
        "type": "about:blank", "title": "Not Found", "status": 404, "code": "no_route",
        "detail": "there is nothing at this path; the API is described at /api/v1/openapi.json",
    });
    (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}
