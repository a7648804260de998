//! Nothing behind the gate sees a request that may not be made.
use axle_proto::v1::{AddClusterRequest, ListRequest, admin_client::AdminClient};
use http_body_util::{BodyExt as _, Full};
use tonic::Request;
use tower::{Service as _, ServiceExt as _};

use super::*;

fn people(hub: &Hub) -> Channel {
    let roots = [hub.running.root().certificate().clone()];
    channel(&hub.address(), &ClientTls::anonymous(&roots, Expect::Hub).unwrap()).unwrap()
}

fn bearing<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

#[tokio::test]
async fn a_role_opens_what_the_table_says() {
    let hub = Hub::start(&[]).await;
    let mut admin = AdminClient::new(people(&hub));
    let add = || AddClusterRequest {
        name: "one".into(),
        prefixes: vec!["10.1.0.0/16".into()],
        ..AddClusterRequest::default()
    };
    let nobody = admin.add_cluster(add()).await.unwrap_err();
    assert_eq!(nobody.code(), Code::Unauthenticated);
    let forged = admin.add_cluster(bearing(add(), "e30.e30.e30")).await.unwrap_err();
    assert_eq!((forged.code(), forged.message()), (Code::Unauthenticated, nobody.message()), "one text for both");
    for role in [Role::Viewer, Role::Operator] {
        let token = hub.bearer("alice", role);
        let refused = admin.add_cluster(bearing(add(), &token)).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
        assert!(refused.message().contains("needs admin"), "{}", refused.message());
        assert!(admin.list_clusters(bearing(ListRequest::default(), &token)).await.is_ok());
    }
    assert!(hub.objects(Kind::Cluster).is_empty());
    let token = hub.bearer("root", Role::Admin);
    assert!(admin.add_cluster(bearing(add(), &token)).await.is_ok());
    assert_eq!(hub.objects(Kind::Cluster).len(), 1);
}

#[tokio::test]
async fn a_relays_certificate_is_no_persons_token() {
    let hub = Hub::start(&[]).await;
    let relay = hub.relay("one", "10.1.0.0/16").await;
    let mut admin = AdminClient::new(channel(&hub.address(), &relay.tls()).unwrap());
    assert_eq!(admin.list_clusters(ListRequest::default()).await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn paths_that_only_look_like_a_method_reach_nothing() {
    let hub = Hub::start(&[]).await;
    let token = hub.bearer("root", Role::Admin);
    for path in [
        "//axle.v1.Admin/ListClusters",
        "/axle.v1.Admin//ListClusters",
        "/axle.v1.admin/ListClusters",
        "/axle.v1.Admin%2fListClusters",
        "/axle.v1.Admin/ListClusters/",
        "/axle.v1.Admin/None",
        "/",
    ] {
        let request = http::Request::post(path)
            .header("content-type", "application/grpc")
            .header("authorization", format!("Bearer {token}"))
            .body(tonic::body::Body::new(Full::new(bytes::Bytes::from_static(&[0; 5]))))
            .unwrap();
        let mut door = people(&hub);
        let response = door.ready().await.unwrap().call(request).await.unwrap();
        let status = response.headers().get("grpc-status").map(|status| status.to_str().unwrap().to_string());
        assert_eq!(status.as_deref(), Some("7"), "{path}: permission denied");
        assert!(response.into_body().collect().await.unwrap().to_bytes().is_empty(), "{path}");
    }
}
