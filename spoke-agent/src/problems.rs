//! What is wrong at present, by who says so: shown in the status, told to the hub, and in the log when it begins.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio::sync::watch;

/// The most sentences that are logged at a time.
const LOGGED: usize = 10;

/// Sentences by source. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Problems(Arc<watch::Sender<BTreeMap<&'static str, Vec<String>>>>);

impl Default for Problems {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(BTreeMap::new())))
    }
}

impl Problems {
    /// What `source` sees wrong now, in the place of what it saw before.
    pub fn set(&self, source: &'static str, problems: Vec<String>) {
        self.0.send_if_modified(|held| {
            let before = if problems.is_empty() { held.remove(source) } else { held.insert(source, problems.clone()) };
            let before = before.unwrap_or_default();
            let known: BTreeSet<&String> = before.iter().collect();
            for problem in problems.iter().filter(|problem| !known.contains(problem)).take(LOGGED) {
                tracing::warn!(source, %problem, "something is wrong");
            }
            before != problems
        });
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> Vec<String> {
        self.0.borrow().values().flatten().cloned().collect()
    }

    /// Tells of changes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<BTreeMap<&'static str, Vec<String>>> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_source_has_its_own() {
        let problems = Problems::default();
        let mut watch = problems.watch();
        problems.set("a", vec!["one".into()]);
        problems.set("b", vec!["two".into(), "three".into()]);
        assert!(watch.has_changed().unwrap());
        watch.mark_unchanged();
        problems.set("a", vec!["one".into()]);
        assert!(!watch.has_changed().unwrap(), "nothing new");
        problems.set("b", vec![]);
        assert_eq!(problems.all(), ["one"]);
    }
}
