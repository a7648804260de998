//! People's tokens that no longer count, as this hub knows them.
use std::{collections::HashSet, sync::Arc};

use tokio::sync::watch;

/// The ids of the tokens that are revoked. Cheap to clone; all clones are one set.
#[derive(Debug, Clone, Default)]
pub struct Revoked(watch::Sender<Arc<HashSet<String>>>);

impl Revoked {
    /// These are revoked, and no others.
    pub fn replace(&self, ids: HashSet<String>) {
        self.0.send_if_modified(|there| {
            let changes = **there != ids;
            if changes {
                *there = Arc::new(ids);
            }
            changes
        });
    }

    /// Whether that token is revoked.
    #[must_use]
    pub fn has(&self, id: &str) -> bool {
        self.0.borrow().contains(id)
    }

    /// Ends when that token is revoked.
    pub(super) async fn wait_for(&self, id: &str) {
        let mut changes = self.0.subscribe();
        // The sender lives as long as this.
        let _ = changes.wait_for(|ids| ids.contains(id)).await;
    }
}
