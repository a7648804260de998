//! The end that takes a log.
use crate::{
    codec::Codec,
    log::{Change, Delta, Position, Snapshot},
    model::{Envelope, Object},
    refusal::{Refusal, code},
    session::{Digest, Frame, Marker, Page},
};

/// The first word to somebody whose log another one leads by now.
pub const SUPERSEDED: &str = "superseded";

/// The term that stands against somebody who was told this: it follows the first word, `superseded: leader 7`.
#[must_use]
pub fn superseded_by(reason: &str) -> Option<u32> {
    reason.strip_prefix(SUPERSEDED)?.strip_prefix(": leader ")?.split(' ').next()?.parse().ok()
}

/// Takes a peer's log, frame by frame. It lives as long as one session: the next begins from what is held durably.
#[derive(Debug)]
pub struct Receiver {
    held: Option<Position>,
    features: Vec<String>,
    limits: Limits,
    snapshot: Option<Partial>,
}

/// How much one snapshot or delta may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Objects.
    pub objects: usize,
    /// Bytes of payload.
    pub bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { objects: 4_000_000, bytes: 2 << 30 }
    }
}

/// What to do about a frame.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// Nothing, yet.
    Nothing,
    /// Apply this delta, then acknowledge it.
    Apply(Intake<Delta>),
    /// Replace everything by this snapshot, then acknowledge it.
    Replace(Intake<Snapshot>),
    /// The peer's log stands here.
    Head(Position),
}

/// What came, without the objects that could not be taken.
#[derive(Debug, PartialEq)]
pub struct Intake<T> {
    /// What to take.
    pub taken: T,
    /// What was left out, and why.
    pub refused: Vec<Refusal>,
    /// Of that, what requires more than this receiver knows, as it came.
    pub unread: Vec<Envelope>,
}

/// A breach of the protocol: the session ends, and the next one resumes from what is held.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A delta that does not begin where the copy stands.
    #[error("a delta begins at revision {from}, the copy stands at {held}: deltas must join")]
    Gap {
        /// Where it begins.
        from: u64,
        /// Where the copy stands.
        held: u64,
    },
    /// A delta before any snapshot.
    #[error("a delta from revision {from}, but nothing is held: wanted a snapshot first")]
    NothingHeld {
        /// Where it begins.
        from: u64,
    },
    /// A delta of another epoch.
    #[error("a delta of epoch {got}, the copy is of {held}: wanted a snapshot first")]
    Epoch {
        /// The delta's.
        got: crate::model::Uid,
        /// The copy's.
        held: crate::model::Uid,
    },
    /// A delta that leads nowhere or back.
    #[error("a delta leads from revision {from} to {to}: wanted it to lead on")]
    Backwards {
        /// Where it begins.
        from: u64,
        /// Where it ends.
        to: u64,
    },
    /// A snapshot of an earlier leader's log, after a later one's was taken. Its keeper knows it by the first word.
    #[error(
        "{SUPERSEDED}: leader {held} goes on with the log that the copy is of, this one is of leader {got}, before it"
    )]
    Superseded {
        /// The snapshot's term.
        got: u32,
        /// The copy's term.
        held: u32,
    },
    /// A snapshot's page or marker that does not continue what came before.
    #[error("snapshot: {0}")]
    Snapshot(String),
    /// A snapshot that is not what its marker says.
    #[error("the snapshot at revision {revision} has {got}, its marker says {wanted}: it is not taken")]
    Marker {
        /// The snapshot's.
        revision: u64,
        /// What came.
        got: String,
        /// What the marker says.
        wanted: String,
    },
    /// More than the limits allow.
    #[error("{got} {what} in one snapshot or delta, at most {limit} are taken")]
    TooMuch {
        /// `objects` or `bytes`.
        what: &'static str,
        /// How many came.
        got: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// A message that cannot be read at all.
    #[error("unreadable message: {0}")]
    Unreadable(String),
}

#[derive(Debug)]
struct Partial {
    at: Position,
    pages: u32,
    bytes: usize,
    objects: Vec<Envelope>,
    digest: Digest,
}

impl Receiver {
    /// For a copy that stands at `held`, if it holds anything.
    #[must_use]
    pub fn new(held: Option<Position>, features: &[&str], limits: Limits) -> Self {
        Self { held, features: features.iter().map(ToString::to_string).collect(), limits, snapshot: None }
    }

    /// Where the copy stands once everything that was received is applied.
    #[must_use]
    pub fn held(&self) -> Option<Position> {
        self.held
    }

    /// Checks one frame.
    ///
    /// # Errors
    /// A [`Fault`] ends the session. What is held stays as it is.
    pub fn receive(&mut self, frame: Frame, codec: &dyn Codec) -> Result<Effect, Fault> {
        match frame {
            Frame::Delta(delta) => self.delta(delta, codec),
            Frame::Page(page) => self.page(page),
            Frame::Marker(marker) => self.marker(&marker, codec),
            Frame::Head(head) => Ok(Effect::Head(head)),
        }
    }

    fn delta(&mut self, delta: Delta<Envelope>, codec: &dyn Codec) -> Result<Effect, Fault> {
        let Delta { from, to, changes, origin } = delta;
        if self.snapshot.is_some() {
            return Err(Fault::Snapshot(format!("a delta from revision {from} came before the marker")));
        }
        let held = self.held.ok_or(Fault::NothingHeld { from })?;
        if to.epoch != held.epoch {
            return Err(Fault::Epoch { got: to.epoch, held: held.epoch });
        }
        if from != held.revision {
            return Err(Fault::Gap { from, held: held.revision });
        }
        if to.revision <= from {
            return Err(Fault::Backwards { from, to: to.revision });
        }
        let bytes =
            changes.iter().map(|change| if let Change::Put(put) = change { put.payload.len() } else { 0 }).sum();
        self.check_size(changes.len(), bytes)?;
        let (mut refused, mut unread) = (Vec::new(), Vec::new());
        let mut taken = Vec::with_capacity(changes.len());
        for change in changes {
            match change {
                Change::Put(envelope) => match self.open(envelope, codec, &mut unread) {
                    Ok(object) => taken.push(Change::Put(object)),
                    Err(refusal) => refused.push(refusal),
                },
                Change::Delete { key, uid } => taken.push(Change::Delete { key, uid }),
            }
        }
        self.held = Some(to);
        Ok(Effect::Apply(Intake { taken: Delta { from, to, changes: taken, origin }, refused, unread }))
    }

    fn page(&mut self, page: Page) -> Result<Effect, Fault> {
        let Page { at, index, objects } = page;
        if let Some(held) = self.held.filter(|held| held.outranks(&at)) {
            return Err(Fault::Superseded { got: at.term(), held: held.term() });
        }
        if index == 0 {
            let digest = Digest::default();
            self.snapshot = Some(Partial { at, pages: 0, bytes: 0, objects: Vec::new(), digest });
        }
        let limits = self.limits;
        let Some(partial) = &mut self.snapshot else {
            return Err(Fault::Snapshot(format!("page {index} came first, wanted page 0")));
        };
        if partial.at != at || partial.pages != index {
            return Err(Fault::Snapshot(format!(
                "page {index} of revision {}, wanted page {} of revision {}",
                at.revision, partial.pages, partial.at.revision
            )));
        }
        partial.pages += 1;
        for object in objects {
            if partial.objects.last().is_some_and(|last| last.key >= object.key) {
                return Err(Fault::Snapshot(format!(
                    "{} is out of order: wanted ascending keys, each once",
                    object.key
                )));
            }
            partial.digest.add(&object.key, &object.uid, &object.payload);
            partial.bytes += object.payload.len();
            partial.objects.push(object);
        }
        check_size(limits, partial.objects.len(), partial.bytes)?;
        Ok(Effect::Nothing)
    }

    fn marker(&mut self, marker: &Marker, codec: &dyn Codec) -> Result<Effect, Fault> {
        let Some(partial) = self.snapshot.take() else {
            return Err(Fault::Snapshot("a marker came without pages".into()));
        };
        if partial.at != marker.at {
            return Err(Fault::Snapshot(format!(
                "a marker of revision {} after pages of revision {}",
                marker.at.revision, partial.at.revision
            )));
        }
        let (got, digest) = (partial.objects.len() as u64, partial.digest.finish());
        if got != marker.count || digest != marker.digest {
            return Err(Fault::Marker {
                revision: marker.at.revision,
                got: format!("{got} objects with digest {digest}"),
                wanted: format!("{} objects with digest {}", marker.count, marker.digest),
            });
        }
        let (mut refused, mut unread) = (Vec::new(), Vec::new());
        let mut objects = Vec::with_capacity(partial.objects.len());
        for envelope in partial.objects {
            match self.open(envelope, codec, &mut unread) {
                Ok(object) => objects.push(object),
                Err(refusal) => refused.push(refusal),
            }
        }
        self.held = Some(marker.at);
        let taken = Snapshot { at: marker.at, objects, origin: marker.origin };
        Ok(Effect::Replace(Intake { taken, refused, unread }))
    }

    fn open(&self, envelope: Envelope, codec: &dyn Codec, unread: &mut Vec<Envelope>) -> Result<Object, Refusal> {
        let (key, revision) = (envelope.key.clone(), envelope.revision);
        let refuse = |code: &str, message| Refusal { key: key.clone(), revision, code: code.into(), message };
        let unknown: Vec<&str> = envelope
            .features
            .iter()
            .map(String::as_str)
            .filter(|f| !self.features.iter().any(|own| own == f))
            .collect();
        if !unknown.is_empty() {
            let message = format!("it requires {}, which this version does not know: upgrade it", unknown.join(", "));
            unread.push(envelope);
            return Err(refuse(code::UNKNOWN_FEATURE, message));
        }
        envelope.open(codec).map_err(|message| refuse(code::INVALID_OBJECT, message))
    }

    fn check_size(&self, objects: usize, bytes: usize) -> Result<(), Fault> {
        check_size(self.limits, objects, bytes)
    }
}

fn check_size(limits: Limits, objects: usize, bytes: usize) -> Result<(), Fault> {
    if objects > limits.objects {
        return Err(Fault::TooMuch { what: "objects", got: objects, limit: limits.objects });
    }
    if bytes > limits.bytes {
        return Err(Fault::TooMuch { what: "bytes", got: bytes, limit: limits.bytes });
    }
    Ok(())
}
