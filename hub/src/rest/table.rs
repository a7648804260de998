//! The table of contents of the API. A new route has a line here and one in the authorisation table.
use axle_proto::v1::{
    AddClusterRequest, ApplyPoliciesRequest, ApplyPoliciesResponse, AuthorityView, ClusterView, CreateTokenRequest,
    CreateTokenResponse, DeletePolicyRequest, DiffPoliciesResponse, DrainClusterRequest, ExplainRequest,
    ExplainResponse, FleetStatus, FlowView, LintPoliciesResponse, ListAuditRequest, ListAuditResponse,
    ListClustersResponse, ListEndpointsResponse, ListIdentitiesResponse, ListPoliciesResponse, ListRequest,
    ListServicesResponse, ListTokensResponse, ObserveRequest, PolicyHistoryRequest, PolicyHistoryResponse,
    PreviewRequest, RevisionProgress, RollbackPolicyRequest, RotateAuthorityRequest, SetPolicyDisabledRequest,
    TestPoliciesResponse, WatchRevisionRequest, WriteResult,
};
use http::StatusCode;

use super::{
    handlers::{
        add_cluster, apply_policies, create_token, delete_policy, diff_policies, drain_cluster, explain, get_authority,
        get_status, lint_policies, list_audit, list_clusters, list_endpoints, list_identities, list_policies,
        list_services, list_tokens, observe, policy_history, remove_cluster, remove_node, revoke_token,
        rollback_policy, rotate_authority, set_policy_disabled, test_policies, watch_revision,
    },
    route::{Route, Streams},
};

/// Every route.
pub(super) fn routes() -> Vec<Route> {
    clusters().into_iter().chain(trust()).chain(workloads()).chain(policies()).chain(events()).collect()
}

fn clusters() -> [Route; 6] {
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
        Route::post("/clusters/{name}/drain", drain_cluster)
            .named("DrainCluster", "Leads nobody in other clusters to a cluster's backends any more, or does so again.")
            .body::<DrainClusterRequest>()
            .answers::<WriteResult>(),
        Route::delete("/clusters/{name}", remove_cluster)
            .named("RemoveCluster", "Removes a cluster and everything it owns, at once.")
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

fn policies() -> [Route; 10] {
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
            .query::<DeletePolicyRequest>()
            .answers::<WriteResult>(),
        Route::get("/explain", explain)
            .named("Explain", "Which rule decides a flow, and why the rules before it do not.")
            .query::<ExplainRequest>()
            .answers::<ExplainResponse>(),
        Route::post("/preview/diff", diff_policies)
            .named("DiffPolicies", "Which flows would get another verdict if policies were applied or deleted.")
            .body::<PreviewRequest>()
            .answers::<DiffPoliciesResponse>(),
        Route::post("/preview/lint", lint_policies)
            .named("LintPolicies", "What about policies their authors should look at.")
            .body::<PreviewRequest>()
            .answers::<LintPoliciesResponse>(),
        Route::post("/preview/test", test_policies)
            .named("TestPolicies", "Runs tests of policies: those given, or else those that are kept.")
            .body::<PreviewRequest>()
            .answers::<TestPoliciesResponse>(),
        Route::get("/policies/{name}/history", policy_history)
            .named("PolicyHistory", "The versions of a policy.")
            .query::<PolicyHistoryRequest>()
            .answers::<PolicyHistoryResponse>(),
        Route::post("/policies/{name}/rollback", rollback_policy)
            .named("RollbackPolicy", "Brings a version of a policy back.")
            .body::<RollbackPolicyRequest>()
            .answers::<WriteResult>(),
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
