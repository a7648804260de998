//! What an identity is called; [`identity`](crate::identity) says how the name comes about.
use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The name of an identity: 128 bits of BLAKE3 over its canonical form.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IdentityId(pub [u8; 16]);

impl fmt::Display for IdentityId {
    /// 32 lower-case hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for IdentityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for IdentityId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match u128::from_str_radix(text, 16) {
            Ok(number) if text.len() == 32 && !text.starts_with('+') => Ok(Self(number.to_be_bytes())),
            _ => Err(format!("{text:?} is not an identity: wanted 32 hexadecimal digits")),
        }
    }
}

impl TryFrom<String> for IdentityId {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<IdentityId> for String {
    fn from(id: IdentityId) -> Self {
        id.to_string()
    }
}
