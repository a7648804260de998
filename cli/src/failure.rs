//! What went wrong, for people and for scripts.
use std::{fmt, io, process::ExitCode};

use axle_transport::context::ContextError;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// How `axle` ends. The numbers are documented in `axle --help` and never change their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// A fault of Axle itself.
    Internal = 1,
    /// Wrong usage or bad input.
    Usage = 2,
    /// It contradicts what is there.
    Conflict = 3,
    /// Who is asking is not known or may not do this.
    Auth = 4,
    /// The hub cannot be reached.
    Unavailable = 5,
    /// A node refused it, or it is only partly applied.
    Refused = 6,
    /// It was not done in the time given.
    TimedOut = 7,
    /// Ctrl-C.
    Interrupted = 130,
    /// Nobody reads the output any more.
    BrokenPipe = 141,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// One thing wrong with the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// `file:line:column` or the path of a field.
    pub(crate) place: String,
    /// What was found, what is wanted, how to mend it.
    pub(crate) text: String,
}

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// Stable, for scripts: `unknown_field`, `unavailable`, ...
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) faults: Vec<Fault>,
    /// What to do about it; may be empty.
    pub(crate) fix: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, code: &str, message: impl Into<String>) -> Self {
        Self { exit, code: code.into(), message: message.into(), faults: Vec::new(), fix: String::new() }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "usage", message)
    }

    /// A file, a directory or standard input that cannot be read, and what to do about it.
    pub(crate) fn unreadable(what: impl fmt::Display, error: &io::Error) -> Self {
        let fix = match error.kind() {
            io::ErrorKind::NotFound => "check the path and its spelling; `-` is standard input",
            io::ErrorKind::PermissionDenied => "run as a user who may read it, or let this one: chmod or chown",
            io::ErrorKind::IsADirectory => "name the file in it",
            _ => "see that the disk or the other end of the pipe is well, then try again",
        };
        Self::usage(format!("cannot read {what}: {error}")).fix(fix)
    }

    pub(crate) fn fix(self, fix: impl Into<String>) -> Self {
        Self { fix: fix.into(), ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error[{}]: {}", self.code, self.message)?;
        // One fault alone may be the message already.
        for fault in self.faults.iter().filter(|fault| !self.message.ends_with(&fault.text)) {
            write!(f, "\n  {}: {}", fault.place, fault.text)?;
        }
        if !self.fix.is_empty() {
            write!(f, "\nfix: {}", self.fix)?;
        }
        Ok(())
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let details = status.get_error_details();
        let (exit, code, fix) = match status.code() {
            Code::InvalidArgument | Code::NotFound | Code::OutOfRange | Code::ResourceExhausted => {
                (Exit::Usage, "refused", "")
            }
            Code::AlreadyExists | Code::Aborted | Code::FailedPrecondition => (Exit::Conflict, "conflict", ""),
            Code::Unauthenticated => (
                Exit::Auth,
                "unauthenticated",
                "log in again with a valid token: axle login --hub URL --ca FILE --token-file FILE",
            ),
            Code::PermissionDenied => (Exit::Auth, "forbidden", ""),
            Code::Unavailable | Code::DeadlineExceeded => {
                (Exit::Unavailable, "unavailable", "see that the hub is up, then try again")
            }
            _ => (Exit::Internal, "internal", ""),
        };
        let code = details.error_info().map_or_else(|| code.to_owned(), |info| info.reason.clone());
        let violations = details.bad_request().map(|request| request.field_violations.as_slice()).unwrap_or_default();
        let faults = violations
            .iter()
            .map(|violation| Fault { place: violation.field.clone(), text: violation.description.clone() })
            .collect();
        Self { exit, code, message: status.message().to_owned(), faults, fix: fix.into() }
    }
}

impl From<ContextError> for Failure {
    fn from(error: ContextError) -> Self {
        Self::new(Exit::Usage, "context", error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::{ErrorDetails, FieldViolation};

    use super::*;

    #[test]
    fn a_status_with_details_becomes_a_failure_that_names_every_fault() {
        let mut details = ErrorDetails::new();
        details.set_error_info("unknown_field", "axle.dev", [("a".to_owned(), "b".to_owned())]);
        details.set_bad_request(vec![FieldViolation::new("1:2 spec.ingres", "got \"ingres\"; fix: ingress")]);
        let status = Status::with_error_details(Code::InvalidArgument, "1 violation", details);
        let failure = Failure::from(status);
        assert_eq!(failure.exit, Exit::Usage);
        assert_eq!(
            failure.to_string(),
            "error[unknown_field]: 1 violation\n  1:2 spec.ingres: got \"ingres\"; fix: ingress"
        );
    }

    #[test]
    fn each_kind_of_status_has_its_exit_code() {
        for (code, exit) in [
            (Code::NotFound, Exit::Usage),
            (Code::AlreadyExists, Exit::Conflict),
            (Code::Unauthenticated, Exit::Auth),
            (Code::PermissionDenied, Exit::Auth),
            (Code::Unavailable, Exit::Unavailable),
            (Code::Internal, Exit::Internal),
        ] {
            assert_eq!(Failure::from(Status::new(code, "x")).exit, exit, "{code:?}");
        }
    }
}
