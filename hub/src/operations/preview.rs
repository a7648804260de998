//! What a change of policies would come to: which verdicts it changes, what its author should look at, which tests it
//! breaks.
use axle_core::{
    log::Change,
    manifest::{self, Applied},
    model::PolicyTest,
    policy::{World, survey},
};
use axle_proto::{
    convert::Wire,
    v1::{DiffPoliciesResponse, LintPoliciesResponse, PreviewRequest, TestPoliciesResponse},
    view,
};

use super::{Operations, Problem, policies::known_clusters};

impl Operations {
    /// Every source, destination and port whose verdict would become another.
    ///
    /// # Errors
    /// Every fault of the document; a policy to delete that is not there.
    pub async fn diff_policies(&self, request: &PreviewRequest) -> Result<DiffPoliciesResponse, Problem> {
        self.preview(request, |world, changes, _| view::diff(world, &survey::diff(world, changes).report())).await
    }

    /// What about the policies of the document, or about all if it has none, their authors should look at.
    ///
    /// # Errors
    /// As [`Self::diff_policies`].
    pub async fn lint_policies(&self, request: &PreviewRequest) -> Result<LintPoliciesResponse, Problem> {
        self.preview(request, |world, changes, _| view::lint(world, changes)).await
    }

    /// Runs the document's tests, or those that are kept if it has none, on the policies that would be there.
    ///
    /// # Errors
    /// As [`Self::diff_policies`].
    pub async fn test_policies(&self, request: &PreviewRequest) -> Result<TestPoliciesResponse, Problem> {
        self.preview(request, view::test).await
    }

    async fn preview<T: Send + 'static>(
        &self,
        request: &PreviewRequest,
        answer: impl FnOnce(&World, &[Change], &[PolicyTest]) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let empty = request.document.trim().is_empty();
        let applied = if empty { Applied::default() } else { manifest::parse_applied(&request.document)? };
        let deleted = request.delete.clone();
        let (world, _) = self.mirror.snapshot();
        apart(move || {
            known_clusters(&world, &applied.policies)?;
            let changes = survey::propose(&world, &applied.policies, &deleted, &Wire)?;
            Ok(answer(&world, &changes, &applied.tests))
        })
        .await
    }
}

/// Work that may take a while, beside everything else.
pub(super) async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Problem::internal("the preview broke off", &error)))
}
