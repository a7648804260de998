//! The roots as the store has them, followed by every hub, and the clock of a rotation.
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use axle_core::{model::Name, state::Command};
use axle_transport::pki::{Authority, PkiError, Validity};
use tokio::{
    sync::{Mutex, watch},
    time::{MissedTickBehavior, interval},
};

use super::bundle::{Bundle, Stage, Step, fingerprint};
use crate::{
    clock::milliseconds,
    store::{Store, StoreError},
    writer::{WriteError, Writer},
};

/// The name under which the store keeps the roots.
const SECRET: &str = "ca";
/// How often the store is asked for what another hub did.
const REFRESH: Duration = Duration::from_secs(1);
/// Clocks of hubs differ, and one may sign for a second with the root of before.
const SLACK: Duration = Duration::from_secs(10);

/// How long things of a mesh's roots last.
#[derive(Debug, Clone, Copy)]
pub struct Lifetimes {
    /// A root.
    pub root: Duration,
    /// At which age of a root its rotation begins; half of its life if that is sooner.
    pub rotate_after: Duration,
    /// What a root signs.
    pub certificate: Duration,
    /// For how long an expired certificate may still ask for its renewal.
    pub grace: Duration,
}

/// The roots as this hub knows them.
#[derive(Debug)]
pub struct Authorities {
    store: Arc<dyn Store>,
    mesh: Name,
    lifetimes: Lifetimes,
    /// What the store held when it was asked last; held by whoever looks or steps.
    text: Mutex<String>,
    current: watch::Sender<Arc<Bundle>>,
}

impl Authorities {
    /// The mesh's roots; the first hub of all makes the first one.
    ///
    /// # Errors
    /// When the store cannot be used, holds something else, or belongs to another mesh.
    pub async fn open(store: Arc<dyn Store>, mesh: &Name, lifetimes: Lifetimes) -> Result<Arc<Self>, StoreError> {
        let fresh = Bundle::new(new_root(mesh, lifetimes.root)?);
        let text = store.secret(SECRET, &fresh.to_text()).await?;
        let bundle = read(&text)?;
        let of = bundle.signing().mesh();
        if of != mesh {
            return Err(StoreError::Setup(format!(
                "the database belongs to the mesh {of:?}, the setting says {mesh:?}; set mesh to {of:?}, or use another \
                 database"
            )));
        }
        let current = watch::Sender::new(Arc::new(bundle));
        Ok(Arc::new(Self { store, mesh: mesh.clone(), lifetimes, text: Mutex::new(text), current }))
    }

    /// The roots now.
    #[must_use]
    pub fn bundle(&self) -> Arc<Bundle> {
        self.current.borrow().clone()
    }

    /// The roots now and whenever they change.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Arc<Bundle>> {
        self.current.subscribe()
    }

    /// When the step that comes next will be taken by itself, in milliseconds since 1970.
    #[must_use]
    pub fn due_ms(&self) -> u64 {
        let bundle = self.bundle();
        match bundle.stage() {
            Stage::Steady => {
                let root = bundle.signing();
                let life = root.not_after().duration_since(root.made()).unwrap_or_default();
                milliseconds(root.made() + self.lifetimes.rotate_after.min(life / 2))
            }
            Stage::Prepared { due_ms, .. } | Stage::Overlap { due_ms, .. } => *due_ms,
        }
    }

    /// Whether the old root may be retired without cutting off relays and nodes that are there: they have renewed since.
    #[must_use]
    pub fn all_present_renewed(&self) -> bool {
        let renewed = u64::try_from(self.lifetimes.certificate.as_millis()).unwrap_or(u64::MAX);
        match self.bundle().stage() {
            Stage::Overlap { since_ms, .. } => milliseconds(SystemTime::now()) >= since_ms.saturating_add(renewed),
            Stage::Steady | Stage::Prepared { .. } => false,
        }
    }

    /// A step as the audit trail names it.
    #[must_use]
    pub fn action(&self, step: Step) -> String {
        let bundle = self.bundle();
        match bundle.stage() {
            Stage::Steady => format!("ca {step}: the successor of {}", fingerprint(bundle.signing().certificate())),
            Stage::Prepared { next, .. } => format!("ca {step} {}", fingerprint(next.certificate())),
            Stage::Overlap { old, .. } => format!("ca {step} {}", fingerprint(old)),
        }
    }

    /// What a step leads to; `None` if it is not the next one, or too early for other hubs.
    ///
    /// # Errors
    /// When no root can be made.
    pub fn after(&self, step: Step) -> Result<Option<Bundle>, StoreError> {
        let (bundle, now) = (self.bundle(), SystemTime::now());
        let Lifetimes { root, certificate, grace, .. } = self.lifetimes;
        Ok(match step {
            _ if step != bundle.next_step() => None,
            Step::Prepare => {
                let next = new_root(&self.mesh, root)?;
                Some(bundle.prepared(next, now, certificate).map_err(broken)?)
            }
            Step::Activate => bundle.activated(now, certificate + grace + SLACK),
            Step::Retire => bundle.retired(),
        })
    }

    /// Takes a step. False: there is none such [`after`](Self::after) the present, or another hub was first.
    ///
    /// # Errors
    /// When the store does not answer, or no root can be made.
    pub async fn take(&self, step: Step) -> Result<bool, StoreError> {
        let mut text = self.text.lock().await;
        let Some(next) = self.after(step)? else { return Ok(false) };
        let to = next.to_text();
        if !self.store.exchange_secret(SECRET, &text, &to).await? {
            return Ok(false);
        }
        tracing::warn!(%step, root = fingerprint(next.signing().certificate()), "the mesh's root is being exchanged");
        *text = to;
        self.current.send_replace(Arc::new(next));
        Ok(true)
    }

    /// Follows the store and takes each step when its time has come, for ever.
    pub async fn follow(self: Arc<Self>, writer: Writer) {
        let mut ticks = interval(REFRESH);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(why) = self.refresh().await {
                tracing::debug!(%why, "the roots cannot be read");
            } else if milliseconds(SystemTime::now()) >= self.due_ms()
                && let Err(why) = self.advance(&writer).await
            {
                tracing::warn!(%why, "the next step of the rotation of roots cannot be taken");
            }
        }
    }

    /// Says in the audit trail what comes, then does it: whatever a hub dies between, it is said once and done.
    async fn advance(&self, writer: &Writer) -> Result<(), WriteError> {
        let step = self.bundle().next_step();
        let action = self.action(step);
        // Of all hubs that say so, the first one's word is written.
        writer.submit(Command::Note { action: action.clone() }, "hub", &action).await?;
        self.take(step).await.map_err(|why| WriteError::Unknown(why.to_string()))?;
        Ok(())
    }

    async fn refresh(&self) -> Result<(), StoreError> {
        let mut text = self.text.lock().await;
        let kept = self.store.secret(SECRET, &text).await?;
        if kept != *text {
            self.current.send_replace(Arc::new(read(&kept)?));
            *text = kept;
        }
        Ok(())
    }
}

fn new_root(mesh: &Name, lifetime: Duration) -> Result<Authority, StoreError> {
    Authority::new_root(mesh, Validity::starting(SystemTime::now(), lifetime)).map_err(broken)
}

fn broken(why: PkiError) -> StoreError {
    StoreError::Setup(format!("the certificate authority: {why}"))
}

fn read(text: &str) -> Result<Bundle, StoreError> {
    Bundle::from_text(text).map_err(|why| StoreError::Corrupt(format!("the certificate authority: {why}")))
}
