//! The connection to whoever is above: the hub, or the relay.
use std::{
    collections::BTreeMap,
    error::Error,
    ops::Bound::{Excluded, Unbounded},
    sync::Arc,
    time::Duration,
};

use axle_core::{log::Position, model::Key, refusal::Refusal, session::Ack};
use axle_transport::{
    pki::PkiError,
    sync::{Link, LinkSettings, LinkState, Replica, View},
    tls::{ClientTls, Expect, connect},
};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{credentials::RoleCredentials, problems::Problems, shared_log::SharedLog};

/// Where somebody is and who it must be.
#[derive(Debug, Clone)]
pub struct Above {
    /// `HOST:PORT`.
    pub address: String,
    /// What its certificate must say.
    pub expect: Expect,
}

/// How often something that was not taken above is offered again: what it collided with, or had no room beside, may be gone.
const OFFER_EVERY: Duration = Duration::from_secs(120);
/// How many objects are offered at once.
const OFFERED: usize = 256;

/// How the own log is doing above.
#[derive(Debug, Clone, Default)]
pub struct Sent(Arc<Mutex<SentState>>);

#[derive(Debug, Default)]
struct SentState {
    position: Option<Position>,
    refused: BTreeMap<Key, Refusal>,
    /// The last one that was offered again.
    offered: Option<Key>,
}

impl Sent {
    /// The peer will answer about everything anew.
    pub fn begins_anew(&self) {
        self.0.lock().refused.clear();
    }

    /// The peer answered.
    pub fn acknowledged(&self, ack: Ack, log: &SharedLog, problems: &Problems, source: &'static str) {
        let mut state = self.0.lock();
        state.position = Some(ack.received);
        state.refused.extend(ack.refused.into_iter().map(|refusal| (refusal.key.clone(), refusal)));
        // What is gone or was written anew since is no longer refused.
        log.read(|log| {
            state.refused.retain(|key, refusal| {
                log.contents()
                    .get(key)
                    .is_some_and(|object| object.revision <= refusal.revision || refusal.revision == 0)
            });
        });
        problems.set(source, state.refused.values().map(|refusal| format!("not taken above: {refusal}")).collect());
    }

    /// Offers what was not taken again, now and then, for ever.
    pub async fn keep_offering(self, log: Arc<SharedLog>) {
        loop {
            tokio::time::sleep(OFFER_EVERY).await;
            self.offer(&log);
        }
    }

    /// The next ones in order: those that are refused for good must not keep others from their turn.
    fn offer(&self, log: &SharedLog) {
        let keys: Vec<Key> = {
            let mut state = self.0.lock();
            let after = state.offered.take().map_or(Unbounded, Excluded);
            let later = state.refused.range((after, Unbounded)).map(|(key, _)| key);
            let keys: Vec<Key> = later.take(OFFERED).cloned().collect();
            state.offered = keys.last().cloned();
            // If they are refused again, the answer says so.
            state.refused.retain(|key, _| !keys.contains(key));
            keys
        };
        log.write_again(&keys);
    }

    /// How far the peer's copy is.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        self.0.lock().position
    }
}

/// Whether a session is up.
#[must_use]
pub fn is_up(state: &watch::Receiver<LinkState>) -> bool {
    matches!(&*state.borrow(), LinkState::Connected)
}

/// Why there is no session with `whom`, if there was a reason to say so.
#[must_use]
pub fn why_away(state: &watch::Receiver<LinkState>, whom: &str) -> Option<String> {
    match &*state.borrow() {
        LinkState::Waiting { reason } if !reason.is_empty() => Some(format!("no session with {whom}: {reason}")),
        _ => None,
    }
}

/// What a link needs beside its replica.
pub struct LinkParts {
    /// This machine's name.
    pub node: String,
    /// The log of what is one's own, which is sent.
    pub own: Arc<View>,
    /// What the kernels hold.
    pub statuses: watch::Receiver<Vec<axle_proto::v1::NodeStatus>>,
    /// Told of every change of the link.
    pub state: watch::Sender<LinkState>,
    /// Times and limits.
    pub settings: LinkSettings,
}

/// Keeps a session with whoever is above, for ever.
///
/// # Errors
/// When the TLS library refuses its settings.
pub fn keep_connected<R: Replica>(
    above: Above,
    credentials: &RoleCredentials,
    parts: LinkParts,
    replica: R,
) -> Result<impl Future<Output = ()> + Send + use<R>, PkiError> {
    let tls = ClientTls::mutual(credentials.shared(), above.expect)?;
    let LinkParts { node, own, statuses, state, settings } = parts;
    let agent_version = env!("CARGO_PKG_VERSION").to_owned();
    let link = Link { node, agent_version, own, replica, statuses, state, settings };
    let dial = move || {
        let (address, tls) = (above.address.clone(), tls.clone());
        async move { connect(&address, &tls).await.map_err(|error| innermost(&*error)) }
    };
    Ok(link.run(dial, CancellationToken::new()))
}

/// The cause of an error, which says more than the error.
#[must_use]
pub fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axle_core::{
        model::{Kind, Labels, Name, Node, Object, Resource, Scope, Uid},
        refusal::code,
    };
    use axle_proto::convert;

    use super::*;
    use crate::{
        merged_log::{Batch, Feed, MergedLog, Ownership},
        shared_log::{Unread, fresh_uid},
    };

    #[tokio::test]
    async fn what_was_not_taken_is_offered_again_in_turns() {
        let directory = tempfile::tempdir().unwrap();
        let cluster = Uid([1; 16]);
        let log = MergedLog::open(directory.path(), Ownership::Relay { cluster }, Uid([9; 16])).unwrap().0;
        let log = SharedLog::new(log);
        let node = |number: usize| {
            let name = Name::new(format!("n{number:03}")).unwrap();
            let node = Node { name, labels: Labels::new(), addresses: vec![] };
            convert::object(Resource::Node(node), Scope::Cluster(cluster), fresh_uid(), 1)
        };
        let nodes: Vec<Object> = (0..OFFERED + 44).map(node).collect();
        for object in &nodes {
            let feed = Feed::Node(object.key.name.clone());
            let batch = |_: &MergedLog| Ok::<_, Infallible>((Batch::Whole(vec![object.clone()]), ()));
            let _ = log.take_with(&feed, (None, None), Unread::default(), batch);
        }
        let (sent, problems) = (Sent::default(), Problems::default());
        let refused: Vec<Refusal> = nodes[..OFFERED + 4]
            .iter()
            .map(|object| {
                let (key, code) = (object.key.clone(), code::TOO_MUCH.to_owned());
                Refusal { key, revision: object.revision, code, message: "full".into() }
            })
            .collect();
        let told = |refused: &[Refusal]| {
            let received = log.up().position();
            sent.acknowledged(Ack { received, refused: refused.to_vec() }, &log, &problems, "the hub");
            problems.all().len()
        };
        assert_eq!(told(&refused), OFFERED + 4);
        let written = || {
            let at = log.read(|log| log.contents().position().revision);
            let is_new = |object: &&Object| object.key.kind == Kind::Node && object.revision == at;
            log.read(|log| log.contents().iter().filter(is_new).map(|object| object.key.clone()).collect::<Vec<Key>>())
        };
        let keys = |nodes: &[Object]| nodes.iter().map(|object| object.key.clone()).collect::<Vec<Key>>();
        sent.offer(&log);
        assert_eq!(written(), keys(&nodes[..OFFERED]));
        assert_eq!(log.up().position(), log.read(|log| log.contents().position()), "it goes up");
        // One is refused again, the others were taken; the next ones have their turn before it.
        let again = Refusal { revision: log.up().position().revision, ..refused[0].clone() };
        assert_eq!(told(std::slice::from_ref(&again)), 5);
        sent.offer(&log);
        assert_eq!(written(), keys(&nodes[OFFERED..OFFERED + 4]));
        assert_eq!(told(&[]), 1);
        let before = log.up().position();
        sent.offer(&log);
        assert_eq!(log.up().position(), before, "the end of a round");
        sent.offer(&log);
        assert_eq!(written(), keys(&nodes[..1]));
        assert_eq!(told(&[]), 0);
    }
}
