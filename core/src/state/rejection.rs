//! Why a request is not done.

/// Nothing of the request was done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{at}: got {got}; wanted {want}; {fix}")]
pub struct Rejection {
    /// What sort of fault it is.
    pub kind: RejectionKind,
    /// Stable, for programs: `duplicate_name`, `overlapping_prefix`, ...
    pub code: &'static str,
    /// Where in the request.
    pub at: String,
    /// What was found.
    pub got: String,
    /// What is wanted.
    pub want: String,
    /// How to mend it.
    pub fix: String,
}

/// The sorts of fault that doors tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectionKind {
    /// The request can never be done as it is.
    Invalid,
    /// What it speaks of does not exist.
    NotFound,
    /// What exists does not allow it.
    Conflict,
}

impl Rejection {
    pub(super) fn invalid(code: &'static str, at: impl Into<String>) -> Self {
        Self::new(RejectionKind::Invalid, code, at.into())
    }

    pub(super) fn conflict(code: &'static str, at: impl Into<String>) -> Self {
        Self::new(RejectionKind::Conflict, code, at.into())
    }

    pub(super) fn not_found(code: &'static str, at: impl Into<String>) -> Self {
        Self::new(RejectionKind::NotFound, code, at.into())
    }

    fn new(kind: RejectionKind, code: &'static str, at: String) -> Self {
        Self { kind, code, at, got: String::new(), want: String::new(), fix: String::new() }
    }

    pub(super) fn because(mut self, got: impl Into<String>, want: impl Into<String>, fix: impl Into<String>) -> Self {
        (self.got, self.want, self.fix) = (got.into(), want.into(), fix.into());
        self
    }
}
