//! The one writer: commands in, revisions out, many to a transaction.
//!
//! It decides commands on a state of its own that runs ahead of what is committed, appends the records under the
//! expected head, and takes back what the store did not take. A hub that lost the race for the head takes the winner's
//! records and decides again.
mod catch_up;

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use axle_core::{
    log::Record,
    refusal::Refusal,
    state::{Command, Decision, Rejection, Request, State, Undo},
};
use axle_proto::convert::Wire;
use tokio::{
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::{
    replica::Replica,
    store::{Answered, Batch, Store, StoreError, random_uid},
};

/// Revisions in one transaction.
const BATCH: usize = 256;
/// Commands that wait for the writer.
const QUEUE: usize = 4096;
/// How often the store is asked for other hubs' revisions. Wake-ups make it faster; this makes it certain.
const POLL: Duration = Duration::from_secs(1);
/// Newest records kept at hand for readers that resume.
pub(crate) const RECENT: u32 = 10_000;
/// For how long an unreachable store is asked what became of a write; those who wait for the write wait that long too.
const RESOLVE: Duration = Duration::from_secs(10);

/// Asks the writer. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Writer {
    queue: mpsc::Sender<Submission>,
}

/// A command that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The revision that it made, or that the same request made before; 0 if everything was so already.
    pub revision: u64,
    /// Whether a request with the same id made it before.
    pub repeated: bool,
    /// Objects of a spoke's log that were not taken.
    pub refused: Vec<Refusal>,
}

/// A command that was not done.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WriteError {
    /// It cannot be done; nothing of it was.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The store did not answer. It may have been done: ask again with the same request id.
    #[error("{0}; whether the write was done is unknown: repeat it with the same request id")]
    Unknown(String),
    /// The hub is too busy or is stopping; nothing was done.
    #[error("the hub takes no writes now: {0}")]
    Unavailable(&'static str),
}

/// Commands that are done in their order and in one transaction.
#[derive(Debug)]
struct Submission {
    requests: Vec<Request>,
    answer: oneshot::Sender<Answer>,
}

type Answer = Result<Vec<Committed>, WriteError>;

impl Writer {
    /// Opens the log in `store` and begins to write; the first hub of all begins the first epoch. Ends when `stop` does,
    /// after what was asked before is done.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn start(
        store: Arc<dyn Store>,
        stop: CancellationToken,
    ) -> Result<(Self, Arc<Replica>, tokio::task::JoinHandle<()>), StoreError> {
        if store.head().await?.is_none() {
            // Another hub may be first; then its epoch holds.
            store.begin_epoch(None, random_uid()?).await?;
        }
        let state = catch_up::load(&*store).await?;
        let replica = Arc::new(Replica::new(state.clone()));
        let (queue, submissions) = mpsc::channel(QUEUE);
        let task = Task { store, replica: replica.clone(), state };
        let running = tokio::spawn(task.run(submissions, stop));
        Ok((Self { queue }, replica, running))
    }

    /// Has a command done, and returns when it is committed.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn submit(&self, command: Command, actor: &str, request_id: &str) -> Result<Committed, WriteError> {
        let committed = self.ask(vec![request(command, actor, request_id)?]).await?;
        committed.into_iter().next().ok_or(WriteError::Unavailable("it gave no answer"))
    }

    /// Has commands done in their order, in one transaction: if one cannot be done, none after it is.
    ///
    /// # Errors
    /// The first fault; see [`WriteError`].
    pub async fn submit_in_order(&self, commands: Vec<Command>, actor: &str) -> Result<Vec<Committed>, WriteError> {
        let requests = commands.into_iter().map(|command| request(command, actor, "")).collect::<Result<_, _>>()?;
        self.ask(requests).await
    }

    async fn ask(&self, requests: Vec<Request>) -> Answer {
        let (answer, answered) = oneshot::channel();
        let sent = self.queue.send_timeout(Submission { requests, answer }, Duration::from_secs(5)).await;
        sent.map_err(|why| match why {
            mpsc::error::SendTimeoutError::Timeout(_) => WriteError::Unavailable("too many writes are waiting"),
            mpsc::error::SendTimeoutError::Closed(_) => WriteError::Unavailable("it is stopping"),
        })?;
        answered.await.unwrap_or(Err(WriteError::Unknown("the hub is stopping".into())))
    }
}

fn request(command: Command, actor: &str, request_id: &str) -> Result<Request, WriteError> {
    let mut entropy = [0; 32];
    getrandom::fill(&mut entropy).map_err(|_| WriteError::Unavailable("the system gives no randomness"))?;
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let time_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    Ok(Request { command, actor: actor.into(), request_id: request_id.into(), time_ms, entropy })
}

struct Task {
    store: Arc<dyn Store>,
    replica: Arc<Replica>,
    /// The committed state, and during a batch what it will be.
    state: State,
}

/// What a batch came to before it is committed.
#[derive(Default)]
struct Decided {
    records: Vec<Record>,
    undo: Vec<Undo>,
    answers: Vec<Answer>,
}

impl Task {
    async fn run(mut self, mut submissions: mpsc::Receiver<Submission>, stop: CancellationToken) {
        let mut poll = interval(POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let store = self.store.clone();
            tokio::select! {
                Some(first) = submissions.recv() => {
                    let mut batch = vec![first];
                    while batch.len() < BATCH && let Ok(next) = submissions.try_recv() {
                        batch.push(next);
                    }
                    self.write(batch).await;
                }
                _ = poll.tick() => self.look().await,
                () = store.changed() => self.look().await,
                () = stop.cancelled(), if !submissions.is_closed() => submissions.close(),
                else => return,
            }
            if stop.is_cancelled() && submissions.is_empty() {
                return;
            }
        }
    }

    /// Takes what other hubs wrote.
    async fn look(&mut self) {
        let looked = self.catch_up().await;
        if let Err(why) = &looked {
            tracing::warn!(%why, "the log cannot be read");
        }
        self.replica.set_health(looked.map(drop).map_err(|why| why.to_string()));
    }

    async fn write(&mut self, mut batch: Vec<Submission>) {
        loop {
            let from = self.state.position();
            let mut decided = self.decide(&batch);
            let done = if decided.records.is_empty() {
                Ok(true)
            } else {
                let given_up = decided.undo.iter().zip(&decided.records);
                let given_up =
                    given_up.flat_map(|(undo, record)| undo.given_up().iter().map(|a| (*a, record.revision)));
                let batch = Batch::of(&decided.records).giving_up(given_up);
                self.store.append(from, &batch).await
            };
            match done {
                Ok(true) => return self.commit(batch, decided),
                Ok(false) => {
                    self.take_back(&mut decided);
                    match self.lost(&mut batch).await {
                        Ok(()) if batch.is_empty() => return,
                        Ok(()) => {}
                        Err(why) => return fail(batch, &why),
                    }
                }
                Err(why) => {
                    self.take_back(&mut decided);
                    return self.resolve(batch, decided, &why).await;
                }
            }
        }
    }

    /// Decides every command of a batch, each on the state that those before it lead to.
    fn decide(&mut self, batch: &[Submission]) -> Decided {
        let mut decided = Decided::default();
        for submission in batch {
            let answer = submission.requests.iter().map(|request| self.decide_one(request, &mut decided)).collect();
            decided.answers.push(answer);
        }
        decided
    }

    fn decide_one(&mut self, request: &Request, decided: &mut Decided) -> Result<Committed, WriteError> {
        match self.state.decide(request, &Wire)? {
            Decision::Nothing { refused } => Ok(Committed { revision: 0, repeated: false, refused }),
            Decision::Repeated { revision } => Ok(Committed { revision, repeated: true, refused: Vec::new() }),
            Decision::Write { record, refused } => {
                // The state just made the record for this very place.
                let undo = self.state.apply(&record).map_err(|why| WriteError::Unknown(why.to_string()))?;
                let revision = record.revision;
                decided.records.push(record);
                decided.undo.push(undo);
                Ok(Committed { revision, repeated: false, refused })
            }
        }
    }

    fn take_back(&mut self, decided: &mut Decided) {
        while let Some(undo) = decided.undo.pop() {
            self.state.undo(undo);
        }
    }

    fn commit(&self, batch: Vec<Submission>, decided: Decided) {
        self.replica.set_health(Ok(()));
        if let Err(why) = self.replica.advance(&decided.records) {
            tracing::error!(%why, "the replica does not follow its own writer");
        }
        for (submission, answer) in batch.into_iter().zip(decided.answers) {
            // Whoever asked may have gone.
            let _ = submission.answer.send(answer);
        }
    }

    /// Another hub wrote first, or a request of the batch was answered longer ago than the state remembers.
    async fn lost(&mut self, batch: &mut Vec<Submission>) -> Result<(), StoreError> {
        if self.catch_up().await? {
            return Ok(());
        }
        let mut repeated = Vec::with_capacity(batch.len());
        for Submission { requests, .. } in &*batch {
            let [request] = requests.as_slice() else {
                repeated.push(None);
                continue;
            };
            repeated.push(self.store.answered(&request.actor, &request.request_id).await?);
        }
        if repeated.iter().all(Option::is_none) {
            return Err(StoreError::Corrupt("it refuses records that follow on its head".into()));
        }
        for (submission, repeated) in std::mem::take(batch).into_iter().zip(repeated) {
            match repeated {
                None => batch.push(submission),
                Some(Answered { revision, .. }) => {
                    let _ =
                        submission.answer.send(Ok(vec![Committed { revision, repeated: true, refused: Vec::new() }]));
                }
            }
        }
        Ok(())
    }

    /// Finds out what became of a write that the store did not answer.
    async fn resolve(&mut self, batch: Vec<Submission>, decided: Decided, why: &StoreError) {
        tracing::warn!(%why, "a write was not answered");
        let Some(last) = decided.records.last() else { return fail(batch, why) };
        let asked = Instant::now();
        while asked.elapsed() < RESOLVE {
            match self.catch_up().await {
                Ok(_) => {
                    self.replica.set_health(Ok(()));
                    if self.state.contents().remembers(&last.position(self.state.position().epoch)) {
                        for (submission, answer) in batch.into_iter().zip(decided.answers) {
                            let _ = submission.answer.send(answer);
                        }
                        return;
                    }
                    return fail(batch, why);
                }
                Err(why) => {
                    self.replica.set_health(Err(why.to_string()));
                    sleep(Duration::from_millis(500)).await;
                }
            }
        }
        fail(batch, why);
    }
}

fn fail(batch: Vec<Submission>, why: &StoreError) {
    for submission in batch {
        let _ = submission.answer.send(Err(WriteError::Unknown(why.to_string())));
    }
}

#[cfg(test)]
mod tests;
