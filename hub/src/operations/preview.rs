//! What a change of policies would come to: which verdicts it changes, what its author should look at, which tests it
//! breaks.
use std::sync::Arc;

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
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

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
        let (deleted, mirror) = (request.delete.clone(), self.mirror.clone());
        let turn = self.previews.next().await?;
        turn.apart(move || {
            let (world, _) = mirror.snapshot();
            known_clusters(&world, &applied.policies)?;
            let changes = survey::propose(&world, &applied.policies, &deleted, &Wire)?;
            Ok(answer(&world, &changes, &applied.tests))
        })
        .await
    }
}

/// Previews at once. Each takes a core, and while it looks at a world every write copies what it touches of that.
const AT_ONCE: usize = 2;

/// Whose turn it is to have a preview; whoever writes waits for none.
#[derive(Debug)]
pub(super) struct Turns(Arc<Semaphore>);

/// A turn. It lasts until the work is done, also when whoever asked has gone.
#[derive(Debug)]
pub(super) struct Turn(OwnedSemaphorePermit);

impl Default for Turns {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl Turns {
    /// Waits for a turn; first come, first served.
    pub(super) async fn next(&self) -> Result<Turn, Problem> {
        let turn = self.0.clone().acquire_owned().await;
        turn.map(Turn).map_err(|error| Problem::internal("there are no previews now", &error))
    }
}

impl Turn {
    /// Does its work.
    pub(super) async fn apart<T: Send + 'static>(
        self,
        work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let Self(permit) = self;
        apart(move || {
            let done = work();
            drop(permit);
            done
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

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use super::*;

    #[tokio::test]
    async fn so_many_previews_run_at_once_also_when_those_who_asked_have_gone() {
        let turns = Arc::new(Turns::default());
        let (running, most, done) = <(Arc<AtomicUsize>, Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
        let asked: Vec<_> = (0..4 * AT_ONCE)
            .map(|_| {
                let (turns, running, most, done) = (turns.clone(), running.clone(), most.clone(), done.clone());
                tokio::spawn(async move {
                    let work = move || {
                        most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::sleep(Duration::from_millis(30));
                        running.fetch_sub(1, Ordering::SeqCst);
                        done.fetch_add(1, Ordering::SeqCst);
                        Ok(())
                    };
                    turns.next().await?.apart(work).await
                })
            })
            .collect();
        // The first ones are given up while they run.
        while running.load(Ordering::SeqCst) < AT_ONCE {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        asked[..AT_ONCE].iter().for_each(tokio::task::JoinHandle::abort);
        for one in asked {
            let _ = one.await;
        }
        assert_eq!((most.load(Ordering::SeqCst), done.load(Ordering::SeqCst)), (AT_ONCE, 4 * AT_ONCE));
    }
}
