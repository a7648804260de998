//! Who of several is the one: a Lease, held by whoever renews it.
//!
//! Nobody's clock is compared with another's: whoever wants the lease of somebody who does not renew it waits for its whole
//! time by their own clock, and whoever cannot renew it in less than that gives it up by theirs.
use std::time::{Duration, Instant};

use k8s_openapi::{
    api::coordination::v1::{Lease as Record, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{Api, Client, api::PostParams};

use super::trouble::Trouble;

/// How long things take.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// For how long a lease is good that nobody renews; whole seconds.
    pub lease: Duration,
    /// After how long without a renewal its holder gives it up; less than `lease`.
    pub deadline: Duration,
    /// How often it is renewed.
    pub renew: Duration,
    /// How often it is looked at by who wants it, and tried again by who could not renew it.
    pub retry: Duration,
}

impl Default for Times {
    fn default() -> Self {
        let [lease, deadline, renew, retry] = [15, 10, 5, 2].map(Duration::from_secs);
        Self { lease, deadline, renew, retry }
    }
}

/// One lease, and who wants it.
pub struct Lease {
    api: Api<Record>,
    name: String,
    me: String,
    times: Times,
}

/// The lease is held.
#[derive(Debug)]
pub struct Turn {
    record: Record,
    since: Instant,
}

/// What was seen of another's lease, and since when it is the same.
#[derive(Debug, Default)]
struct Seen(Option<(Says, Instant)>);

/// Its holder, and when it was renewed by their clock.
type Says = (Option<String>, Option<MicroTime>);

impl Seen {
    /// Whether `me` may take a lease that says this.
    fn may_take(&mut self, spec: &LeaseSpec, me: &str, now: Instant) -> bool {
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        if holder.is_empty() || holder == me {
            return true;
        }
        let says = (spec.holder_identity.clone(), spec.renew_time.clone());
        let since = match self.0.take() {
            Some((said, since)) if said == says => since,
            _ => now,
        };
        self.0 = Some((says, since));
        let lease = u64::try_from(spec.lease_duration_seconds.unwrap_or_default()).unwrap_or_default();
        now.duration_since(since) >= Duration::from_secs(lease.max(1))
    }
}

impl Lease {
    /// The lease `name` of `namespace`, wanted by `me`.
    #[must_use]
    pub fn new(client: Client, namespace: &str, name: &str, me: &str, times: Times) -> Self {
        Self { api: Api::namespaced(client, namespace), name: name.into(), me: me.into(), times }
    }

    /// Waits for the lease. `waiting` hears why, each time that it is looked at.
    pub async fn acquire(&self, waiting: impl Fn(String)) -> Turn {
        let mut seen = Seen::default();
        loop {
            match self.attempt(&mut seen).await {
                Ok(Ok(turn)) => return turn,
                Ok(Err(holder)) => waiting(format!("{holder} holds the lease {}", self.name)),
                Err(trouble) => waiting(trouble.to_string()),
            }
            tokio::time::sleep(self.times.retry).await;
        }
    }

    /// The turn, or who has it.
    async fn attempt(&self, seen: &mut Seen) -> Result<Result<Turn, String>, Trouble> {
        let since = Instant::now();
        let wrong = |verb| move |error: kube::Error| Trouble::of::<Record>(verb, &error);
        let written = match self.api.get_opt(&self.name).await.map_err(wrong("get"))? {
            None => self.api.create(&PostParams::default(), &self.taken(Record::default())).await,
            Some(record) => {
                let spec = record.spec.clone().unwrap_or_default();
                if !seen.may_take(&spec, &self.me, since) {
                    return Ok(Err(spec.holder_identity.unwrap_or_default()));
                }
                self.api.replace(&self.name, &PostParams::default(), &self.taken(record)).await
            }
        };
        match written {
            Ok(record) => Ok(Ok(Turn { record, since })),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Err("somebody else".into())),
            Err(error) => Err(wrong("update")(error)),
        }
    }

    fn taken(&self, mut record: Record) -> Record {
        let now = MicroTime(Timestamp::now());
        let before = record.spec.take().unwrap_or_default();
        let mine = before.holder_identity.as_deref() == Some(&self.me);
        record.metadata = ObjectMeta { name: Some(self.name.clone()), managed_fields: None, ..record.metadata };
        record.spec = Some(LeaseSpec {
            holder_identity: Some(self.me.clone()),
            lease_duration_seconds: i32::try_from(self.times.lease.as_secs()).ok(),
            acquire_time: if mine { before.acquire_time } else { Some(now.clone()) },
            renew_time: Some(now),
            lease_transitions: Some(before.lease_transitions.unwrap_or_default() + i32::from(!mine)),
            ..before
        });
        record
    }

    /// Renews the lease until it is lost, and says why.
    pub async fn keep(&self, turn: Turn) -> String {
        let Turn { mut record, since: mut good } = turn;
        let mut pause = self.times.renew;
        loop {
            tokio::time::sleep(pause).await;
            let began = Instant::now();
            let left = self.times.deadline.saturating_sub(good.elapsed());
            let why = match tokio::time::timeout(left, self.renew(&mut record)).await {
                Ok(Ok(None)) => {
                    (good, pause) = (began, self.times.renew);
                    continue;
                }
                Ok(Ok(Some(holder))) => return format!("{holder} has taken the lease {}", self.name),
                Ok(Err(trouble)) => trouble.to_string(),
                Err(_) => "the API server does not answer".to_owned(),
            };
            tracing::warn!(lease = %self.name, %why, "the lease is not renewed");
            if good.elapsed() >= self.times.deadline {
                return format!("the lease {} could not be renewed in {:?}: {why}", self.name, self.times.deadline);
            }
            pause = self.times.retry;
        }
    }

    /// Who else has it, if somebody has.
    async fn renew(&self, record: &mut Record) -> Result<Option<String>, Trouble> {
        let next = self.taken(record.clone());
        match self.api.replace(&self.name, &PostParams::default(), &next).await {
            Ok(written) => *record = written,
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {
                let found = self.api.get_opt(&self.name).await.map_err(|error| Trouble::of::<Record>("get", &error))?;
                let holder = found.as_ref().and_then(|found| found.spec.as_ref()?.holder_identity.clone());
                match (found, holder) {
                    // Somebody wrote something else into it: an annotation, say.
                    (Some(found), Some(holder)) if holder == self.me => *record = found,
                    (_, holder) => return Ok(Some(holder.unwrap_or_else(|| "somebody".into()))),
                }
                return Err(Trouble::Away("it was changed meanwhile".into()));
            }
            Err(error) => return Err(Trouble::of::<Record>("update", &error)),
        }
        Ok(None)
    }

    /// Gives the lease up, so that nobody waits for its end. Nothing happens if it is not held.
    pub async fn release(&self) {
        let Ok(Some(mut record)) = self.api.get_opt(&self.name).await else { return };
        let Some(spec) = &mut record.spec else { return };
        if spec.holder_identity.as_deref() == Some(&self.me) {
            spec.holder_identity = None;
            if let Err(error) = self.api.replace(&self.name, &PostParams::default(), &record).await {
                tracing::warn!(%error, "the lease is not given up: the next one waits for its end");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(holder: &str, renewed_s: i64) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.into()),
            lease_duration_seconds: Some(15),
            renew_time: Some(MicroTime(Timestamp::from_second(renewed_s).unwrap())),
            ..LeaseSpec::default()
        }
    }

    #[test]
    fn anothers_lease_is_waited_for_by_ones_own_clock() {
        let (mut seen, start) = (Seen::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        // Its holder's clock is an hour ahead, or 50 years behind: nothing follows from that.
        assert!(!seen.may_take(&spec("a", 4_000_000_000), "b", at(0)));
        assert!(!seen.may_take(&spec("a", 4_000_000_000), "b", at(14)));
        assert!(!seen.may_take(&spec("a", 0), "b", at(15)), "it was renewed");
        assert!(!seen.may_take(&spec("a", 0), "b", at(29)));
        assert!(!seen.may_take(&spec("c", 0), "b", at(30)), "another one has it");
        assert!(!seen.may_take(&spec("c", 0), "b", at(44)));
        assert!(seen.may_take(&spec("c", 0), "b", at(45)));
        assert!(seen.may_take(&spec("b", 0), "b", at(0)), "one's own of before");
        assert!(seen.may_take(&spec("", 0), "b", at(0)), "given up");
        assert!(seen.may_take(&LeaseSpec::default(), "b", at(0)));
    }
}
