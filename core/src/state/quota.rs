//! How much one cluster may have in the fleet's state: every hub, relay and node holds all of it.
use std::{collections::HashMap, sync::Arc};

use crate::{
    log::{Contents, Entry},
    model::{Key, Object, Scope, Uid},
};

/// The most objects of one cluster: five thousand nodes with a hundred workloads each.
const MOST_OBJECTS: usize = 500_000;
/// The most bytes of one cluster's objects.
const MOST_BYTES: usize = 512 << 20;

/// What a cluster has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) objects: usize,
    pub(super) bytes: usize,
}

impl Share {
    fn add(&mut self, object: &Object) {
        self.objects += 1;
        self.bytes += object.payload.len();
    }

    fn remove(&mut self, object: &Object) {
        self.objects = self.objects.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(object.payload.len());
    }

    /// Replaces one object by another; the texts say why it may not.
    pub(super) fn replace(&mut self, before: Option<&Object>, now: Option<&Object>) -> Result<(), String> {
        let mut after = *self;
        before.inspect(|before| after.remove(before));
        now.inspect(|now| after.add(now));
        let more = after.objects > self.objects || after.bytes > self.bytes;
        if more && (after.objects > MOST_OBJECTS || after.bytes > MOST_BYTES) {
            return Err(format!(
                "its cluster would have {} objects of {} bytes; wanted at most {MOST_OBJECTS} objects of {MOST_BYTES} bytes",
                after.objects, after.bytes
            ));
        }
        *self = after;
        Ok(())
    }
}

/// What every cluster has.
#[derive(Debug, Clone, Default)]
pub(super) struct Shares(HashMap<Uid, Share>);

impl Shares {
    pub(super) fn of(contents: &Contents) -> Self {
        let mut shares = Self::default();
        contents.iter().for_each(|object| shares.change(&object.key, |share| share.add(object)));
        shares
    }

    pub(super) fn of_cluster(&self, cluster: Uid) -> Share {
        self.0.get(&cluster).copied().unwrap_or_default()
    }

    /// Moves with one step of `contents`: forward when it was applied, back before it is undone.
    pub(super) fn step(&mut self, replaced: &[(Arc<Key>, Option<Entry>)], contents: &Contents, forward: bool) {
        // A key that comes more than once was first what it was before, and is last what it is now.
        let mut seen = std::collections::HashSet::new();
        for (key, before) in replaced.iter().filter(|(key, _)| seen.insert(key)) {
            let (before, now) = (before.as_ref().map(|entry| &entry.object), contents.get(key));
            let (gone, come) = if forward { (before, now) } else { (now, before) };
            self.change(key, |share| {
                gone.inspect(|gone| share.remove(gone));
                come.inspect(|come| share.add(come));
            });
        }
    }

    fn change(&mut self, key: &Key, change: impl FnOnce(&mut Share)) {
        let Scope::Cluster(cluster) = key.scope else { return };
        let share = self.0.entry(cluster).or_default();
        change(share);
        if share.objects == 0 {
            self.0.remove(&cluster);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::sketch::object;

    #[test]
    fn a_full_share_takes_no_more_but_gives_back_and_replaces() {
        let one = object(1, 1, 1);
        let mut share = Share { objects: MOST_OBJECTS, bytes: one.payload.len() * MOST_OBJECTS };
        let full = share;
        let why = share.replace(None, Some(&one)).unwrap_err();
        assert!(why.contains("500001 objects") && share == full, "{why}");
        share.replace(Some(&one), Some(&one)).unwrap();
        share.replace(Some(&one), None).unwrap();
        share.replace(None, Some(&one)).unwrap();
        assert_eq!(share, full);
        let mut heavy = Share { objects: 1, bytes: MOST_BYTES };
        assert!(heavy.replace(None, Some(&one)).is_err());
        // What was over before a bound was made smaller may still shrink.
        let mut over = Share { objects: MOST_OBJECTS * 2, bytes: 0 };
        over.replace(Some(&one), None).unwrap();
    }
}
