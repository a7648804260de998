//! People's tokens that no longer count, as this hub knows them.
use std::{collections::HashSet, sync::Arc};

use tokio::sync::watch;

/// The ids of the tokens that are revoked. Cheap to clone; all clones are one set.
#[derive(Debug, Clone, Default)]
pub struct Revoked(watch::Sender<Arc<HashSet<String>>>);

impl Revoked {
    /// These are revoked too. What is revoked stays so, whatever the store is read to say: a look at it that began
    /// before a revocation may end after it.
    pub fn add(&self, ids: impl IntoIterator<Item = String>) {
        let ids: HashSet<String> = ids.into_iter().collect();
        self.0.send_if_modified(|there| {
            let news = !ids.is_subset(there);
            if news {
                Arc::make_mut(there).extend(ids);
            }
            news
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_before_a_revocation_does_not_undo_it() {
        let revoked = Revoked::default();
        revoked.add(["a".to_owned()]);
        revoked.add([]);
        assert!(revoked.has("a") && !revoked.has("b"));
    }
}
