//! Where a pod is attached, beside whatever CNI made its network: from the pod to its cgroup, to a process in it, to the
//! network namespace of that, to the end of a veth that is ours. Nothing is asked of the CNI or the container runtime.
//!
//! A pod whose interface is of another kind (macvlan, a function of the network card) is not found, nor is one on the
//! node's own network: the first is not enforced, the second is the node.
mod cgroups;
mod links;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{Notify, watch};

/// How long what changes together gathers.
const GATHER: Duration = Duration::from_millis(2);
/// How often they are looked for as long as there is no cgroup of theirs.
const POLL: Duration = Duration::from_secs(1);

/// The names of interfaces by the uids of pods.
pub type Places = BTreeMap<String, String>;

/// The cgroup of all pods in the hierarchy that is mounted at `root`; none before the kubelet made it.
#[must_use]
pub fn all_pods(root: &Path) -> Option<PathBuf> {
    cgroups::all_pods(root)
}

/// Our end of the interface of each pod below the cgroup `pods`, by the uid that names the pod's cgroup, in the network
/// namespace of this thread. Needs to see the pods' processes: as root, in the node's process namespace.
///
/// # Errors
/// Where the cgroup cannot be read, or the kernel does not answer.
pub fn places(pods: &Path) -> io::Result<Places> {
    let pods = cgroups::pods(pods)?;
    let links = links::Links::open()?;
    // In this order: the kernel numbers a namespace when it tells of a link into it.
    let veths = links.veths()?;
    let mut places = Places::new();
    for (uid, group) in pods {
        for process in cgroups::processes(&group) {
            if let Some(veth) = links.namespace_of(process)?.and_then(|namespace| veths.get(&namespace)) {
                places.insert(uid, veth.clone());
                break;
            }
        }
    }
    Ok(places)
}

/// Follows the pods of the hierarchy that is mounted at `root` for as long as anybody listens; looks again after `rescan`
/// in case that a change was not told. Needs a tokio runtime.
#[must_use]
pub fn follow(root: &Path, rescan: Duration) -> watch::Receiver<Arc<Places>> {
    let (sender, receiver) = watch::channel(Arc::default());
    tokio::spawn(look(root.to_owned(), rescan, sender));
    receiver
}

async fn look(root: PathBuf, rescan: Duration, sender: watch::Sender<Arc<Places>>) {
    let changed = Arc::new(Notify::new());
    let mut watched: Option<(PathBuf, RecommendedWatcher)> = None;
    while !sender.is_closed() {
        let all = all_pods(&root);
        if watched.as_ref().map(|(path, _)| path) != all.as_ref() {
            watched = all.as_ref().and_then(|path| Some((path.clone(), watch_below(path, &changed)?)));
        }
        if let Some(pods) = all {
            let looked = tokio::task::spawn_blocking(move || places(&pods)).await;
            match looked {
                Ok(Ok(next)) => publish(&sender, next),
                // What was known stays.
                Ok(Err(error)) => tracing::warn!(%error, "pods' interfaces cannot be looked for"),
                Err(_) => return,
            }
        }
        let pause = if watched.is_some() { rescan } else { POLL.min(rescan) };
        tokio::select! {
            () = changed.notified() => tokio::time::sleep(GATHER).await,
            () = tokio::time::sleep(pause) => {}
            () = sender.closed() => return,
        }
    }
}

fn publish(sender: &watch::Sender<Arc<Places>>, next: Places) {
    sender.send_if_modified(|held| {
        let differs = **held != next;
        if differs {
            *held = Arc::new(next);
        }
        differs
    });
}

/// Groups that come and go, and a first or last process in one, are told by the kernel.
fn watch_below(pods: &Path, changed: &Arc<Notify>) -> Option<RecommendedWatcher> {
    let changed = Arc::clone(changed);
    let told = move |event: notify::Result<notify::Event>| {
        // Reading, which we do ourselves, is no news.
        if event.map_or(true, |event| !event.kind.is_access()) {
            changed.notify_one();
        }
    };
    let watcher = notify::recommended_watcher(told).and_then(|mut watcher| {
        watcher.watch(pods, RecursiveMode::Recursive)?;
        Ok(watcher)
    });
    watcher.inspect_err(|error| tracing::warn!(%error, "pods are polled for, not watched")).ok()
}
