//! What each route does: unpack, call the operation, pack.
use std::sync::Arc;

use axle_proto::v1::{
    AddClusterRequest, ApplyPoliciesRequest, ApplyPoliciesResponse, AuthorityView, ClusterView, CreateTokenRequest,
    CreateTokenResponse, DeletePolicyRequest, DiffPoliciesResponse, DrainClusterRequest, ExplainRequest,
    ExplainResponse, LintPoliciesResponse, ListAuditRequest, ListAuditResponse, ListClustersResponse,
    ListEndpointsResponse, ListIdentitiesResponse, ListPoliciesResponse, ListRequest, ListServicesResponse,
    ListTokensResponse, ObserveRequest, PolicyHistoryRequest, PolicyHistoryResponse, PreviewRequest,
    RemoveClusterRequest, RemoveNodeRequest, RevokeTokenRequest, RollbackPolicyRequest, RotateAuthorityRequest,
    SetPolicyDisabledRequest, TestPoliciesResponse, WatchRevisionRequest, WriteResult,
};
use axum::{
    Extension, Json,
    extract::{FromRequest as _, Path, Request, State},
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, StatusCode};

use super::{
    input::{Body, Query, RequestId, content_type, read, unsupported},
    problem::Refusal,
    stream,
};
use crate::{
    auth::Caller,
    operations::{Operations, Problem, Violation},
};

type Hub = State<Arc<Operations>>;
type Answer<T> = Result<Json<T>, Refusal>;

pub(super) async fn list_clusters(State(hub): Hub, Query(request): Query<ListRequest>) -> Answer<ListClustersResponse> {
    Ok(Json(hub.list_clusters(&request)?))
}

pub(super) async fn add_cluster(
    State(hub): Hub,
    Extension(caller): Extension<Caller>,
    RequestId(id): RequestId,
    Body(mut request): Body<AddClusterRequest>,
) -> Result<(StatusCode, Json<ClusterView>), Refusal> {
    same("requestId", &mut request.request_id, id)?;
    Ok((StatusCode::CREATED, Json(hub.add_cluster(&caller, request).await?)))
}

pub(super) async fn drain_cluster(
    State(hub): Hub,
    Extension(caller): Extension<Caller>,
    RequestId(id): RequestId,
    Path(name): Path<String>,
    Body(mut request): Body<DrainClusterRequest>,
) -> Answer<WriteResult> {
    same("name", &mut request.name, name)?;
    same("requestId", &mut request.request_id, id)?;
    Ok(Json(hub.drain_cluster(&caller, request).await?))
}

pub(super) async fn remove_cluster(
    State(hub): Hub,
    Extension(caller): Extension<Caller>,
    RequestId(request_id): RequestId,
    Path(name): Path<String>,
) -> Answer<WriteResult> {
    Ok(Json(hub.remove_cluster(&caller, RemoveClusterRequest { name, request_id }).await?))
}

pub(super) async fn create_token(
    State(hub): Hub,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Body(mut request): Body<CreateTokenRequest>,
) -> Result<(StatusCode, Json<CreateTokenResponse>), Refusal> {
    same("cluster", &mut request.cluster, name)?;
    Ok((StatusCode::CREATED, Json(hub.create_token(&caller, request).await?)))
}

pub(super) async fn remove_node(
    State(hub): Hub,
    Extension(caller): Extension<Caller>,
    RequestId(request_id): RequestId,
    Path((cluster, node)): Path<(String, String)>,
) -> Answer<WriteResult> {
    Ok(Json(hub.remove_node(&caller, RemoveNodeRequest { cluster, node, request_id }).await?))
}

pub(super) async fn list_tokens(State(hub): Hub) -> Answer<ListTokensResponse> {
    Ok(Json(hub.list_tokens().await?))
}

pub(super) async fn revoke_token(
    State(hub): Hub,
    Extension(caller): Extension<Caller>,
    RequestId(request_id): RequestId,
    Path(id): Path<String>,
) -> Answer<WriteResult> {
    Ok(Json(hub.revoke_token(&caller, RevokeTokenRequest { id, request_id }).await?))
}

pub(super) async fn get_authority(State(hub): Hub) -> Json<AuthorityView> {
    Json(hub.authority())
}

pub(super) async fn rotate_authority(
    State(hub): Hub,
    Extension(caller): Extension<Caller>,
    RequestId(id): RequestId,
    Body(mut request): Body<RotateAuthorityRequest>,
) -> Answer<AuthorityView> {
    same("requestId", &mut request.request_id, id)?;
    Ok(Json(hub.rotate_authority(&caller, request).await?))
}

pub(super) async fn list_identities(
    State(hub): Hub,
    Query(request): Query<ListRequest>,
) -> Answer<ListIdentitiesResponse> {
    Ok(Json(hub.list_identities(&request)?))
}

pub(super) async fn list_endpoints(
    State(hub): Hub,
    Query(request): Query<ListRequest>,
) -> Answer<ListEndpointsResponse> {
    Ok(Json(hub.list_endpoints(&request)?))
}

pub(super) async fn list_services(State(hub): Hub, Query(request): Query<ListRequest>) -> Answer<ListServicesResponse> {
    Ok(Json(hub.list_services(&request)?))
}

pub(super) async fn list_policies(State(hub): Hub, Query(request): Query<ListRequest>) -> Answer<ListPoliciesResponse> {
    Ok(Json(hub.list_policies(&request)?))
}

/// JSON with a document in it, or the document itself.
pub(super) async fn apply_policies(
    State(hub): Hub,
    Extension(caller): Extension<Caller>,
    RequestId(id): RequestId,
    request: Request,
) -> Answer<ApplyPoliciesResponse> {
    let mut wanted = match content_type(request.headers()).as_str() {
        "application/json" => Body::from_request(request, &hub).await?.0,
        "application/yaml" => {
            let text = String::from_utf8(read(request).await?.into()).map_err(|error| {
                let at = error.utf8_error().valid_up_to();
                Refusal::of_form(
                    StatusCode::BAD_REQUEST,
                    "malformed_body",
                    format!("byte {at} of the body is not UTF-8"),
                )
            })?;
            ApplyPoliciesRequest { document: text, ..ApplyPoliciesRequest::default() }
        }
        other => return Err(unsupported(other, "application/json or application/yaml")),
    };
    same("requestId", &mut wanted.request_id, id)?;
    Ok(Json(hub.apply_policies(&caller, wanted).await?))
}

pub(super) async fn set_policy_disabled(
    State(hub): Hub,
    Extension(caller): Extension<Caller>,
    RequestId(id): RequestId,
    Path(name): Path<String>,
    Body(mut request): Body<SetPolicyDisabledRequest>,
) -> Answer<WriteResult> {
    same("name", &mut request.name, name)?;
    same("requestId", &mut request.request_id, id)?;
    Ok(Json(hub.set_policy_disabled(&caller, request).await?))
}

pub(super) async fn delete_policy(
    State(hub): Hub,
    Extension(caller): Extension<Caller>,
    RequestId(id): RequestId,
    Path(name): Path<String>,
    Query(mut request): Query<DeletePolicyRequest>,
) -> Answer<WriteResult> {
    same("name", &mut request.name, name)?;
    same("requestId", &mut request.request_id, id)?;
    Ok(Json(hub.delete_policy(&caller, request).await?))
}

pub(super) async fn explain(State(hub): Hub, Query(request): Query<ExplainRequest>) -> Answer<ExplainResponse> {
    Ok(Json(hub.explain(&request)?))
}

pub(super) async fn diff_policies(
    State(hub): Hub,
    Body(request): Body<PreviewRequest>,
) -> Answer<DiffPoliciesResponse> {
    Ok(Json(hub.diff_policies(&request).await?))
}

pub(super) async fn lint_policies(
    State(hub): Hub,
    Body(request): Body<PreviewRequest>,
) -> Answer<LintPoliciesResponse> {
    Ok(Json(hub.lint_policies(&request).await?))
}

pub(super) async fn test_policies(
    State(hub): Hub,
    Body(request): Body<PreviewRequest>,
) -> Answer<TestPoliciesResponse> {
    Ok(Json(hub.test_policies(&request).await?))
}

pub(super) async fn policy_history(
    State(hub): Hub,
    Path(name): Path<String>,
    Query(mut request): Query<PolicyHistoryRequest>,
) -> Answer<PolicyHistoryResponse> {
    same("name", &mut request.name, name)?;
    Ok(Json(hub.policy_history(&request).await?))
}

pub(super) async fn rollback_policy(
    State(hub): Hub,
    Extension(caller): Extension<Caller>,
    RequestId(id): RequestId,
    Path(name): Path<String>,
    Body(mut request): Body<RollbackPolicyRequest>,
) -> Answer<WriteResult> {
    same("name", &mut request.name, name)?;
    same("requestId", &mut request.request_id, id)?;
    Ok(Json(hub.rollback_policy(&caller, request).await?))
}

pub(super) async fn get_status(State(hub): Hub, headers: HeaderMap) -> Response {
    if stream::wanted(&headers) { stream::of(hub.watch_status()) } else { Json(hub.status()).into_response() }
}

pub(super) async fn watch_revision(
    State(hub): Hub,
    headers: HeaderMap,
    Path(revision): Path<String>,
    Query(mut request): Query<WatchRevisionRequest>,
) -> Result<Response, Refusal> {
    let number = revision.parse().map_err(|_| {
        Problem::invalid(vec![Violation::new("wrong_type", "revision", &revision, "a whole number, at least 1", "")])
    })?;
    if request.revision != 0 && request.revision != number {
        return Err(differs("revision", &request.revision.to_string(), &revision).into());
    }
    request.revision = number;
    let mut progress = hub.watch_revision(&request)?;
    if stream::wanted(&headers) {
        return Ok(stream::of(progress));
    }
    let first = futures::StreamExt::next(&mut progress).await;
    Ok(Json(first.unwrap_or_default()).into_response())
}

pub(super) async fn observe(State(hub): Hub, Query(request): Query<ObserveRequest>) -> Result<Response, Refusal> {
    Ok(stream::of(hub.observe(request)?))
}

pub(super) async fn list_audit(State(hub): Hub, Query(request): Query<ListAuditRequest>) -> Answer<ListAuditResponse> {
    Ok(Json(hub.list_audit(&request).await?))
}

/// What the path or a header says holds for the body too, which may repeat it but not say otherwise.
fn same(field: &str, of_body: &mut String, elsewhere: String) -> Result<(), Problem> {
    if of_body.is_empty() {
        *of_body = elsewhere;
    } else if !elsewhere.is_empty() && *of_body != elsewhere {
        return Err(differs(field, of_body, &elsewhere));
    }
    Ok(())
}

fn differs(field: &str, got: &str, elsewhere: &str) -> Problem {
    let want = format!("{elsewhere:?}, as the path or the header says");
    Problem::invalid(vec![Violation::new("contradiction", field, got, &want, "leave it out here")])
}
