//! Who may do what: tokens for people, certificates for relays, one table for both.
mod gate;
mod jwt;
mod lapse;
mod origin;
mod revoked;
mod table;

use std::{fmt, time::SystemTime};

pub use gate::{Denied, Gate, guard};
pub(crate) use jwt::{END_OF_TIME, is_token_id};
pub use jwt::{Issued, Keys, NotAKey};
pub use origin::{Names, own_pages};
pub use revoked::Revoked;
pub use table::{Need, RULES, Rule, grpc_rule, http_methods, http_rule};

/// What a person may do; each role may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sees everything but secrets.
    Viewer,
    /// Writes policies.
    Operator,
    /// Adds and removes clusters and nodes, and makes join tokens.
    Admin,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        })
    }
}

impl std::str::FromStr for Role {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let role = [Self::Viewer, Self::Operator, Self::Admin].into_iter().find(|role| role.to_string() == text);
        role.ok_or_else(|| format!("{text:?} is not a role; wanted admin, operator or viewer"))
    }
}

/// An authenticated person, in the extensions of every request that a person's token let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The token's subject.
    pub subject: String,
    /// What its bearer may do.
    pub role: Role,
    /// The token's id.
    pub token: String,
    /// The token's last moment.
    pub until: SystemTime,
}

impl Caller {
    /// The caller as the audit trail names it.
    #[must_use]
    pub fn actor(&self) -> String {
        format!("user:{}", self.subject)
    }
}
