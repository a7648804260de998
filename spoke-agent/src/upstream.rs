//! The connection to whoever is above: the hub, or the relay.
use std::{error::Error, sync::Arc};

use axle_core::{log::Position, model::Key, refusal::Refusal, session::Ack};
use axle_transport::{
    pki::PkiError,
    sync::{Link, LinkSettings, LinkState, Replica},
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

/// How the own log is doing above.
#[derive(Debug, Clone, Default)]
pub struct Sent(Arc<Mutex<SentState>>);

#[derive(Debug, Default)]
struct SentState {
    position: Option<Position>,
    refused: std::collections::BTreeMap<Key, Refusal>,
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
    /// The log whose own part is sent.
    pub log: Arc<SharedLog>,
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
    let LinkParts { node, log, statuses, state, settings } = parts;
    let agent_version = env!("CARGO_PKG_VERSION").to_owned();
    let link = Link { node, agent_version, own: log.up(), replica, statuses, state, settings };
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
