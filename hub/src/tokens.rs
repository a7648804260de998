//! People's tokens: made, listed and revoked, by whichever hub.
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use axle_core::state::Command;
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    auth::{END_OF_TIME, Issued, Keys, NotAKey, Revoked, Role},
    clock::milliseconds,
    store::{PersonToken, Store, StoreError},
    writer::{WriteError, Writer},
};

/// How often the store is asked what other hubs revoked.
const REFRESH: Duration = Duration::from_secs(1);

/// The longest name of a bearer, in bytes.
const MAX_SUBJECT: usize = 253;

/// People's tokens.
#[derive(Debug)]
pub struct Tokens {
    store: Arc<dyn Store>,
    keys: Arc<Keys>,
    revoked: Revoked,
}

/// Why no token was made.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// A subject that is none.
    #[error("the subject is empty, longer than {MAX_SUBJECT} bytes, or not printable; wanted a name such as alice")]
    Subject,
    /// It cannot be noted in the audit trail.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It cannot be signed.
    #[error(transparent)]
    Key(#[from] NotAKey),
}

impl Tokens {
    /// The mesh's tokens; the first hub of all makes the key that signs them.
    ///
    /// # Errors
    /// When the store cannot be read, or holds something else.
    pub async fn open(store: Arc<dyn Store>, mesh: &str) -> Result<Arc<Self>, StoreError> {
        let broken = |why: NotAKey| StoreError::Corrupt(why.to_string());
        let pem = store.secret("jwt", &Keys::generate().map_err(broken)?).await?;
        let keys = Arc::new(Keys::from_pem(&pem, mesh).map_err(broken)?);
        let tokens = Arc::new(Self { store, keys, revoked: Revoked::default() });
        tokens.refresh().await?;
        Ok(tokens)
    }

    /// What signs and verifies them.
    #[must_use]
    pub fn keys(&self) -> Arc<Keys> {
        self.keys.clone()
    }

    /// Those that no longer count.
    #[must_use]
    pub fn revoked(&self) -> Revoked {
        self.revoked.clone()
    }

    /// A token for `subject`, noted in the audit trail as made by `actor`.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub async fn issue(
        &self,
        writer: &Writer,
        actor: &str,
        subject: &str,
        role: Role,
        lifetime: Duration,
    ) -> Result<String, TokenError> {
        if subject.is_empty() || subject.len() > MAX_SUBJECT || subject.chars().any(char::is_control) {
            return Err(TokenError::Subject);
        }
        let now = SystemTime::now();
        let Issued { token, id, expires_ms } = self.keys.issue(subject, role, now, lifetime)?;
        let action = format!("token issue {id} to {subject} as {role}");
        writer.submit(Command::Note { action }, actor, "").await?;
        let (role, creator) = (role.to_string(), actor.to_owned());
        let noted = PersonToken {
            id,
            subject: subject.into(),
            role,
            issued_ms: milliseconds(now),
            expires_ms,
            creator,
            revoked_ms: 0,
        };
        self.store.add_person_token(&noted).await?;
        Ok(token)
    }

    /// Those that are not over, the oldest first.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn list(&self) -> Result<Vec<PersonToken>, StoreError> {
        let now = milliseconds(SystemTime::now());
        Ok(self.store.person_tokens().await?.into_iter().filter(|token| token.expires_ms > now).collect())
    }

    /// Has the token of this id revoked by `actor`: here at once, at other hubs within a second. One that is in no list is
    /// noted for ever, since nobody knows how long it holds. False: it was so already.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn revoke(&self, id: &str, actor: &str) -> Result<bool, StoreError> {
        let now = milliseconds(SystemTime::now());
        if self.store.person_tokens().await?.iter().all(|token| token.id != id) {
            let unlisted = PersonToken {
                id: id.into(),
                subject: String::new(),
                role: String::new(),
                issued_ms: now,
                expires_ms: END_OF_TIME * 1000,
                creator: actor.into(),
                revoked_ms: 0,
            };
            self.store.add_person_token(&unlisted).await?;
        }
        let done = self.store.revoke_person_token(id, now).await?;
        self.refresh().await?;
        Ok(done)
    }

    /// Follows the store for ever.
    pub async fn follow(self: Arc<Self>) {
        let mut ticks = interval(REFRESH);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(why) = self.refresh().await {
                // What was revoked stays so; an outage of the database shuts nobody out.
                tracing::debug!(%why, "people's tokens cannot be read");
            }
        }
    }

    async fn refresh(&self) -> Result<(), StoreError> {
        let tokens = self.store.person_tokens().await?;
        self.revoked.add(tokens.into_iter().filter(|token| token.revoked_ms > 0).map(|token| token.id));
        Ok(())
    }
}
