//! Every way in, behind one gate.
use std::sync::Arc;

use axle_proto::v1::enrollment_server::EnrollmentServer;
use axle_transport::sync::SyncServer;
use axum::{Router, extract::Request, middleware, response::Response};
use http::header;
use tonic::{Status, service::Routes};

use super::Parts;
use crate::{
    auth::{self, Names},
    dashboard,
    distribution::Distribution,
    grpc,
    metrics::{self, Metrics},
    operations::{self, Operations},
    rest,
};

/// The largest enrolment request, in bytes.
const MAX_ENROLMENT: usize = 64 * 1024;

/// What is served on each port.
pub(super) struct Doors {
    /// With TLS: everything; metrics at another path, for who has a token.
    pub(super) tls: Router,
    /// On loopback without TLS: what people look at.
    pub(super) local: Router,
}

impl Doors {
    pub(super) fn new(parts: &Parts, distribution: Arc<Distribution>) -> anyhow::Result<Self> {
        let operations = operations(parts);
        let metrics = Metrics::new(operations.clone());
        let enrollment = EnrollmentServer::from_arc(parts.enroller.clone()).max_decoding_message_size(MAX_ENROLMENT);
        let spokes = Routes::default().add_service(SyncServer::new(distribution)).add_service(enrollment);
        let grpc = grpc::add_services(spokes, operations.clone())?.into_axum_router().reset_fallback();
        let rest = rest::router(operations, dashboard::router());
        Ok(Self {
            tls: gated(parts, &metrics, Names::Any, grpc.merge(rest.clone()).merge(metrics.router("/api/metrics"))),
            local: gated(parts, &metrics, Names::Loopback, rest.merge(metrics.router("/metrics"))),
        })
    }
}

fn operations(parts: &Parts) -> Arc<Operations> {
    Operations::new(operations::Parts {
        replica: parts.replica.clone(),
        writer: parts.writer.clone(),
        store: parts.store.clone(),
        live: parts.live.clone(),
        sessions: parts.sessions.clone(),
        authorities: parts.authorities.clone(),
        enroller: parts.enroller.clone(),
        tokens: parts.tokens.clone(),
        advertised: parts.advertised.first().cloned().unwrap_or_default(),
        stopping: parts.stopping.clone(),
    })
}

fn gated(parts: &Parts, metrics: &Arc<Metrics>, names: Names, router: Router) -> Router {
    router
        .fallback(nowhere)
        .layer(middleware::from_fn_with_state(parts.gate.clone(), auth::guard))
        .layer(middleware::from_fn_with_state(names, auth::own_pages))
        .layer(middleware::from_fn_with_state(metrics.clone(), metrics::count))
}

async fn nowhere(request: Request) -> Response {
    let content = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if content.is_some_and(|content| content.starts_with("application/grpc")) {
        return Status::unimplemented("there is no such method in this version").into_http();
    }
    rest::nowhere()
}
