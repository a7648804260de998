//! Where a pod is attached, beside whatever CNI made its network: from the pod to its cgroup, to a process in it, to the
//! network namespace of that, to the end of a veth that is ours. Nothing is asked of the CNI or the container runtime.
//!
//! A pod whose interface is of another kind (macvlan, a function of the network card) is not found, nor is one on the
//! node's own network: the first is not enforced, the second is the node.
mod cgroups;
mod links;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use links::{Links, Namespace, Veth};

/// How long what changes together gathers.
const GATHER: Duration = Duration::from_millis(2);
/// How often pods are looked for as long as there is no cgroup of theirs.
const POLL: Duration = Duration::from_secs(1);

/// Where a pod is attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The name of our end of its interface.
    pub interface: String,
    /// The addresses of its own end: here before the API server knows them.
    pub addresses: Vec<IpAddr>,
}

/// Places by the uids that name pods' cgroups.
pub type Places = BTreeMap<String, Place>;

/// The cgroup of all pods in the hierarchy that is mounted at `root`; none before the kubelet made it.
#[must_use]
pub fn all_pods(root: &Path) -> Option<PathBuf> {
    cgroups::all_pods(root)
}

/// Where each pod below the cgroup `pods` is attached, in the network namespace of this thread. Needs to see the pods'
/// processes: as root, in the node's process namespace.
///
/// # Errors
/// Where the cgroup cannot be read, or the kernel does not answer.
pub fn places(pods: &Path) -> io::Result<Places> {
    let pods = cgroups::pods(pods)?;
    let node = Network::look()?;
    let mut places = Places::new();
    for (uid, group) in pods {
        for process in cgroups::processes(&group) {
            if let Some(place) = node.place(node.links.namespace_of(process)?)? {
                places.insert(uid, place);
                break;
            }
        }
    }
    Ok(places)
}

/// The node's network, whose links lead to pods.
struct Network {
    links: Links,
    veths: BTreeMap<Namespace, Veth>,
}

impl Network {
    /// Before any namespace is asked for: the kernel numbers one when it tells of a link into it.
    fn look() -> io::Result<Self> {
        let links = Links::open()?;
        let veths = links.veths()?;
        Ok(Self { links, veths })
    }

    fn place(&self, namespace: Option<Namespace>) -> io::Result<Option<Place>> {
        let Some((namespace, veth)) = namespace.and_then(|number| self.veths.get_key_value(&number)) else {
            return Ok(None);
        };
        let addresses = match self.links.addresses(*namespace, veth) {
            // The namespace has just gone.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return Ok(None),
            addresses => addresses?,
        };
        Ok(Some(Place { interface: veth.name.clone(), addresses }))
    }
}

/// Follows the pods of this node. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Attachments {
    places: watch::Receiver<Arc<Places>>,
    announced: Arc<Announced>,
}

/// What is told before it can be found: a pod's network is made before any process is in its cgroup.
#[derive(Debug, Default)]
struct Announced {
    places: Mutex<Places>,
    changed: Notify,
}

impl Attachments {
    /// Follows the hierarchy that is mounted at `root`, for as long as anybody listens; looks again after `rescan` in case
    /// that a change was not told. Needs a tokio runtime.
    #[must_use]
    pub fn follow(root: &Path, rescan: Duration) -> Self {
        let (sender, places) = watch::channel(Arc::default());
        let announced = Arc::<Announced>::default();
        tokio::spawn(look(root.to_owned(), rescan, sender, announced.clone()));
        Self { places, announced }
    }

    /// What is known, and all changes of it.
    #[must_use]
    pub fn places(&self) -> watch::Receiver<Arc<Places>> {
        self.places.clone()
    }

    /// A pod with this uid has its network in the namespace whose file this is, and no process yet. Where it is attached;
    /// `None` if no veth leads there.
    ///
    /// # Errors
    /// If the kernel does not answer.
    pub fn announce(&self, uid: &str, network: &File) -> io::Result<Option<Place>> {
        let node = Network::look()?;
        let place = node.place(node.links.namespace_at(network)?)?;
        if let Some(place) = &place {
            self.announced.places.lock().insert(uid.to_owned(), place.clone());
            self.announced.changed.notify_one();
        }
        Ok(place)
    }
}

impl Announced {
    /// Adds to what was found whatever was told and is still there, and forgets what need not be told any more.
    fn add_to(&self, found: &mut Places, interfaces: &BTreeSet<String>) {
        let mut told = self.places.lock();
        told.retain(|uid, place| !found.contains_key(uid) && interfaces.contains(&place.interface));
        found.extend(told.clone());
    }
}

async fn look(root: PathBuf, rescan: Duration, sender: watch::Sender<Arc<Places>>, announced: Arc<Announced>) {
    let mut watched: Option<(PathBuf, RecommendedWatcher)> = None;
    while !sender.is_closed() {
        let all = all_pods(&root);
        if watched.as_ref().map(|(path, _)| path) != all.as_ref() {
            watched = all.as_ref().and_then(|path| Some((path.clone(), watch_below(path, &announced)?)));
        }
        let told = announced.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let mut found = all.map_or_else(|| Ok(Places::new()), |pods| places(&pods))?;
            let interfaces = Network::look()?.veths.into_values().map(|veth| veth.name).collect();
            told.add_to(&mut found, &interfaces);
            io::Result::Ok(found)
        });
        match looked.await {
            Ok(Ok(next)) => publish(&sender, next),
            // What was known stays.
            Ok(Err(error)) => tracing::warn!(%error, "pods' interfaces cannot be looked for"),
            Err(_) => return,
        }
        let pause = if watched.is_some() { rescan } else { POLL.min(rescan) };
        tokio::select! {
            () = announced.changed.notified() => tokio::time::sleep(GATHER).await,
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
fn watch_below(pods: &Path, announced: &Arc<Announced>) -> Option<RecommendedWatcher> {
    let announced = Arc::clone(announced);
    let told = move |event: notify::Result<notify::Event>| {
        // Reading, which we do ourselves, is no news.
        if event.map_or(true, |event| !event.kind.is_access()) {
            announced.changed.notify_one();
        }
    };
    let watcher = notify::recommended_watcher(told).and_then(|mut watcher| {
        watcher.watch(pods, RecursiveMode::Recursive)?;
        Ok(watcher)
    });
    watcher.inspect_err(|error| tracing::warn!(%error, "pods are polled for, not watched")).ok()
}

#[cfg(test)]
mod tests;
