//! Names as Kubernetes spells them.
use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Labels of a workload, a namespace or a cluster: key to value, in key order.
pub type Labels = BTreeMap<String, String>;

/// An RFC 1123 subdomain: lower-case letters, digits, `-` and `.`, 1 to 253 characters, each part starting and ending
/// with a letter or digit.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// Why a text is not a [`Name`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{got:?} is not a name: {why}; wanted lower-case letters, digits, '-' and '.', 1 to 253 characters (RFC 1123)")]
pub struct InvalidName {
    /// What was given, cut to 80 characters.
    pub got: String,
    /// What is wrong with it and where.
    pub why: String,
}

impl Name {
    /// The longest name allowed, in characters.
    pub const MAX: usize = 253;

    /// Checks `text` and wraps it.
    ///
    /// # Errors
    /// [`InvalidName`] says which character is wrong and where.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidName> {
        let text = text.into();
        match fault(&text) {
            None => Ok(Self(text)),
            Some(why) => Err(InvalidName { got: text.chars().take(80).collect(), why }),
        }
    }

    /// The name of the one [`Kind::Fleet`](super::Kind::Fleet) object.
    #[must_use]
    pub fn fleet() -> Self {
        Self("fleet".into())
    }

    /// A bound below every name, to start a range at. Not a name itself.
    pub(crate) fn least() -> Self {
        Self(String::new())
    }

    /// A uid as a name.
    #[must_use]
    pub fn of_uid(uid: super::Uid) -> Self {
        Self(uid.to_string())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn fault(text: &str) -> Option<String> {
    if text.is_empty() {
        return Some("it is empty".into());
    }
    if text.len() > Name::MAX {
        return Some(format!("it has {} characters", text.len()));
    }
    for (at, c) in text.char_indices() {
        if !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.') {
            return Some(format!("{c:?} at position {at} is not allowed"));
        }
    }
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    for part in text.split('.') {
        if !edge(part.chars().next()) || !edge(part.chars().next_back()) {
            return Some(format!("the part {part:?} does not start and end with a letter or digit"));
        }
    }
    None
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl FromStr for Name {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::new(text)
    }
}

impl TryFrom<String> for Name {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        Self::new(text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_and_refuses() {
        for good in ["a", "web-1", "a.b.c", "0", &"a".repeat(253)] {
            assert!(Name::new(good).is_ok(), "{good}");
        }
        for bad in ["", "A", "a_b", "-a", "a-", "a..b", ".", "..", "a\0", "\u{202e}a", "\u{430}", &"a".repeat(254)] {
            assert!(Name::new(bad).is_err(), "{bad:?}");
        }
    }
}
