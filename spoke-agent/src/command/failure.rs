//! How a command ends badly.
use std::process::ExitCode;

/// Exit codes, the same as those of `axle`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// A fault of the program or its machine.
    Internal = 1,
    /// The command line, a document or a file is wrong.
    Usage = 2,
    /// Another agent holds what this one needs.
    Conflict = 3,
    /// Not let in, or the other side is not who it should be.
    Authentication = 4,
    /// Nobody answers.
    Unavailable = 5,
}

impl Exit {
    /// As the process's exit code.
    #[must_use]
    pub fn code(self) -> ExitCode {
        ExitCode::from(self as u8)
    }
}

/// What went wrong, for the person at the terminal.
#[derive(Debug)]
pub struct Failure {
    /// The code to exit with.
    pub exit: Exit,
    /// What, where, what was found, what is wanted.
    pub message: String,
    /// What to do about it; may be empty.
    pub hint: String,
}

impl Failure {
    /// A failure with a hint; an empty hint is not shown.
    pub fn new(exit: Exit, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: hint.into() }
    }

    /// A fault of the program or its machine.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Exit::Internal, message, "")
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::internal(format!("{error:#}"))
    }
}

/// Says it on standard error and returns the code to exit with.
#[expect(clippy::print_stderr, reason = "this is the program's voice at the terminal")]
pub(super) fn report(failure: &Failure) -> ExitCode {
    eprintln!("error: {}", failure.message);
    if !failure.hint.is_empty() {
        eprintln!("  hint: {}", failure.hint);
    }
    failure.exit.code()
}
