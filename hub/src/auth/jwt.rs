//! Tokens for people: JWT signed with Ed25519, and nothing else.
use std::{
    fmt,
    time::{Duration, SystemTime},
};

use axle_transport::pki::sha256;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rcgen::KeyPair;
use serde::{Deserialize, Serialize};

use super::{Caller, Role};

/// The key that signs and verifies tokens of one mesh.
pub struct Keys {
    id: String,
    issuer: String,
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
}

/// The audience of every token: this hub, whichever replica.
const AUDIENCE: &str = "axle-hub";
/// Longer texts are not looked at.
const MAX_TOKEN: usize = 4096;
/// How far two clocks may differ, in seconds.
const LEEWAY: u64 = 10;
/// Later times are this one, in seconds since 1970: the year 9999.
pub(crate) const END_OF_TIME: u64 = 253_402_300_799;

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    exp: u64,
    iat: u64,
    role: Role,
    /// Tokens made before there was an id have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    jti: Option<String>,
}

/// A token that was made.
#[derive(Debug)]
pub struct Issued {
    /// What its bearer shows.
    pub token: String,
    /// Its id: the claim `jti`.
    pub id: String,
    /// Its last moment, in milliseconds since 1970.
    pub expires_ms: u64,
}

/// A signing key that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the key that signs tokens cannot be used: {0}")]
pub struct NotAKey(String);

impl Keys {
    /// A new key as PKCS#8 in PEM.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn generate() -> Result<String, NotAKey> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).map_err(|why| NotAKey(why.to_string()))?;
        Ok(key.serialize_pem())
    }

    /// Reads a key made by [`Keys::generate`], for tokens of `mesh`.
    ///
    /// # Errors
    /// When it does not parse.
    pub fn from_pem(pem: &str, mesh: &str) -> Result<Self, NotAKey> {
        let pair = KeyPair::from_pem(pem).map_err(|why| NotAKey(why.to_string()))?;
        let issuer = format!("axle:{mesh}");
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_required_spec_claims(&["iss", "aud", "exp", "sub"]);
        validation.set_issuer(&[&issuer]);
        validation.set_audience(&[AUDIENCE]);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY;
        Ok(Self {
            id: hex(&sha256(pair.public_key_raw())[..8]),
            issuer,
            encoding: EncodingKey::from_ed_pem(pem.as_bytes()).map_err(|why| NotAKey(why.to_string()))?,
            decoding: DecodingKey::from_ed_der(pair.public_key_raw()),
            validation,
        })
    }

    /// A token for `subject`.
    ///
    /// # Errors
    /// When signing fails.
    pub fn issue(&self, subject: &str, role: Role, now: SystemTime, lifetime: Duration) -> Result<Issued, NotAKey> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|why| NotAKey(why.to_string()))?;
        let id = hex(&id);
        let seconds = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let claims = Claims {
            iss: self.issuer.clone(),
            aud: AUDIENCE.into(),
            sub: subject.into(),
            exp: seconds(now + lifetime),
            iat: seconds(now),
            role,
            jti: Some(id.clone()),
        };
        let header = Header { kid: Some(self.id.clone()), ..Header::new(Algorithm::EdDSA) };
        let token = jsonwebtoken::encode(&header, &claims, &self.encoding).map_err(|why| NotAKey(why.to_string()))?;
        Ok(Issued { token, id, expires_ms: claims.exp * 1000 })
    }

    /// Who bears this token. The reason for a refusal is for the hub's own log: whoever guesses learns nothing.
    ///
    /// # Errors
    /// When it is not a token of this hub, or its time is over.
    pub fn verify(&self, token: &str) -> Result<Caller, String> {
        if token.len() > MAX_TOKEN {
            return Err(format!("a token of {} bytes", token.len()));
        }
        let header = jsonwebtoken::decode_header(token).map_err(|why| why.to_string())?;
        // A key's id only says which of our own keys is meant; without one it can only be the one there is.
        if header.kid.as_ref().is_some_and(|id| *id != self.id) {
            return Err("signed with a key that is not in use".into());
        }
        let data = jsonwebtoken::decode::<Claims>(token, &self.decoding, &self.validation);
        let claims = data.map_err(|why| why.to_string())?.claims;
        if claims.sub.is_empty() {
            return Err("it names nobody".into());
        }
        let id = claims.jti.unwrap_or_else(|| hex(&sha256(token.as_bytes())));
        // Until then it is taken: whole seconds are compared.
        let until =
            SystemTime::UNIX_EPOCH + Duration::from_secs(claims.exp.saturating_add(LEEWAY + 1).min(END_OF_TIME));
        Ok(Caller { subject: claims.sub, role: claims.role, token: id, until })
    }
}

/// Whether a token can have this id: the claim `jti` that we make, or for a token without one its SHA-256.
pub(crate) fn is_token_id(id: &str) -> bool {
    matches!(id.len(), 32 | 64) && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
