//! The tasks of an agent. None of them ends by itself: if one does, so does the agent, and its supervisor starts it anew.
use tokio::task::JoinSet;

/// See the module.
#[derive(Debug, Default)]
pub struct Tasks {
    set: JoinSet<&'static str>,
}

impl Tasks {
    /// Runs a task until the agent ends.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.set.spawn(async move {
            task.await;
            name
        });
    }

    /// Waits until a task ends, and says which.
    pub async fn ended(&mut self) -> String {
        match self.set.join_next().await {
            Some(Ok(name)) => format!("the task {name:?} ended"),
            Some(Err(error)) => format!("a task ended: {error}"),
            None => std::future::pending().await,
        }
    }
}
