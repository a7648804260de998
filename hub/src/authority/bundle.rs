//! The mesh's roots at one moment, as a value, and the steps of a rotation from one such value to the next.
//!
//! *Prepare* makes the next root: everybody is handed it, and it signs nothing. *Activate* lets it sign; the root before is
//! still trusted, and its word for the next root travels with every chain, so that also who was away all the time can
//! follow. *Retire* forgets the root before. Each step is one exchange of one text in the store: a hub that dies between
//! two steps leaves the one or the other behind, and every hub goes on from what is there.
use std::{
    fmt,
    time::{Duration, SystemTime},
};

use axle_transport::pki::{Authority, Chain, PkiError, PrivateKey, certificate_pem, sha256};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use serde::{Deserialize, Serialize};

use crate::clock::milliseconds;

/// The roots of one moment.
#[derive(Debug, Clone)]
pub struct Bundle {
    signing: Authority,
    stage: Stage,
}

/// How far a rotation is.
#[derive(Debug, Clone)]
pub enum Stage {
    /// There is none: one root signs and is trusted.
    Steady,
    /// The next root is handed out and signs nothing.
    Prepared {
        /// It.
        next: Box<Authority>,
        /// The signing root's word for it.
        vouched: CertificateDer<'static>,
        /// When this began, in milliseconds since 1970.
        since_ms: u64,
        /// When the next root is to sign: by then everybody who is there has renewed and so was handed it.
        due_ms: u64,
    },
    /// The root before is still trusted. Its key is gone.
    Overlap {
        /// It.
        old: CertificateDer<'static>,
        /// Its word for the root that signs.
        vouched: CertificateDer<'static>,
        /// When this began.
        since_ms: u64,
        /// When the root before is to be forgotten: by then no certificate of it can be used or renewed.
        due_ms: u64,
    },
}

/// What a rotation does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Make the next root and hand it out.
    Prepare,
    /// Let it sign.
    Activate,
    /// Forget the root before.
    Retire,
}

/// For how long a prepared root is known to every hub before it may sign: each looks every second.
const KNOWN_TO_ALL: Duration = Duration::from_secs(5);

/// What the store keeps while a rotation is under way. The field names are on disk for ever; without a rotation the text is
/// the signing root's key and certificate in PEM alone, as it ever was.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Kept {
    signing: String,
    stage: KeptStage,
    vouched: String,
    /// The next root's key and certificate, or the certificate of the root before.
    other: String,
    since_ms: u64,
    due_ms: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum KeptStage {
    Prepared,
    Overlap,
}

impl Bundle {
    /// One root, and no rotation.
    #[must_use]
    pub fn new(signing: Authority) -> Self {
        Self { signing, stage: Stage::Steady }
    }

    /// The root that signs.
    #[must_use]
    pub fn signing(&self) -> &Authority {
        &self.signing
    }

    /// How far a rotation is.
    #[must_use]
    pub fn stage(&self) -> &Stage {
        &self.stage
    }

    /// The step that comes next.
    #[must_use]
    pub fn next_step(&self) -> Step {
        match self.stage {
            Stage::Steady => Step::Prepare,
            Stage::Prepared { .. } => Step::Activate,
            Stage::Overlap { .. } => Step::Retire,
        }
    }

    /// The roots that are to be trusted, the signing one first.
    #[must_use]
    pub fn roots(&self) -> Vec<CertificateDer<'static>> {
        let other = match &self.stage {
            Stage::Steady => None,
            Stage::Prepared { next, .. } => Some(next.certificate().clone()),
            Stage::Overlap { old, .. } => Some(old.clone()),
        };
        std::iter::once(self.signing.certificate().clone()).chain(other).collect()
    }

    /// A leaf of the signing root with what leads from it to every root that is trusted.
    #[must_use]
    pub fn chain(&self, leaf: CertificateDer<'static>) -> Chain {
        match &self.stage {
            Stage::Overlap { vouched, .. } => vec![leaf, vouched.clone()],
            Stage::Steady | Stage::Prepared { .. } => vec![leaf],
        }
    }

    /// With a next root that is to sign `after` this moment.
    ///
    /// # Errors
    /// When it cannot be vouched for.
    pub(super) fn prepared(&self, next: Authority, now: SystemTime, after: Duration) -> Result<Self, PkiError> {
        let vouched = self.signing.vouch_for(&next)?;
        let stage = Stage::Prepared {
            next: Box::new(next),
            vouched,
            since_ms: milliseconds(now),
            due_ms: milliseconds(now + after.max(KNOWN_TO_ALL)),
        };
        Ok(Self { signing: self.signing.clone(), stage })
    }

    /// With the next root signing and the one before trusted for `overlap`; `None` if none is prepared, or it is so short
    /// a time that another hub may not know it.
    pub(super) fn activated(&self, now: SystemTime, overlap: Duration) -> Option<Self> {
        let Stage::Prepared { next, vouched, since_ms, .. } = &self.stage else { return None };
        let now_ms = milliseconds(now);
        if now_ms < since_ms.saturating_add(u64::try_from(KNOWN_TO_ALL.as_millis()).unwrap_or(u64::MAX)) {
            return None;
        }
        let stage = Stage::Overlap {
            old: self.signing.certificate().clone(),
            vouched: vouched.clone(),
            since_ms: now_ms,
            due_ms: milliseconds(now + overlap),
        };
        Some(Self { signing: Authority::clone(next), stage })
    }

    /// Without the root before; `None` if there is none.
    pub(super) fn retired(&self) -> Option<Self> {
        matches!(self.stage, Stage::Overlap { .. }).then(|| Self::new(self.signing.clone()))
    }

    pub(super) fn to_text(&self) -> String {
        let (stage, vouched, other, since_ms, due_ms) = match &self.stage {
            Stage::Steady => return authority_pem(&self.signing),
            Stage::Prepared { next, vouched, since_ms, due_ms } => {
                (KeptStage::Prepared, vouched, authority_pem(next), *since_ms, *due_ms)
            }
            Stage::Overlap { old, vouched, since_ms, due_ms } => {
                (KeptStage::Overlap, vouched, certificate_pem(old), *since_ms, *due_ms)
            }
        };
        let (signing, vouched) = (authority_pem(&self.signing), certificate_pem(vouched));
        serde_json::json!(Kept { signing, stage, vouched, other, since_ms, due_ms }).to_string()
    }

    pub(super) fn from_text(text: &str) -> Result<Self, PkiError> {
        if !text.starts_with('{') {
            return authority(text).map(Self::new);
        }
        let unreadable = |why: serde_json::Error| PkiError::Unreadable { what: "rotation", why: why.to_string() };
        let Kept { signing, stage, vouched, other, since_ms, due_ms } =
            serde_json::from_str(text).map_err(unreadable)?;
        let vouched = certificate(&vouched)?;
        let stage = match stage {
            KeptStage::Prepared => Stage::Prepared { next: Box::new(authority(&other)?), vouched, since_ms, due_ms },
            KeptStage::Overlap => Stage::Overlap { old: certificate(&other)?, vouched, since_ms, due_ms },
        };
        Ok(Self { signing: authority(&signing)?, stage })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prepare => "prepare",
            Self::Activate => "activate",
            Self::Retire => "retire",
        })
    }
}

/// SHA-256 of a certificate, as join tokens carry it.
pub(super) fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    sha256(certificate).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn authority_pem(root: &Authority) -> String {
    format!("{}{}", *root.key().to_pem(), certificate_pem(root.certificate()))
}

fn authority(pem: &str) -> Result<Authority, PkiError> {
    Authority::from_parts(certificate(pem)?, PrivateKey::from_pem(pem)?)
}

fn certificate(pem: &str) -> Result<CertificateDer<'static>, PkiError> {
    let unreadable = |why: String| PkiError::Unreadable { what: "certificate", why };
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|why| unreadable(why.to_string()))
}

#[cfg(test)]
mod tests {
    use axle_core::model::Name;
    use axle_transport::pki::Validity;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn root() -> Authority {
        Authority::new_root(&Name::new("m").unwrap(), Validity::starting(SystemTime::now(), 9 * HOUR)).unwrap()
    }

    #[test]
    fn every_stage_is_read_back_and_knows_only_its_next_step() {
        let now = SystemTime::now();
        let steady = Bundle::new(root());
        let prepared = steady.prepared(root(), now, HOUR).unwrap();
        assert!(prepared.activated(now, HOUR).is_none(), "other hubs do not know it yet");
        let overlap = prepared.activated(now + KNOWN_TO_ALL, HOUR).unwrap();
        let retired = overlap.retired().unwrap();
        for (bundle, roots, links) in [(&steady, 1, 1), (&prepared, 2, 1), (&overlap, 2, 2), (&retired, 1, 1)] {
            let read = Bundle::from_text(&bundle.to_text()).unwrap();
            assert_eq!(read.to_text(), bundle.to_text());
            assert_eq!(read.roots(), bundle.roots());
            assert_eq!((read.roots().len(), read.chain(root().certificate().clone()).len()), (roots, links));
        }
        assert!(steady.activated(now, HOUR).is_none() && steady.retired().is_none() && prepared.retired().is_none());
        assert_eq!(overlap.signing().certificate(), &prepared.roots()[1]);
        assert!(!overlap.to_text().contains(&*steady.signing().key().to_pem()), "the old key is gone");
        let kept: serde_json::Value = serde_json::from_str(&overlap.to_text()).unwrap();
        let fields: Vec<&String> = kept.as_object().unwrap().keys().collect();
        assert_eq!(fields, ["dueMs", "other", "signing", "sinceMs", "stage", "vouched"], "on disk for ever");
        assert!(retired.to_text().starts_with("-----BEGIN"), "as it was before there were rotations");
    }

    #[test]
    fn what_is_no_bundle_is_refused() {
        let good = Bundle::new(root()).prepared(root(), SystemTime::now(), HOUR).unwrap().to_text();
        for text in ["", "{}", &good.replace("dueMs", "dueMS"), &good[..good.len() - 9]] {
            assert!(Bundle::from_text(text).is_err(), "{text}");
        }
    }
}
