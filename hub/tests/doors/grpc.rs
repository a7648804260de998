//! The gRPC door: the same operations, the same refusals.
use std::collections::BTreeSet;

use axle_hub::auth::Role;
use axle_proto::v1::{
    AddClusterRequest, ApplyPoliciesRequest, ListRequest, WatchRevisionRequest, admin_client::AdminClient,
};
use axle_transport::tls::{ClientTls, Expect, connect};
use tonic::{Code, Request, metadata::MetadataValue, transport::Channel};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};
use tonic_types::StatusExt as _;

use crate::fixture::{Hub, POLICY};

pub(crate) async fn channel(hub: &Hub) -> Channel {
    let root = hub.running.root().certificate().clone();
    let tls = ClientTls::anonymous(&[root], Expect::Hub).unwrap();
    connect(&hub.running.tls_address.to_string(), &tls).await.unwrap()
}

fn with_token<T>(hub: &Hub, role: Role, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let bearer: MetadataValue<_> = format!("Bearer {}", hub.token(role)).parse().unwrap();
    request.metadata_mut().insert("authorization", bearer);
    request
}

#[tokio::test]
async fn reflection_and_health_answer_without_a_token() {
    let hub = Hub::start().await;
    let channel = channel(&hub).await;
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = ServerReflectionClient::new(channel.clone())
        .server_reflection_info(futures::stream::iter([ask]))
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = answer else { panic!("{answer:?}") };
    let services: BTreeSet<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    for service in ["axle.v1.Admin", "axle.v1.Sync", "axle.v1.Enrollment", "grpc.health.v1.Health"] {
        assert!(services.contains(service), "{service} in {services:?}");
    }
    let request = tonic_health::pb::HealthCheckRequest { service: "axle.v1.Admin".into() };
    let mut health =
        tonic_health::pb::health_client::HealthClient::new(channel).watch(request).await.unwrap().into_inner();
    let serving = tonic_health::pb::health_check_response::ServingStatus::Serving;
    while health.message().await.unwrap().unwrap().status() != serving {}
}

#[tokio::test]
async fn the_table_holds_for_grpc_too() {
    let hub = Hub::start().await;
    let mut admin = AdminClient::new(channel(&hub).await);
    let unknown = admin.list_clusters(ListRequest::default()).await.unwrap_err();
    assert_eq!(unknown.code(), Code::Unauthenticated);
    let refused = admin.add_cluster(with_token(&hub, Role::Viewer, AddClusterRequest::default())).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn faults_travel_as_details() {
    let hub = Hub::with_fleet().await;
    let mut admin = AdminClient::new(channel(&hub).await);
    let wrong = AddClusterRequest { name: "EU".into(), ..AddClusterRequest::default() };
    let status = admin.add_cluster(with_token(&hub, Role::Admin, wrong)).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let details = status.get_error_details();
    let faults = &details.bad_request().unwrap().field_violations;
    assert_eq!(faults.iter().map(|fault| fault.field.as_str()).collect::<Vec<_>>(), ["name", "prefixes"]);

    let taken = AddClusterRequest { name: "east".into(), prefixes: vec!["10.9.0.0/16".into()], ..Default::default() };
    let status = admin.add_cluster(with_token(&hub, Role::Admin, taken)).await.unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists);
    let nobody = ListRequest { cluster: "south".into(), ..ListRequest::default() };
    let status = admin.list_endpoints(with_token(&hub, Role::Viewer, nobody)).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);

    let large = ApplyPoliciesRequest { document: " ".repeat(5 << 20), ..Default::default() };
    let status = admin.apply_policies(with_token(&hub, Role::Operator, large)).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
}

#[tokio::test]
async fn a_watched_revision_ends_when_it_is_done() {
    let hub = Hub::with_fleet().await;
    let mut admin = AdminClient::new(channel(&hub).await);
    let apply = ApplyPoliciesRequest { document: POLICY.into(), ..Default::default() };
    let revision = admin.apply_policies(with_token(&hub, Role::Operator, apply)).await.unwrap().into_inner().revision;
    let (east, west) = (hub.session("east"), hub.session("west"));
    let watch = WatchRevisionRequest { revision, timeout_ms: 0 };
    let mut progress = admin.watch_revision(with_token(&hub, Role::Viewer, watch)).await.unwrap().into_inner();
    assert_eq!(progress.message().await.unwrap().unwrap().applied, 0);
    for session in [&east, &west] {
        session.statuses(vec![hub.says("n2", revision)]);
    }
    let mut last = None;
    while let Some(now) = progress.message().await.unwrap() {
        last = Some(now);
    }
    let last = last.unwrap();
    assert_eq!((last.concerned, last.applied, last.done), (2, 2, true));
}
