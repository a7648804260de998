//! The `axle` command: what people use.
mod cli;
mod client;
mod command;
mod failure;
mod format;
mod output;
mod session;

use std::process::ExitCode;

use clap::Parser as _;

use crate::{
    cli::Cli,
    failure::{Exit, Failure},
    output::note,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let (session, command) = Cli::parse().split();
    let done = tokio::select! {
        done = command(&session) => done,
        _ = tokio::signal::ctrl_c() => {
            let standing = session.standing.borrow();
            let message = if standing.is_empty() { "nothing was changed" } else { &*standing };
            Err(Failure::new(Exit::Interrupted, "interrupted", message))
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if failure.exit != Exit::BrokenPipe {
                note(&failure.to_string());
            }
            failure.exit.into()
        }
    }
}
