//! The table of contents of the API. A new route has a line here and one in the authorisation table.
use axle_proto::v1::{
    AddClusterRequest, ApplyPoliciesRequest, ApplyPoliciesResponse, AuthorityView, ClusterView, CreateTokenRequest,
    CreateTokenResponse, ExplainRequest, ExplainResponse, FleetStatus, FlowView, ListAuditRequest, ListAuditResponse,
    ListClustersResponse, ListEndpointsResponse, ListIdentitiesResponse, ListPoliciesResponse, ListRequest,
    ListServicesResponse, ListTokensResponse, ObserveRequest, RevisionProgress, RotateAuthorityRequest,
    SetPolicyDisabledRequest, WatchRevisionRequest, WriteResult,
};
use http::StatusCode;

use super::{
    handlers::{
        add_cluster, apply_policies, create_token, delete_policy, explain, get_authority, get_status, list_audit,
        list_clusters, list_endpoints, list_identities, list_policies, list_services, list_tokens, observe,
        remove_cluster, remove_node, revoke_token, rotate_authority, set_policy_disabled, watch_revision,
    },
    route::{Route, Streams},
};

/// Every route.
pub(super) fn routes() -> Vec<Route> {
    clusters().into_iter().chain(trust()).chain(workloads()).chain(policies()).chain(events()).collect()
}

fn clusters() -> [Route; 5] {
    [
        Route::get("/clusters", list_clusters)
            .named("ListClusters", "The clusters, by name.")
            .query::<ListRequest>()
            .answers::<ListClustersResponse>(),
        Route::post("/clusters", add_cluster)
            .named("AddCluster", "Registers a cluster.")
            .body::<AddClusterRequest>()
            .answers::<ClusterView>()
            .status(StatusCode::CREATED),
        Route::delete("/clusters/{name}", remove_cluster)
            .named("RemoveCluster", "Removes a cluster and everything it owns.")
            .answers::<WriteResult>(),
        Route::post("/clusters/{name}/tokens", create_token)
            .named("CreateToken", "Makes a one-time join token.")
            .body::<CreateTokenRequest>()
            .answers::<CreateTokenResponse>()
            .status(StatusCode::CREATED),
        Route::delete("/clusters/{name}/nodes/{node}", remove_node)
            .named("RemoveNode", "Removes a node that is gone for good.")
            .answers::<WriteResult>(),
    ]
}

fn trust() -> [Route; 4] {
    [
        Route::get("/tokens", list_tokens)
            .named("ListTokens", "The tokens that people bear.")
            .answers::<ListTokensResponse>(),
        Route::delete("/tokens/{id}", revoke_token)
            .named("RevokeToken", "Revokes a person's token for good.")
            .answers::<WriteResult>(),
        Route::get("/authority", get_authority)
            .named("GetAuthority", "The roots of the mesh's certificates, and how far a rotation is.")
            .answers::<AuthorityView>(),
        Route::post("/authority", rotate_authority)
            .named("RotateAuthority", "Takes the next step of a rotation of roots now.")
            .body::<RotateAuthorityRequest>()
            .answers::<AuthorityView>(),
    ]
}

fn workloads() -> [Route; 3] {
    [
        Route::get("/identities", list_identities)
            .named("ListIdentities", "The identities that run now.")
            .query::<ListRequest>()
            .answers::<ListIdentitiesResponse>(),
        Route::get("/endpoints", list_endpoints)
            .named("ListEndpoints", "The running workloads.")
            .query::<ListRequest>()
            .answers::<ListEndpointsResponse>(),
        Route::get("/services", list_services)
            .named("ListServices", "The global services.")
            .query::<ListRequest>()
            .answers::<ListServicesResponse>(),
    ]
}

fn policies() -> [Route; 5] {
    [
        Route::get("/policies", list_policies)
            .named("ListPolicies", "The policies.")
            .query::<ListRequest>()
            .answers::<ListPoliciesResponse>(),
        Route::post("/policies", apply_policies)
            .named("ApplyPolicies", "Applies all policies of a document at once, or none.")
            .body::<ApplyPoliciesRequest>()
            .or_yaml()
            .answers::<ApplyPoliciesResponse>(),
        Route::patch("/policies/{name}", set_policy_disabled)
            .named("SetPolicyDisabled", "Takes a policy out of force, or puts it back.")
            .body::<SetPolicyDisabledRequest>()
            .answers::<WriteResult>(),
        Route::delete("/policies/{name}", delete_policy)
            .named("DeletePolicy", "Deletes a policy.")
            .answers::<WriteResult>(),
        Route::get("/explain", explain)
            .named("Explain", "Which rule decides a flow, and why the rules before it do not.")
            .query::<ExplainRequest>()
            .answers::<ExplainResponse>(),
    ]
}

fn events() -> [Route; 4] {
    [
        Route::get("/status", get_status)
            .named("GetStatus", "How every cluster and node is, and how far.")
            .answers::<FleetStatus>()
            .streams(Streams::OnRequest),
        Route::get("/revisions/{revision}", watch_revision)
            .named("WatchRevision", "How far a revision has come.")
            .query::<WatchRevisionRequest>()
            .answers::<RevisionProgress>()
            .streams(Streams::OnRequest),
        Route::get("/flows", observe)
            .named("Observe", "Flows as their nodes report them, from now on.")
            .query::<ObserveRequest>()
            .answers::<FlowView>()
            .streams(Streams::Always),
        Route::get("/audit", list_audit)
            .named("ListAudit", "Who did what, the newest first.")
            .query::<ListAuditRequest>()
            .answers::<ListAuditResponse>(),
    ]
}
