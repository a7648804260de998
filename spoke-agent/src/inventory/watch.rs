//! Following the directory: at each change, and every now and then in case a change was not told.
use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{Notify, watch};

use super::{
    Inventory,
    directory::{Directory, Look, SETTLE},
};

/// How often a directory is looked at that cannot be watched.
const POLL: Duration = Duration::from_secs(1);

/// The inventory as it was last read; before it was first read it is incomplete.
pub type InventoryWatch = watch::Receiver<Arc<Inventory>>;

/// Follows the directory at `path` for as long as anybody listens.
#[must_use]
pub fn watch(path: &Path, rescan: Duration) -> InventoryWatch {
    let (sender, receiver) = watch::channel(Arc::new(Inventory::default()));
    tokio::spawn(follow(path.to_owned(), rescan, sender));
    receiver
}

async fn follow(path: PathBuf, rescan: Duration, sender: watch::Sender<Arc<Inventory>>) {
    let mut directory = Directory::new(&path);
    let mut watched = Watched::new(&path);
    while !sender.is_closed() {
        // Reading is short, and on local disk; a slow disk must not hold up sessions all the same.
        let looked = tokio::task::spawn_blocking(move || {
            let look = directory.look();
            (directory, look)
        });
        let Ok((back, look)) = looked.await else { return };
        directory = back;
        let next = match look {
            Look::Unsettled => {
                tokio::time::sleep(SETTLE).await;
                continue;
            }
            Look::Unchanged => None,
            Look::Unreadable(why) => Some(Inventory::unreadable(&why)),
            Look::Files(files) => Some(Inventory::read(files)),
        };
        if let Some(next) = next {
            publish(&sender, next);
        }
        let pause = if watched.renew() { rescan } else { POLL.min(rescan) };
        tokio::select! {
            () = watched.changed.notified() => {}
            () = tokio::time::sleep(pause) => {}
            () = sender.closed() => return,
        }
    }
}

fn publish(sender: &watch::Sender<Arc<Inventory>>, next: Inventory) {
    sender.send_if_modified(|held| {
        if **held == next {
            return false;
        }
        for problem in next.problems.iter().filter(|problem| !held.problems.contains(problem)) {
            tracing::warn!(%problem, "inventory");
        }
        *held = Arc::new(next);
        true
    });
}

/// The kernel's notifications for one directory.
struct Watched {
    path: PathBuf,
    changed: Arc<Notify>,
    /// The watcher and which directory it is on: another one may take its name.
    watcher: Option<(RecommendedWatcher, (u64, u64))>,
}

impl Watched {
    fn new(path: &Path) -> Self {
        Self { path: path.into(), changed: Arc::default(), watcher: None }
    }

    /// Watches whatever directory has the name now; `false` if there is none or it cannot be watched.
    fn renew(&mut self) -> bool {
        let here = std::fs::metadata(&self.path).map(|data| (data.dev(), data.ino())).ok();
        let on = self.watcher.as_ref().map(|(_, on)| *on);
        if here != on {
            self.watcher = here.and_then(|here| self.start().map(|watcher| (watcher, here)));
            if self.watcher.is_some() {
                // What happened before the watch began was told to nobody.
                self.changed.notify_one();
            }
        }
        self.watcher.is_some()
    }

    fn start(&self) -> Option<RecommendedWatcher> {
        let changed = Arc::clone(&self.changed);
        let told = move |event: notify::Result<notify::Event>| {
            if event.map_or(true, |event| is_news(event.kind)) {
                changed.notify_one();
            }
        };
        let watcher = notify::recommended_watcher(told).and_then(|mut watcher| {
            watcher.watch(&self.path, RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        watcher.inspect_err(|error| tracing::debug!(%error, "the inventory is polled, not watched")).ok()
    }
}

/// Reading the directory, which we do ourselves, is none.
fn is_news(kind: notify::EventKind) -> bool {
    use notify::event::{AccessKind, AccessMode};
    !kind.is_access() || matches!(kind, notify::EventKind::Access(AccessKind::Close(AccessMode::Write)))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn wait(receiver: &mut InventoryWatch, what: &str, wanted: impl Fn(&Inventory) -> bool) {
        let found = receiver.wait_for(|inventory| wanted(inventory));
        tokio::time::timeout(Duration::from_secs(20), found).await.expect(what).expect("it lives");
    }

    fn namespace(path: &Path, name: &str) {
        std::fs::write(path, format!("apiVersion: axle.dev/v1alpha1\nkind: Namespace\nmetadata: {{name: {name}}}\n"))
            .unwrap();
    }

    /// The rescan is an hour away: everything here comes by notification.
    #[tokio::test]
    async fn follows_every_change() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("inventory");
        let mut receiver = watch(&path, Duration::from_secs(3600));
        wait(&mut receiver, "missing", |inventory| !inventory.complete && !inventory.problems.is_empty()).await;
        std::fs::create_dir(&path).unwrap();
        wait(&mut receiver, "empty", |inventory| inventory.complete && inventory.documents.is_empty()).await;
        namespace(&path.join("a.yaml"), "one");
        wait(&mut receiver, "one file", |inventory| inventory.documents.len() == 1).await;
        std::fs::write(path.join("b.yaml"), "kind: [").unwrap();
        wait(&mut receiver, "a broken file", |inventory| !inventory.complete && inventory.documents.len() == 1).await;
        std::fs::remove_file(path.join("b.yaml")).unwrap();
        wait(&mut receiver, "mended", |inventory| inventory.complete).await;
        // Another directory takes its place.
        std::fs::rename(&path, parent.path().join("old")).unwrap();
        wait(&mut receiver, "moved away", |inventory| !inventory.complete).await;
        std::fs::create_dir(&path).unwrap();
        namespace(&path.join("a.yaml"), "two");
        namespace(&path.join("b.yaml"), "three");
        wait(&mut receiver, "two files", |inventory| inventory.complete && inventory.documents.len() == 2).await;
    }
}
