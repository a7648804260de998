//! What `axle-agent` can be told: the command tree, and one file per command.
mod arguments;
mod bypass;
mod cleanup;
mod failure;
mod file;
mod join;
mod kubernetes;
mod probe;
mod run;
mod status;
mod terminal;
mod token;

pub use arguments::{Arguments, BypassArguments, Command, JoinArguments, RunArguments};
pub use failure::{Exit, Failure};
use file::Unparsed;
pub use kubernetes::{ChainFolders, KubernetesArguments};

/// Parses the process's arguments, does what they say and returns the exit code.
#[must_use]
pub fn main() -> std::process::ExitCode {
    let line: Vec<std::ffi::OsString> = std::env::args_os().collect();
    let arguments = match file::parse(&line) {
        Ok(arguments) => arguments,
        Err(Unparsed::Line(error)) => {
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.code() } else { std::process::ExitCode::SUCCESS };
        }
        Err(Unparsed::File(failure)) => return failure::report(&failure),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failure::report(&Failure::internal(format!("cannot start the async runtime: {error}"))),
    };
    let outcome = runtime.block_on(async {
        match arguments.command {
            Command::Run(arguments) => run::run(*arguments).await,
            Command::Join(arguments) => join::join(arguments).await,
            Command::Status(arguments) => status::status(arguments).await,
            Command::Bypass(arguments) => bypass::bypass(arguments).await,
            Command::Cleanup(arguments) => cleanup::cleanup(&arguments).await,
            Command::AwaitCleanup(arguments) => cleanup::await_cleanup(&arguments).await,
            Command::Probe(arguments) => probe::probe(arguments).await,
            Command::Token(arguments) => token::token(arguments).await,
        }
    });
    // Blocked file watches and lookups must not hold up the exit.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(failure) => failure::report(&failure),
    }
}
