//! What Prometheus reads: requests as they are answered, the fleet as it is at the moment of asking.
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use axle_core::model::Kind;
use axle_proto::v1::{ClusterStatus, FleetStatus};
use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
    routing::get,
};
use http::header;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::{auth::grpc_rule, operations::Operations};

/// Bounds of the histogram of answering times, in seconds.
const SECONDS: [f64; 10] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0];

/// The hub's metrics.
#[derive(Debug)]
pub struct Metrics {
    operations: Arc<Operations>,
    requests: Family<Answered, Counter>,
    durations: Family<Asked, Histogram, fn() -> Histogram>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    /// A gRPC method, or a route with its placeholders: as many as there are in the program.
    operation: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    operation: String,
    /// The HTTP status; of a gRPC call its code.
    status: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCluster {
    cluster: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfNode {
    cluster: String,
    node: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    kind: &'static str,
}

impl Metrics {
    /// Metrics of these operations.
    #[must_use]
    pub fn new(operations: Arc<Operations>) -> Arc<Self> {
        let histogram: fn() -> Histogram = || Histogram::new(SECONDS);
        Arc::new(Self { operations, requests: Family::default(), durations: Family::new_with_constructor(histogram) })
    }

    /// The page, at this path.
    pub fn router(self: &Arc<Self>, path: &str) -> Router {
        Router::new().route(path, get(scrape)).with_state(Arc::clone(self))
    }

    fn registry(&self) -> Registry {
        let mut registry = Registry::with_prefix("axle_hub");
        registry.register("requests", "Requests answered", self.requests.clone());
        let help = "Time to answer a request; of a stream, to begin it";
        registry.register_with_unit("request_duration", help, Unit::Seconds, self.durations.clone());
        self.objects(&mut registry);
        let lost: Counter = Counter::default();
        lost.inc_by(self.operations.flows_lost());
        registry.register("flows_lost", "Flow events lost on their way to the hub", lost);
        let observers = self.operations.flow_observers() as u64;
        plain(&mut registry, "flow_observers", "Streams of flows that are read now", observers);
        let FleetStatus { head, clusters, .. } = self.operations.status();
        let revision = head.map(|head| head.revision).unwrap_or_default();
        plain(&mut registry, "head_revision", "Revision of the log's head", revision);
        of_clusters(&mut registry, &clusters);
        of_nodes(&mut registry, &clusters);
        registry
    }

    fn objects(&self, registry: &mut Registry) {
        let objects: Family<OfKind, Gauge<u64, AtomicU64>> = Family::default();
        for (kind, count) in self.operations.objects() {
            objects.get_or_create(&OfKind { kind: kind_name(kind) }).set(count);
        }
        registry.register("objects", "Objects in the log by kind", objects);
    }
}

/// The middleware that counts requests.
pub async fn count(State(metrics): State<Arc<Metrics>>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let route =
        request.extensions().get::<MatchedPath>().map(|route| format!("{} {}", request.method(), route.as_str()));
    let operation = grpc_rule(path).map(|_| path.to_owned()).or(route).unwrap_or_else(|| "none".into());
    let began = Instant::now();
    let response = next.run(request).await;
    let code =
        response.headers().get("grpc-status").and_then(|code| code.to_str().ok()).map(|code| format!("grpc {code}"));
    let status = code.unwrap_or_else(|| response.status().as_u16().to_string());
    metrics.durations.get_or_create(&Asked { operation: operation.clone() }).observe(began.elapsed().as_secs_f64());
    metrics.requests.get_or_create(&Answered { operation, status }).inc();
    response
}

async fn scrape(State(metrics): State<Arc<Metrics>>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &metrics.registry()) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be written");
            http::StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn plain(registry: &mut Registry, name: &str, help: &str, value: u64) {
    let gauge: Gauge<u64, AtomicU64> = Gauge::default();
    gauge.inner().store(value, Ordering::Relaxed);
    registry.register(name, help, gauge);
}

/// A gauge with one value for each labelled thing.
fn family<L>(registry: &mut Registry, name: &str, help: &str, values: impl Iterator<Item = (L, u64)>)
where
    L: EncodeLabelSet + Clone + Eq + std::hash::Hash + std::fmt::Debug + Send + Sync + 'static,
{
    let gauges: Family<L, Gauge<u64, AtomicU64>> = Family::default();
    for (labels, value) in values {
        gauges.get_or_create(&labels).set(value);
    }
    registry.register(name, help, gauges);
}

fn of_clusters(registry: &mut Registry, clusters: &[ClusterStatus]) {
    let mut gauge = |name, help, value: fn(&ClusterStatus) -> u64| {
        let values = clusters.iter().map(|it| (OfCluster { cluster: it.name.clone() }, value(it)));
        family(registry, name, help, values);
    };
    gauge("cluster_connected", "1 if the cluster's relay has a session", |it| it.connected.into());
    gauge("cluster_fresh", "1 if the cluster was heard of within three heartbeats", |it| it.fresh.into());
    gauge("cluster_received_revision", "Revision that the relay's copy has reached", |it| it.received_revision);
    gauge("cluster_resyncs", "Snapshots sent to the cluster since the hub started", |it| it.resyncs);
    gauge("cluster_resumes", "Sessions of the cluster that resumed since the hub started", |it| it.resumes);
}

fn of_nodes(registry: &mut Registry, clusters: &[ClusterStatus]) {
    let mut gauge = |name, help, value: fn(&axle_proto::v1::NodeStatusView) -> u64| {
        let nodes = clusters.iter().flat_map(|cluster| cluster.nodes.iter().map(move |node| (cluster, node)));
        let values = nodes
            .map(|(cluster, node)| (OfNode { cluster: cluster.name.clone(), node: node.name.clone() }, value(node)));
        family(registry, name, help, values);
    };
    gauge("node_applied_revision", "Revision that the node's kernel holds", |node| node.applied_revision);
    gauge("node_lag_revisions", "Revisions behind the head", |node| node.lag);
    gauge("node_degraded", "1 if the node refused something", |node| node.degraded.into());
    gauge("node_bypassed", "1 if enforcement is switched off by hand", |node| node.bypassed.into());
    gauge("node_workloads", "Workloads on the node", |node| node.workloads.into());
    gauge("node_enforced_workloads", "Workloads whose both hooks see packets", |node| node.enforced_workloads.into());
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Fleet => "fleet",
        Kind::Cluster => "cluster",
        Kind::Node => "node",
        Kind::Namespace => "namespace",
        Kind::Endpoint => "endpoint",
        Kind::ServiceExport => "service_export",
        Kind::ServiceImport => "service_import",
        Kind::Policy => "policy",
        Kind::PolicyTest => "policy_test",
        Kind::Service => "service",
        Kind::EndpointSlice => "endpoint_slice",
    }
}
