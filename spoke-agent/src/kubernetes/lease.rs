//! Who of several is the one: a Lease, held by whoever renews it.
//!
//! Nobody's clock is compared with another's: whoever wants the lease of somebody who does not renew it must see it unchanged
//! for its whole time, by their own clock and without a gap. Whoever cannot renew it may still hold it, and goes on: nobody
//! can take it while the API server is away for all; and where it is away for the holder alone, the next one's term is higher,
//! by which everybody can tell the two apart.
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
    /// How often it is renewed.
    pub renew: Duration,
    /// How often it is looked at by who wants it, and tried again by who could not renew it.
    pub retry: Duration,
}

impl Default for Times {
    fn default() -> Self {
        let [lease, renew, retry] = [15, 5, 2].map(Duration::from_secs);
        Self { lease, renew, retry }
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
}

impl Turn {
    /// How often the lease was taken so far.
    #[must_use]
    pub fn term(&self) -> u32 {
        transitions(&self.record)
    }
}

fn transitions(record: &Record) -> u32 {
    let spec = record.spec.as_ref();
    spec.and_then(|spec| u32::try_from(spec.lease_transitions?).ok()).unwrap_or_default()
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

    /// Waits for the lease. `waiting` hears why, each time that it is looked at. `last` is asked for the last term that is
    /// known from elsewhere: the lease itself may have been removed.
    pub async fn acquire<F>(&self, last: impl Fn() -> F, waiting: impl Fn(String)) -> Turn
    where
        F: Future<Output = Result<u32, Trouble>>,
    {
        let mut seen = Seen::default();
        loop {
            match self.attempt(&last, &mut seen).await {
                Ok(Ok(turn)) => return turn,
                Ok(Err(holder)) => waiting(format!("{holder} holds the lease {}", self.name)),
                Err(trouble) => {
                    // Its holder may have been out of reach just as long.
                    seen = Seen::default();
                    waiting(trouble.to_string());
                }
            }
            tokio::time::sleep(self.times.retry).await;
        }
    }

    /// The turn, or who has it.
    async fn attempt<F>(&self, last: &impl Fn() -> F, seen: &mut Seen) -> Result<Result<Turn, String>, Trouble>
    where
        F: Future<Output = Result<u32, Trouble>>,
    {
        let now = Instant::now();
        let wrong = |verb| move |error: kube::Error| Trouble::of::<Record>(verb, &error);
        let (verb, written) = match self.api.get_opt(&self.name).await.map_err(wrong("get"))? {
            None => {
                let record = self.held(Record::default(), Some(last().await?));
                ("create", self.api.create(&PostParams::default(), &record).await)
            }
            Some(record) => {
                let spec = record.spec.clone().unwrap_or_default();
                if !seen.may_take(&spec, &self.me, now) {
                    return Ok(Err(spec.holder_identity.unwrap_or_default()));
                }
                let record = self.held(record, Some(last().await?));
                ("update", self.api.replace(&self.name, &PostParams::default(), &record).await)
            }
        };
        match written {
            Ok(record) => Ok(Ok(Turn { record })),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Err("somebody else".into())),
            Err(error) => Err(wrong(verb)(error)),
        }
    }

    /// The record as its holder writes it: to renew it, or to take it after the last term that is known.
    fn held(&self, mut record: Record, after: Option<u32>) -> Record {
        let now = MicroTime(Timestamp::now());
        let before = transitions(&record);
        let spec = record.spec.take().unwrap_or_default();
        let term = after.map_or(before, |last| last.max(before).saturating_add(1));
        record.metadata = ObjectMeta { name: Some(self.name.clone()), managed_fields: None, ..record.metadata };
        record.spec = Some(LeaseSpec {
            holder_identity: Some(self.me.clone()),
            lease_duration_seconds: i32::try_from(self.times.lease.as_secs()).ok(),
            acquire_time: if after.is_some() { Some(now.clone()) } else { spec.acquire_time },
            renew_time: Some(now),
            lease_transitions: i32::try_from(term).ok(),
            ..spec
        });
        record
    }

    /// Renews the lease until another one has it, and says so. `trouble` hears why it is not renewed, and of no more trouble.
    pub async fn keep(&self, turn: Turn, trouble: impl Fn(Option<String>)) -> String {
        let Turn { mut record } = turn;
        let mut pause = self.times.renew;
        loop {
            tokio::time::sleep(pause).await;
            let renewed = tokio::time::timeout(self.times.lease, self.renew(&mut record)).await;
            let away = || Trouble::Away("the API server does not answer".into());
            match renewed.unwrap_or_else(|_| Err(away())) {
                Ok(None) => {
                    trouble(None);
                    pause = self.times.renew;
                }
                Ok(Some(holder)) => return format!("{holder} has taken the lease {}", self.name),
                Err(why) => {
                    trouble(Some(why.to_string()));
                    pause = self.times.retry;
                }
            }
        }
    }

    /// Who else has it, if somebody has.
    async fn renew(&self, record: &mut Record) -> Result<Option<String>, Trouble> {
        let next = self.held(record.clone(), None);
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

    /// Whether it is held, asked this very moment.
    ///
    /// # Errors
    /// It is another one's, or the API server cannot be asked.
    pub async fn still_held(&self) -> Result<(), Trouble> {
        let found = self.api.get(&self.name).await.map_err(|error| Trouble::of::<Record>("get", &error))?;
        match found.spec.and_then(|spec| spec.holder_identity) {
            Some(holder) if holder == self.me => Ok(()),
            holder => {
                Err(Trouble::Away(format!("{} holds the lease {}", holder.as_deref().unwrap_or("nobody"), self.name)))
            }
        }
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
