//! What a relay does while another one leads: it follows that one's log, by what the Secret has, and by the Service that
//! leads to it.
use std::{convert::Infallible, time::Duration};

use axle_core::{
    log::Position,
    model::Uid,
    session::{Backoff, Heartbeat},
};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};

use super::{
    lease::{Lease, Turn},
    place::{Here, RELAY, RelayPlace},
    secret::Shared,
    trouble::Trouble,
};
use crate::{
    credentials::RoleCredentials,
    merged_log::{MergedLog, Ownership},
    probe::{self, Fleet},
    problems::Problems,
    relay::Standby,
    shared_log::fresh_uid,
    state_directory::StateDirectory,
};

/// The pauses between sessions.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));
/// For how long the one before is still followed, to hear that it leads no more.
const FAREWELL: Duration = Duration::from_millis(300);
/// What is reported here: that it waits, and what it lacks to lead well.
const WAITS: &str = "standing by";
const LACKS: &str = "the leader's log";

/// See the module.
pub(super) struct StandingBy<'a> {
    client: Client,
    here: &'a Here,
    shared: &'a Shared,
    state: &'a StateDirectory,
    heartbeat: Heartbeat,
    problems: &'a Problems,
    fleet: &'a Fleet,
    /// The copy, and of which cluster it is.
    copy: parking_lot::Mutex<Option<(Uid, Standby)>>,
}

impl<'a> StandingBy<'a> {
    pub(super) fn new(
        client: Client,
        here: &'a Here,
        shared: &'a Shared,
        state: &'a StateDirectory,
        heartbeat: Heartbeat,
        problems: &'a Problems,
        fleet: &'a Fleet,
    ) -> Self {
        Self { client, here, shared, state, heartbeat, problems, fleet, copy: parking_lot::Mutex::default() }
    }

    /// Waits for the lease, following whoever has it; and where that one's log is, as far as this replica has it.
    pub(super) async fn turn(self, lease: &Lease) -> (Turn, Option<Position>) {
        let mut following = std::pin::pin!(self.follow());
        let last = || async { Ok(self.shared.last_leader().await?.map_or(0, |leader| leader.term)) };
        let waiting = |why| {
            tracing::debug!(%why, "another one leads");
            self.problems.set(WAITS, vec![format!("this relay stands by: {why}")]);
        };
        let turn = tokio::select! {
            turn = lease.acquire(last, waiting) => turn,
            never = &mut following => match never {},
        };
        let followed = self.claim(turn.term());
        let farewell = if followed.is_some() { FAREWELL } else { Duration::ZERO };
        let _ = tokio::time::timeout(farewell, following).await;
        [WAITS, LACKS].iter().for_each(|source| self.problems.set(source, Vec::new()));
        (turn, followed)
    }

    /// Follows whoever leads, for ever.
    async fn follow(&self) -> Infallible {
        let mut pauses = Backoff::new(PAUSES.0, PAUSES.1);
        self.lacks("it has not asked yet");
        loop {
            let why = self.session(&mut pauses).await.unwrap_or_else(|error| error.to_string());
            tracing::info!(%why, "the leader's log is not followed");
            self.lacks(&why);
            tokio::time::sleep(PAUSES.0 / 2 + pauses.next(getrandom::u64().unwrap_or_default())).await;
        }
    }

    fn lacks(&self, why: &str) {
        self.problems.set(LACKS, vec![format!("this replica has no fresh copy of the leader's log: {why}")]);
    }

    async fn session(&self, pauses: &mut Backoff) -> anyhow::Result<String> {
        let (true, Some(enrollment)) = (self.shared.fetch().await?, self.state.enrollment()?) else {
            return Ok("this cluster has not joined yet".into());
        };
        let Some(credentials) = RoleCredentials::load(&self.state.relay_certificates())? else {
            return Ok("the Secret has no credentials".into());
        };
        let maps = Api::<ConfigMap>::namespaced(self.client.clone(), &self.here.namespace);
        let map = maps.get_opt(RELAY).await.map_err(|error| Trouble::of::<ConfigMap>("get", &error))?;
        let Some(map) = map else { return Ok("nobody has said yet where the leader is".into()) };
        let place = RelayPlace::read(&map).map_err(anyhow::Error::msg)?;
        let copy = self.copy_of(enrollment.cluster)?;
        let known = || {
            pauses.reset();
            self.problems.set(LACKS, Vec::new());
        };
        let (address, node) = (&*place.address, self.here.node.as_str());
        Ok(copy.follow((address, node), enrollment.cluster, &credentials, self.heartbeat, known).await?)
    }

    fn copy_of(&self, cluster: Uid) -> anyhow::Result<Standby> {
        let mut copy = self.copy.lock();
        if let Some((_, copy)) = copy.as_ref().filter(|(of, _)| *of == cluster) {
            return Ok(copy.clone());
        }
        let (log, damage) = MergedLog::open(&self.state.relay_log(), Ownership::Relay { cluster }, fresh_uid())?;
        damage.iter().for_each(|damage| tracing::error!(%damage, "the relay's log"));
        let made = Standby::new(log);
        let known = made.clone();
        self.fleet.known_by(move |address| known.read(|log| probe::has(log.contents(), address)));
        *copy = Some((cluster, made.clone()));
        Ok(made)
    }

    /// Where the leader's log is, as this replica has it. Whoever still leads and is followed hears that another one does, by
    /// this term.
    fn claim(&self, term: u32) -> Option<Position> {
        let copy = self.copy.lock();
        let (_, copy) = copy.as_ref()?;
        let at = copy.position()?;
        copy.claim(at.of_leader(term));
        Some(at)
    }
}
