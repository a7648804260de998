//! A relay that may lead next: it keeps a copy of the leader's log, so that nodes need not begin anew with it.
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axle_core::{
    log::{Contents, Delta, Position, Snapshot},
    model::Uid,
    refusal::Refusal,
    session::{Heartbeat, Intake},
};
use axle_transport::{
    pki::PkiError,
    sync::{Goodbye, LinkSettings, LinkState, Replica, View, ViewSettings},
    tls::Expect,
};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{
    credentials::RoleCredentials,
    merged_log::MergedLog,
    upstream::{Above, LinkParts, keep_connected},
};

/// For how long after the leader was heard last its log counts as known. A leader that dies is followed by another within
/// the time of a lease; one that was out of reach for longer may have gone on with somebody.
const FRESH: Duration = Duration::from_secs(60);

/// The copy, over all sessions with leaders.
#[derive(Clone)]
pub struct Standby {
    log: Arc<Mutex<MergedLog>>,
    /// When the copy was last known to be all that the leader has.
    known: Arc<watch::Sender<Option<Instant>>>,
    /// What this side says of itself in the session: nothing, until it leads.
    own: Arc<View>,
}

impl Standby {
    /// Keeps the copy in this log. Needs a tokio runtime.
    #[must_use]
    pub fn new(log: MergedLog) -> Self {
        let own = View::new(Contents::default(), ViewSettings::default());
        Self { log: Arc::new(Mutex::new(log)), known: Arc::new(watch::Sender::new(None)), own }
    }

    /// Where the copy stands, if that is where the leader is, or was when it was heard last.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        let is_fresh = self.known.borrow().is_some_and(|known| known.elapsed() < FRESH);
        is_fresh.then(|| self.log.lock().contents().position())
    }

    /// Looks at the copy. Keep it short.
    pub fn read<T>(&self, look: impl FnOnce(&MergedLog) -> T) -> T {
        look(&self.log.lock())
    }

    /// Has one session with the leader, and says why it ended or could not begin. `known` hears when the copy is whole.
    ///
    /// # Errors
    /// When the TLS library refuses its settings.
    pub async fn follow(
        &self,
        (address, node): (&str, &str),
        cluster: Uid,
        credentials: &RoleCredentials,
        heartbeat: Heartbeat,
        known: impl FnOnce(),
    ) -> Result<String, PkiError> {
        let (state, mut over) = watch::channel(LinkState::Waiting { reason: String::new() });
        let parts = LinkParts {
            node: node.to_owned(),
            own: self.own.clone(),
            statuses: watch::channel(Vec::new()).1,
            state,
            settings: LinkSettings { heartbeat, ..LinkSettings::default() },
        };
        let above = Above { address: address.to_owned(), expect: Expect::Relay(cluster) };
        let copy = Copy { standby: self.clone(), head: None };
        let session = keep_connected(above, credentials, parts, copy)?;
        let (began, mut heard) = (Instant::now(), self.known.subscribe());
        let ended = async {
            tokio::select! {
                _ = heard.wait_for(|heard| heard.is_some_and(|heard| heard >= began)) => known(),
                _ = over.wait_for(is_over) => {}
            }
            match over.wait_for(is_over).await.as_deref() {
                Ok(LinkState::Waiting { reason }) => reason.clone(),
                _ => String::new(),
            }
        };
        tokio::select! {
            () = session => Ok(String::new()),
            why = ended => Ok(why),
        }
    }

    /// Tells the one before, if there is a session with it, that another one leads: this place is of a later leader.
    pub fn claim(&self, place: Position) {
        self.own.replace(Contents::restore(place, None, Vec::new(), &[], Vec::new()));
    }
}

fn is_over(state: &LinkState) -> bool {
    matches!(state, LinkState::Waiting { reason } if !reason.is_empty())
}

/// The copy in one session.
struct Copy {
    standby: Standby,
    /// Where the leader's log was at last.
    head: Option<Position>,
}

impl Copy {
    /// What the leader has is here.
    fn look(&self) {
        let at = self.standby.log.lock().contents().position();
        if self.head.is_some_and(|head| head.epoch == at.epoch && head.revision <= at.revision) {
            self.standby.known.send_replace(Some(Instant::now()));
        }
    }
}

/// A copy that lacks an object is none.
fn whole<T>(intake: Intake<T>) -> Result<T, Goodbye> {
    match intake.refused.first() {
        None => Ok(intake.taken),
        Some(refusal) => Err(Goodbye::because(format_args!("this replica cannot keep a copy of the log: {refusal}"))),
    }
}

impl Replica for Copy {
    fn held(&self) -> Option<Position> {
        let log = self.standby.log.lock();
        log.contents().origin().map(|_| log.contents().position())
    }

    async fn apply(&mut self, deltas: Vec<Intake<Delta>>) -> Result<Vec<Refusal>, Goodbye> {
        for delta in deltas {
            self.standby.log.lock().copy(&whole(delta)?).map_err(Goodbye::because)?;
        }
        self.look();
        Ok(Vec::new())
    }

    async fn replace(&mut self, snapshot: Intake<Snapshot>) -> Result<Vec<Refusal>, Goodbye> {
        self.standby.log.lock().copy_whole(whole(snapshot)?).map_err(Goodbye::because)?;
        self.look();
        Ok(Vec::new())
    }

    fn head(&mut self, head: Position) {
        self.head = Some(head);
        self.look();
    }
}
