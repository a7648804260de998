//! The text that lets a cluster join its hub, or a node its relay, once.
use std::{fmt, str::FromStr};

use axle_core::model::Uid;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use super::{PkiError, sha256};

/// A join token: `axle1.<secret>.<SHA-256 of the root certificate>[.<cluster>]`.
///
/// The hash lets the joining side know the root before it has any certificate; the cluster, in a token made by a relay,
/// lets a node refuse another cluster's relay.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    secret: Zeroizing<[u8; 32]>,
    /// SHA-256 of the root certificate in DER.
    pub root: [u8; 32],
    /// Whose relay the joining node must meet; `None` in a token made by the hub.
    pub cluster: Option<Uid>,
}

impl JoinToken {
    /// A new token with a secret of 256 random bits.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn generate(root: [u8; 32], cluster: Option<Uid>) -> Result<Self, PkiError> {
        let mut secret = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *secret).map_err(|why| PkiError::Making(why.to_string()))?;
        Ok(Self { secret, root, cluster })
    }

    /// What whoever made the token keeps of it: SHA-256 of the secret.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        sha256(&*self.secret)
    }

    /// The token as text, to be shown once.
    #[must_use]
    pub fn reveal(&self) -> String {
        let root: String = self.root.iter().map(|byte| format!("{byte:02x}")).collect();
        let text = format!("axle1.{}.{root}", URL_SAFE_NO_PAD.encode(*self.secret));
        self.cluster.map_or_else(|| text.clone(), |cluster| format!("{text}.{cluster}"))
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinToken(hidden)")
    }
}

impl FromStr for JoinToken {
    type Err = PkiError;
    /// The error never repeats the text, which may be a secret with a typing error.
    fn from_str(text: &str) -> Result<Self, PkiError> {
        let wrong = |why: &str| PkiError::Unreadable {
            what: "join token",
            why: format!("{why}; wanted axle1.<secret>.<hash>, as `axle token create` prints it"),
        };
        let parts: Vec<&str> = text.trim().split('.').collect();
        let (secret, root, cluster) = match parts.as_slice() {
            ["axle1", secret, root] => (secret, root, None),
            ["axle1", secret, root, cluster] => (secret, root, Some(cluster)),
            ["axle1", ..] => return Err(wrong("it is cut short or too long")),
            _ => return Err(wrong("it does not begin with axle1.")),
        };
        let decoded = Zeroizing::new(URL_SAFE_NO_PAD.decode(secret).map_err(|_| wrong("its secret is not base64url"))?);
        let secret: [u8; 32] = decoded.as_slice().try_into().map_err(|_| wrong("its secret is not 32 bytes long"))?;
        if root.len() != 64 || !root.is_ascii() {
            return Err(wrong("its hash is not 64 hexadecimal digits"));
        }
        let mut hash = [0; 32];
        for (byte, at) in hash.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&root[at..at + 2], 16).map_err(|_| wrong("its hash is not hexadecimal"))?;
        }
        let cluster =
            cluster.map(|text| text.parse::<Uid>()).transpose().map_err(|_| wrong("its cluster is no uid"))?;
        Ok(Self { secret: Zeroizing::new(secret), root: hash, cluster })
    }
}
