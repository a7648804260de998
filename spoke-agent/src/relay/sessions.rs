//! Which session of each node is the newest.
use std::{collections::BTreeMap, sync::Arc};

use axle_core::model::Name;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// The newest session of each node: an older one ends when the node comes again, or is removed.
#[derive(Debug, Clone, Default)]
pub struct Sessions(Arc<Mutex<BTreeMap<Name, Session>>>);

#[derive(Debug, Clone, Default)]
struct Session {
    end: CancellationToken,
    /// Some of what the node claims was another's.
    is_refused: bool,
}

impl Sessions {
    pub(super) fn begin(&self, node: &Name) -> CancellationToken {
        let end = CancellationToken::new();
        if let Some(older) = self.0.lock().insert(node.clone(), Session { end: end.clone(), is_refused: false }) {
            older.end.cancel();
        }
        end
    }

    /// Ends the node's session.
    pub fn end(&self, node: &Name) {
        if let Some(session) = self.0.lock().remove(node) {
            session.end.cancel();
        }
    }

    pub(super) fn refused(&self, node: &Name) {
        if let Some(session) = self.0.lock().get_mut(node) {
            session.is_refused = true;
        }
    }

    /// A node gave something up, or is gone: whoever was refused because of another node comes again with everything.
    pub fn hear_refused(&self) {
        self.0.lock().values().filter(|session| session.is_refused).for_each(|session| session.end.cancel());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_refused_comes_again_once_another_gave_something_up() {
        let sessions = Sessions::default();
        let (n1, n2) = (Name::new("n1").unwrap(), Name::new("n2").unwrap());
        let (fine, refused) = (sessions.begin(&n1), sessions.begin(&n2));
        sessions.refused(&n2);
        assert!(!refused.is_cancelled());
        sessions.hear_refused();
        assert!(refused.is_cancelled() && !fine.is_cancelled());
        let again = sessions.begin(&n2);
        sessions.hear_refused();
        assert!(!again.is_cancelled(), "once");
    }
}
