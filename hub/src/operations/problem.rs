//! Why an operation was not done: the one error of all doors.
use axle_core::{
    manifest,
    policy::Misunderstood,
    state::{Rejection, RejectionKind},
};
use serde::Serialize;
use utoipa::ToSchema;

/// Faults that are named in one answer.
const SHOWN: usize = 100;

/// The sorts of fault, which each door translates into its own numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The request can never be done as it is.
    Invalid,
    /// What it speaks of does not exist.
    NotFound,
    /// What exists does not allow it.
    Conflict,
    /// The hub cannot do it now.
    Unavailable,
    /// A fault of Axle itself; its cause is in the hub's log.
    Internal,
}

/// One thing wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, ToSchema)]
pub struct Violation {
    /// Stable, for programs: `unknown_field`, `invalid_value`, ...
    pub code: String,
    /// Where: the path of a field, in a document with line and column.
    pub field: String,
    /// What was found.
    pub got: String,
    /// What is wanted.
    pub want: String,
    /// How to mend it; may be empty.
    pub fix: String,
}

/// Why an operation was not done. Nothing of it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Problem {
    /// What sort of fault it is.
    pub kind: Kind,
    /// Stable, for programs.
    pub code: String,
    /// What happened, for people.
    pub detail: String,
    /// All that is wrong with the request.
    pub violations: Vec<Violation>,
}

impl Violation {
    /// A violation; texts from the request are cut and escaped.
    #[must_use]
    pub fn new(code: &str, field: &str, got: &str, want: &str, fix: &str) -> Self {
        let [field, got] = [field, got].map(printable);
        Self { code: code.into(), field, got, want: want.into(), fix: fix.into() }
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "got {}; wanted {}", self.got, self.want)?;
        if self.fix.is_empty() { Ok(()) } else { write!(f, "; {}", self.fix) }
    }
}

/// At most 80 characters, control characters escaped: what is echoed cannot disturb a terminal or fill a log.
fn printable(text: &str) -> String {
    text.chars().take(80).flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

impl Problem {
    /// A problem without violations.
    #[must_use]
    pub fn new(kind: Kind, code: &str, detail: impl Into<String>) -> Self {
        Self { kind, code: code.into(), detail: detail.into(), violations: Vec::new() }
    }

    /// A request with faults: at least one.
    #[must_use]
    pub fn invalid(mut violations: Vec<Violation>) -> Self {
        let code = violations.first().map_or_else(|| "invalid".into(), |first| first.code.clone());
        let detail = match violations.as_slice() {
            [one] => format!("{}: {one}", one.field),
            several if several.len() > SHOWN => {
                format!("{} faults, of which the first {SHOWN} are named; nothing was done", several.len())
            }
            several => format!("{} faults; nothing was done", several.len()),
        };
        violations.truncate(SHOWN);
        Self { kind: Kind::Invalid, code, detail, violations }
    }

    /// What was asked for does not exist.
    #[must_use]
    pub fn not_found(what: &str, name: &str, fix: &str) -> Self {
        let code = format!("unknown_{what}");
        let violation = Violation::new(&code, what, name, &format!("a {what} that is there"), fix);
        Self {
            kind: Kind::NotFound,
            code,
            detail: format!("there is no {what} {:?}", printable(name)),
            violations: vec![violation],
        }
    }

    /// A fault of Axle itself, which is logged here and not told to the caller.
    #[must_use]
    pub fn internal(what: &str, error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, "{what}");
        Self::new(Kind::Internal, "internal", format!("{what}; the hub's log says why"))
    }
}

impl From<Vec<manifest::Violation>> for Problem {
    fn from(violations: Vec<manifest::Violation>) -> Self {
        let violation = |violation: &manifest::Violation| {
            let code = violation.code.replace('-', "_");
            Violation::new(&code, &violation.place(), &violation.got, &violation.want, &violation.fix)
        };
        Self::invalid(violations.iter().map(violation).collect())
    }
}

impl From<Vec<Misunderstood>> for Problem {
    fn from(faults: Vec<Misunderstood>) -> Self {
        let violation = |Misunderstood { code, field, got, want, fix }| Violation::new(code, &field, &got, &want, &fix);
        Self::invalid(faults.into_iter().map(violation).collect())
    }
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        let kind = match rejection.kind {
            RejectionKind::Invalid => Kind::Invalid,
            RejectionKind::NotFound => Kind::NotFound,
            RejectionKind::Conflict => Kind::Conflict,
        };
        let Rejection { code, at, got, want, fix, .. } = &rejection;
        Self { kind, ..Self::invalid(vec![Violation::new(code, at, got, want, fix)]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_echoed_is_short_and_harmless() {
        let violation = Violation::new("c", "f", &format!("\u{1b}[31m{}", "x".repeat(1000)), "w", "");
        assert!(violation.got.starts_with("\\u{1b}[31m") && violation.got.len() < 100, "{}", violation.got);
    }

    #[test]
    fn a_document_with_faults_names_them_all() {
        let faults = axle_core::manifest::parse_policies("kind: Nonsense\nx: 1\n").unwrap_err();
        let problem = Problem::from(faults.clone());
        assert_eq!(problem.violations.len(), faults.len());
        assert!(problem.violations.iter().all(|violation| violation.field.starts_with("line ")), "{problem:?}");
        assert!(problem.violations.iter().all(|violation| !violation.code.contains('-')), "{problem:?}");
    }
}
