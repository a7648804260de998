//! `axle completion`
use clap::Args;
use clap_complete::Shell;

use crate::{
    failure::{Exit, Failure},
    output::Output,
};

/// Print a completion script for your shell.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  axle completion bash > ~/.local/share/bash-completion/completions/axle")]
pub(crate) struct Completion {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

impl Completion {
    pub(crate) fn run(self, command: &mut clap::Command, output: Output) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, command, "axle", &mut script);
        let script = String::from_utf8(script)
            .map_err(|error| Failure::new(Exit::Internal, "completion", format!("the script is not text: {error}")))?;
        output.print(&script)
    }
}
