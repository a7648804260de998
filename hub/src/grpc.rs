//! The gRPC door: the Admin service, reflection and health.
mod status;

use std::{pin::Pin, sync::Arc};

use axle_proto::{
    DESCRIPTORS,
    v1::{
        AddClusterRequest, ApplyPoliciesRequest, ApplyPoliciesResponse, AuthorityView, ClusterView, CreateTokenRequest,
        CreateTokenResponse, DeletePolicyRequest, DiffPoliciesResponse, DrainClusterRequest, ExplainRequest,
        ExplainResponse, FleetStatus, FlowView, GetAuthorityRequest, GetStatusRequest, LintPoliciesResponse,
        ListAuditRequest, ListAuditResponse, ListClustersResponse, ListEndpointsResponse, ListIdentitiesResponse,
        ListPoliciesResponse, ListRequest, ListServicesResponse, ListTokensRequest, ListTokensResponse, ObserveRequest,
        PolicyHistoryRequest, PolicyHistoryResponse, PreviewRequest, RemoveClusterRequest, RemoveNodeRequest,
        RevisionProgress, RevokeTokenRequest, RollbackPolicyRequest, RotateAuthorityRequest, SetPolicyDisabledRequest,
        TestPoliciesResponse, WatchRevisionRequest, WriteResult,
        admin_server::{Admin, AdminServer},
    },
};
use futures::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, service::Routes};

use crate::{auth::Caller, operations::Operations};

/// The largest request taken, in bytes: a document of policies.
const MAX_REQUEST: usize = 4 << 20;

/// Adds the services of this door.
///
/// # Errors
/// When the descriptors of the wire cannot be read, which a build never gives out.
pub fn add_services(routes: Routes, operations: Arc<Operations>) -> Result<Routes, tonic_reflection::server::Error> {
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let (health, health_service) = tonic_health::server::health_reporter();
    let admin = AdminServer::new(Door(Arc::clone(&operations))).max_decoding_message_size(MAX_REQUEST);
    tokio::spawn(report_health(operations, health));
    Ok(routes
        .add_service(admin)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .add_service(health_service))
}

/// Keeps the health service in step with whether the hub can do its work.
async fn report_health(operations: Arc<Operations>, health: tonic_health::server::HealthReporter) {
    let mut ticks = tokio::time::interval(std::time::Duration::from_secs(1));
    loop {
        ticks.tick().await;
        if operations.ready().is_ok() {
            health.set_serving::<AdminServer<Door>>().await;
        } else {
            health.set_not_serving::<AdminServer<Door>>().await;
        }
    }
}

struct Door(Arc<Operations>);

type Streaming<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Who asks; the table in `auth` lets nobody else in.
fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    let caller = request.extensions().get::<Caller>().cloned();
    caller.ok_or_else(|| Status::unauthenticated("send `authorization: Bearer <token>`"))
}

#[tonic::async_trait]
impl Admin for Door {
    async fn add_cluster(&self, request: Request<AddClusterRequest>) -> Result<Response<ClusterView>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(self.0.add_cluster(&caller, request.into_inner()).await?))
    }

    async fn list_clusters(&self, request: Request<ListRequest>) -> Result<Response<ListClustersResponse>, Status> {
        Ok(Response::new(self.0.list_clusters(request.get_ref())?))
    }

    async fn drain_cluster(&self, request: Request<DrainClusterRequest>) -> Result<Response<WriteResult>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(self.0.drain_cluster(&caller, request.into_inner()).await?))
    }

    async fn remove_cluster(&self, request: Request<RemoveClusterRequest>) -> Result<Response<WriteResult>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(self.0.remove_cluster(&caller, request.into_inner()).await?))
    }

    async fn create_token(
        &self,
        request: Request<CreateTokenRequest>,
    ) -> Result<Response<CreateTokenResponse>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(self.0.create_token(&caller, request.into_inner()).await?))
    }

    async fn list_tokens(&self, _: Request<ListTokensRequest>) -> Result<Response<ListTokensResponse>, Status> {
        Ok(Response::new(self.0.list_tokens().await?))
    }

    async fn revoke_token(&self, request: Request<RevokeTokenRequest>) -> Result<Response<WriteResult>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(self.0.revoke_token(&caller, request.into_inner()).await?))
    }

    async fn get_authority(&self, _: Request<GetAuthorityRequest>) -> Result<Response<AuthorityView>, Status> {
        Ok(Response::new(self.0.authority()))
    }

    async fn rotate_authority(
        &self,
        request: Request<RotateAuthorityRequest>,
    ) -> Result<Response<AuthorityView>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(self.0.rotate_authority(&caller, request.into_inner()).await?))
    }

    async fn remove_node(&self, request: Request<RemoveNodeRequest>) -> Result<Response<WriteResult>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(self.0.remove_node(&caller, request.into_inner()).await?))
    }

    async fn list_identities(&self, request: Request<ListRequest>) -> Result<Response<ListIdentitiesResponse>, Status> {
        Ok(Response::new(self.0.list_identities(request.get_ref())?))
    }

    async fn list_endpoints(&self, request: Request<ListRequest>) -> Result<Response<ListEndpointsResponse>, Status> {
        Ok(Response::new(self.0.list_endpoints(request.get_ref())?))
    }

    async fn list_services(&self, request: Request<ListRequest>) -> Result<Response<ListServicesResponse>, Status> {
        Ok(Response::new(self.0.list_services(request.get_ref())?))
    }

    async fn apply_policies(
        &self,
        request: Request<ApplyPoliciesRequest>,
    ) -> Result<Response<ApplyPoliciesResponse>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(self.0.apply_policies(&caller, request.into_inner()).await?))
    }

    async fn list_policies(&self, request: Request<ListRequest>) -> Result<Response<ListPoliciesResponse>, Status> {
        Ok(Response::new(self.0.list_policies(request.get_ref())?))
    }

    async fn set_policy_disabled(
        &self,
        request: Request<SetPolicyDisabledRequest>,
    ) -> Result<Response<WriteResult>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(self.0.set_policy_disabled(&caller, request.into_inner()).await?))
    }

    async fn delete_policy(&self, request: Request<DeletePolicyRequest>) -> Result<Response<WriteResult>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(self.0.delete_policy(&caller, request.into_inner()).await?))
    }

    async fn explain(&self, request: Request<ExplainRequest>) -> Result<Response<ExplainResponse>, Status> {
        Ok(Response::new(self.0.explain(request.get_ref())?))
    }

    async fn diff_policies(&self, request: Request<PreviewRequest>) -> Result<Response<DiffPoliciesResponse>, Status> {
        Ok(Response::new(self.0.diff_policies(request.get_ref()).await?))
    }

    async fn lint_policies(&self, request: Request<PreviewRequest>) -> Result<Response<LintPoliciesResponse>, Status> {
        Ok(Response::new(self.0.lint_policies(request.get_ref()).await?))
    }

    async fn test_policies(&self, request: Request<PreviewRequest>) -> Result<Response<TestPoliciesResponse>, Status> {
        Ok(Response::new(self.0.test_policies(request.get_ref()).await?))
    }

    async fn policy_history(
        &self,
        request: Request<PolicyHistoryRequest>,
    ) -> Result<Response<PolicyHistoryResponse>, Status> {
        Ok(Response::new(self.0.policy_history(request.get_ref()).await?))
    }

    async fn rollback_policy(&self, request: Request<RollbackPolicyRequest>) -> Result<Response<WriteResult>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(self.0.rollback_policy(&caller, request.into_inner()).await?))
    }

    async fn get_status(&self, _: Request<GetStatusRequest>) -> Result<Response<FleetStatus>, Status> {
        Ok(Response::new(self.0.status()))
    }

    type WatchRevisionStream = Streaming<RevisionProgress>;

    async fn watch_revision(
        &self,
        request: Request<WatchRevisionRequest>,
    ) -> Result<Response<Self::WatchRevisionStream>, Status> {
        Ok(Response::new(Box::pin(self.0.watch_revision(request.get_ref())?.map(Ok))))
    }

    type ObserveStream = Streaming<FlowView>;

    async fn observe(&self, request: Request<ObserveRequest>) -> Result<Response<Self::ObserveStream>, Status> {
        Ok(Response::new(Box::pin(self.0.observe(request.into_inner())?.map(Ok))))
    }

    async fn list_audit(&self, request: Request<ListAuditRequest>) -> Result<Response<ListAuditResponse>, Status> {
        Ok(Response::new(self.0.list_audit(request.get_ref()).await?))
    }
}
