//! The session of each cluster's relay: one at a time.
//!
//! A relay's key belongs to one process. Whoever comes with it while its session lives is a double: it is refused, and both
//! are flagged, so that two copies never take turns in speaking for a cluster. A session that only seems to live (its
//! machine is gone and nobody closed the connection) does not keep its owner out: it is asked for a sign of life, and gives
//! way if none comes. A relay may have replicas, of which one leads: they share the key, and the terms of their logs say who
//! leads since when. Of two the later leader is served, at once, and the earlier one is told.
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use axle_core::{log::Position, model::Uid, session::SUPERSEDED};
use axle_transport::sync::Goodbye;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::sleep};
use tokio_util::sync::CancellationToken;

/// How long a sign of life may take. Less than a spoke waits for its welcome.
const ANSWER: Duration = Duration::from_secs(5);
/// When a double may try again.
const RETRY: Duration = Duration::from_secs(10);
/// For how long a double is shown after its last try.
const SHOWN: Duration = Duration::from_secs(600);

/// The sessions of this hub.
#[derive(Debug, Default)]
pub struct Sessions(Mutex<HashMap<Uid, Arc<Session>>>);

/// One session.
#[derive(Debug)]
pub struct Session {
    key: [u8; 32],
    /// Where its log stood when it began.
    head: Option<Position>,
    node: String,
    end: CancellationToken,
    ask: Arc<Notify>,
    heard: Notify,
    /// The last double: from which node, and when.
    double: Mutex<Option<(String, Instant)>>,
}

impl Sessions {
    /// A session of a cluster's relay, known by its key, whose log stands at `head`, begins and ends with `end`. The one
    /// before it has ended, does not answer, or is of a relay that is no longer its cluster's or led before.
    ///
    /// # Errors
    /// The one before it lives, or is a later leader's.
    pub async fn begin(
        &self,
        (cluster, key): (Uid, [u8; 32]),
        (node, head): (&str, Option<Position>),
        end: CancellationToken,
    ) -> Result<Arc<Session>, Goodbye> {
        let session = Arc::new(Session {
            key,
            head,
            node: node.to_owned(),
            end,
            ask: Arc::default(),
            heard: Notify::new(),
            double: Mutex::default(),
        });
        while let Some(before) = self.enter(cluster, &session) {
            if before.key == key && outranks(before.head, head) {
                let term = before.head.map_or(0, |head| head.term());
                let reason =
                    format!("{SUPERSEDED}: leader {term} is another replica of this relay, on node {}", before.node);
                return Err(Goodbye { reason, retry_after: RETRY });
            }
            if before.key == key && !outranks(head, before.head) && before.lives().await {
                *before.double.lock() = Some((node.to_owned(), Instant::now()));
                tracing::error!(
                    cluster.uid = %cluster, first = %before.node, second = %node,
                    "two processes have the key of one relay; the second is refused"
                );
                let reason = format!(
                    "already_exists: the relay of this cluster has a living session, from node {}, with this very key; \
                     stop one of the two, or join anew: axle token create",
                    before.node
                );
                return Err(Goodbye { reason, retry_after: RETRY });
            }
            if !before.end.is_cancelled() {
                tracing::warn!(cluster.uid = %cluster, node = %before.node, "a session gives way: it does not answer, or is of a former relay or leader");
                before.end.cancel();
            }
        }
        Ok(session)
    }

    /// Makes `session` its cluster's, unless another holds that place.
    fn enter(&self, cluster: Uid, session: &Arc<Session>) -> Option<Arc<Session>> {
        let mut sessions = self.0.lock();
        let there = sessions.get(&cluster).filter(|there| !there.end.is_cancelled()).cloned();
        if there.is_none() {
            sessions.insert(cluster, session.clone());
        }
        there
    }

    /// Ends the session of a cluster that is no more.
    pub fn remove(&self, cluster: Uid) {
        if let Some(session) = self.0.lock().remove(&cluster) {
            session.end.cancel();
        }
    }

    /// What is wrong with a cluster's session, for people.
    #[must_use]
    pub fn problem(&self, cluster: Uid) -> Option<String> {
        let session = self.0.lock().get(&cluster).cloned()?;
        let (node, at) = session.double.lock().clone().filter(|(_, at)| at.elapsed() < SHOWN)?;
        Some(format!(
            "a second process with the key of the relay on {} came {} s ago, from node {node}, and was refused: stop one of \
             the two; if the key was taken, join the relay anew",
            session.node,
            at.elapsed().as_secs()
        ))
    }
}

fn outranks(one: Option<Position>, other: Option<Position>) -> bool {
    one.zip(other).is_some_and(|(one, other)| one.outranks(&other))
}

impl Session {
    /// Notified when the spoke is to show that it lives.
    #[must_use]
    pub fn ask(&self) -> Arc<Notify> {
        self.ask.clone()
    }

    /// The spoke said something.
    pub fn heard(&self) {
        self.heard.notify_waiters();
    }

    async fn lives(&self) -> bool {
        let mut heard = std::pin::pin!(self.heard.notified());
        heard.as_mut().enable();
        self.ask.notify_one();
        tokio::select! {
            () = heard => true,
            () = self.end.cancelled() => false,
            () = sleep(ANSWER) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: Uid = Uid([1; 16]);

    #[tokio::test]
    async fn the_second_is_refused_while_the_first_answers() {
        let sessions = Arc::new(Sessions::default());
        let first = sessions.begin((CLUSTER, [7; 32]), ("n1", None), CancellationToken::new()).await.unwrap();
        let answering = {
            let first = first.clone();
            tokio::spawn(async move {
                first.ask().notified().await;
                first.heard();
            })
        };
        let refused = sessions.begin((CLUSTER, [7; 32]), ("n2", None), CancellationToken::new()).await.unwrap_err();
        assert!(refused.reason.starts_with("already_exists") && refused.reason.contains("n1"), "{refused}");
        answering.await.unwrap();
        assert!(!first.end.is_cancelled(), "the first goes on");
        assert!(sessions.problem(CLUSTER).unwrap().contains("from node n2"));
        // Whoever has enrolled since with another key is no double.
        let newer = sessions.begin((CLUSTER, [8; 32]), ("n3", None), CancellationToken::new()).await.unwrap();
        assert!(first.end.is_cancelled());
        newer.end.cancel();
        sessions.begin((CLUSTER, [7; 32]), ("n2", None), CancellationToken::new()).await.unwrap();
        assert_eq!(sessions.problem(CLUSTER), None, "it is over with the session");
    }

    #[tokio::test]
    async fn of_two_replicas_the_later_leader_is_served() {
        let sessions = Sessions::default();
        let head = |epoch, term| Some(Position { epoch: Uid([epoch; 16]), ..Position::default() }.of_leader(term));
        let begin = |node, head| sessions.begin((CLUSTER, [7; 32]), (node, head), CancellationToken::new());
        let first = begin("n1", head(5, 1)).await.unwrap();
        let second = begin("n2", head(5, 2)).await.unwrap();
        assert!(first.end.is_cancelled(), "nobody is asked");
        let refused = begin("n1", head(5, 1)).await.unwrap_err();
        assert!(refused.reason.starts_with("superseded: leader 2 ") && refused.reason.contains("n2"), "{refused}");
        assert!(!second.end.is_cancelled() && sessions.problem(CLUSTER).is_none(), "it is no double");
        // Of another log, or without one, nothing follows from the term.
        for other in [head(6, 9), None] {
            let answering = async {
                second.ask().notified().await;
                second.heard();
            };
            let (refused, ()) = tokio::join!(begin("n3", other), answering);
            assert!(refused.unwrap_err().reason.starts_with("already_exists"));
        }
    }

    #[tokio::test]
    async fn a_dead_session_gives_way_and_of_two_who_wait_one_gets_its_place() {
        let sessions = Arc::new(Sessions::default());
        let dead = sessions.begin((CLUSTER, [7; 32]), ("n1", None), CancellationToken::new()).await.unwrap();
        let begin = |node: &'static str| {
            let sessions = sessions.clone();
            tokio::spawn(async move {
                let session = sessions.begin((CLUSTER, [7; 32]), (node, None), CancellationToken::new()).await?;
                // As every living session does.
                let lives = session.clone();
                tokio::spawn(async move {
                    loop {
                        lives.ask().notified().await;
                        lives.heard();
                    }
                });
                Ok::<_, Goodbye>(session)
            })
        };
        let (one, two) = tokio::join!(begin("n1"), begin("n2"));
        assert!(dead.end.is_cancelled());
        assert_eq!([one.unwrap().is_ok(), two.unwrap().is_ok()].iter().filter(|&&in_| in_).count(), 1);
    }
}
