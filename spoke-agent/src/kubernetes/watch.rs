//! Following one kind of object: listed whole once, watched from there, listed again only if the server has forgotten where
//! we were.
//!
//! What is known changes at a whole list at once, so a list that is under way, or fails half way, takes nothing away; and
//! what was deleted while nobody watched is gone with the next whole list.
use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{Stream, StreamExt};
use kube::{
    Api, Resource, ResourceExt,
    api::{ListParams, WatchEvent, WatchParams},
    runtime::watcher::DefaultBackoff,
};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::trouble::{Trouble, resource};

/// Objects of one page of a list.
const PAGE: u32 = 500;
/// The longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A watch that lasted less than this did no good.
const SHORT: Duration = Duration::from_secs(1);

/// Namespace (empty where the kind has none) and name.
pub type Called = (String, String);

/// What is known of one kind.
#[derive(Debug)]
pub struct Held<K> {
    /// Every object, as the server said it last.
    pub objects: BTreeMap<Called, Arc<K>>,
    /// Whether that was all there was at some time: not before the first whole list.
    pub complete: bool,
    /// Why it may be old by now.
    pub trouble: Option<Trouble>,
}

/// A kind that is followed; it tells of every change, and of many at once where they come fast.
pub type Watched<K> = watch::Receiver<Held<K>>;

/// Whether all of a kind is known. What is not installed has no objects.
pub(super) fn is_known<K>(held: &Held<K>) -> bool {
    held.complete || is_not_installed(held)
}

/// Whether the server has not known the kind since it was asked first.
pub(super) fn is_not_installed<K>(held: &Held<K>) -> bool {
    !held.complete && matches!(held.trouble, Some(Trouble::Unknown(_)))
}

/// Why what is known of a kind may be old. That it is not installed is no complaint, unless it was and has objects.
#[must_use]
pub(super) fn complaint<K>(held: &Held<K>) -> Option<String> {
    let is_old = |trouble: &&Trouble| !matches!(trouble, Trouble::Unknown(_)) || !held.objects.is_empty();
    let trouble = held.trouble.as_ref().filter(is_old);
    trouble.map(|trouble| trouble.sentence().to_owned())
}

impl<K> Default for Held<K> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), complete: false, trouble: None }
    }
}

/// Follows `api` within `select` for as long as anybody listens. `trim` takes away what nobody needs, so that it is not held;
/// of `PartialObjectMeta<K>` the server sends no more than names, labels and annotations. Needs a tokio runtime.
#[must_use]
pub fn follow<K>(api: Api<K>, select: ListParams, trim: fn(&mut K)) -> Watched<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let (sender, receiver) = watch::channel(Held::default());
    let follower = Follower { api, select: select.limit(PAGE), trim, store: Store { sender } };
    tokio::spawn(async move {
        tokio::select! {
            () = follower.run() => {}
            () = follower.store.sender.closed() => {}
        }
    });
    receiver
}

struct Follower<K: 'static> {
    api: Api<K>,
    select: ListParams,
    trim: fn(&mut K),
    store: Store<K>,
}

impl<K> Follower<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    async fn run(&self) {
        let mut pauses = DefaultBackoff::default();
        loop {
            match self.list().await {
                Ok(version) => self.watch(version, &mut pauses).await,
                Err(error) => self.store.fail("list", &error),
            }
            tokio::time::sleep(pauses.next().unwrap_or(LONGEST_PAUSE)).await;
        }
    }

    /// Everything there is, page by page; from which version on to watch.
    async fn list(&self) -> kube::Result<String> {
        let (mut found, mut select) = (BTreeMap::new(), self.select.clone());
        loop {
            let page = self.api.list(&select).await?;
            found.extend(page.items.into_iter().map(|object| self.trimmed(object)));
            select.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if select.continue_token.is_none() {
                self.store.change(|held| (held.objects, held.complete) = (found, true));
                return Ok(page.metadata.resource_version.unwrap_or_default());
            }
        }
    }

    /// Watches from `version` on, over and over, until the server says that it does not know the way from there.
    async fn watch(&self, mut version: String, pauses: &mut DefaultBackoff) {
        let select = WatchParams {
            label_selector: self.select.label_selector.clone(),
            field_selector: self.select.field_selector.clone(),
            bookmarks: true,
            ..WatchParams::default()
        };
        loop {
            let began = Instant::now();
            match self.api.watch(&select, &version).await {
                Ok(events) => {
                    self.store.change(|_| {});
                    if !self.take(events, &mut version).await {
                        return;
                    }
                }
                Err(error) => {
                    let gone = matches!(&error, kube::Error::Api(status) if status.code == 410);
                    if !gone {
                        self.store.fail("watch", &error);
                    }
                    if matches!(error, kube::Error::Api(_)) {
                        return;
                    }
                }
            }
            // A server that ends each watch at once is not asked more often for it.
            if began.elapsed() < SHORT {
                tokio::time::sleep(pauses.next().unwrap_or(LONGEST_PAUSE)).await;
            }
        }
    }

    /// Takes the events of one watch; whether another can begin where it ended.
    async fn take(&self, events: impl Stream<Item = kube::Result<WatchEvent<K>>>, version: &mut String) -> bool {
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                    *version = object.resource_version().unwrap_or_default();
                    let (called, object) = self.trimmed(object);
                    self.store.change(|held| drop(held.objects.insert(called, object)));
                }
                Ok(WatchEvent::Deleted(object)) => {
                    *version = object.resource_version().unwrap_or_default();
                    self.store.change(|held| drop(held.objects.remove(&called(&object))));
                }
                Ok(WatchEvent::Bookmark(mark)) => *version = mark.metadata.resource_version,
                Ok(WatchEvent::Error(status)) => {
                    if status.code != 410 {
                        self.store.fail("watch", &kube::Error::Api(status));
                    }
                    return false;
                }
                // The connection broke; if nobody is there, the next one says so.
                Err(_) => return true,
            }
        }
        true
    }

    fn trimmed(&self, mut object: K) -> (Called, Arc<K>) {
        object.managed_fields_mut().clear();
        (self.trim)(&mut object);
        (called(&object), Arc::new(object))
    }
}

fn called<K: Resource<DynamicType = ()>>(object: &K) -> Called {
    (object.namespace().unwrap_or_default(), object.name_any())
}

struct Store<K> {
    sender: watch::Sender<Held<K>>,
}

impl<K: Resource<DynamicType = ()>> Store<K> {
    /// After an answer all is well again.
    fn change(&self, change: impl FnOnce(&mut Held<K>)) {
        self.sender.send_modify(|held| {
            if held.trouble.take().is_some() {
                tracing::info!(kind = %resource::<K>(), "the API server answers again");
            }
            change(held);
        });
    }

    fn fail(&self, verb: &str, error: &kube::Error) {
        let trouble = Trouble::of::<K>(verb, error);
        self.sender.send_if_modified(|held| {
            if held.trouble.as_ref() == Some(&trouble) {
                return false;
            }
            tracing::warn!(problem = %trouble, "what the API server said before stays");
            held.trouble = Some(trouble);
            true
        });
    }
}

#[cfg(test)]
mod tests;
