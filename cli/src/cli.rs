//! The command line: what `axle` understands, and which command runs.
use std::{cell::RefCell, path::PathBuf};

use clap::{CommandFactory as _, Parser, Subcommand, builder::NonEmptyStringValueParser};

use crate::{
    command,
    failure::Failure,
    output::{Format, Output},
    session::Session,
};

const EXAMPLES: &str = "\
Examples:
  axle status
  axle cluster add eu1 --prefix 10.1.0.0/16 --region eu-north-1
  axle token create --cluster eu1
  axle policy apply -f allow-web.yaml --wait
  axle policy explain --from eu1/shop/web --to us1/shop/db --port 5432
  axle observe --verdict deny

Exit codes:
  0 done                   1 fault of axle            2 wrong usage, bad input, or a name that is not there
  3 conflict, failed test  4 token not known or       5 hub not reached
    or lint                  not allowed
  6 refused by a node, partly applied, or imported inexactly
  7 timed out waiting      130 interrupted            141 output closed";

/// One control plane for many clusters.
#[derive(Debug, Parser)]
#[command(name = "axle", version, about, after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// How to print.
    #[arg(short, long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
    /// Which context to use instead of the current one. For `cluster join`, `check` and `remove`, which are about a
    /// cluster, it is one of your kubeconfig's.
    #[arg(long, global = true, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    context: Option<String>,
    /// Which hub's context to use instead of the current one, whatever --context is for.
    #[arg(long, global = true, env = "AXLE_CONTEXT", value_name = "NAME")]
    hub_context: Option<String>,
    /// The context file [default: ~/.config/axle/config.yaml].
    #[arg(long, global = true, env = "AXLE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Remember a hub and who you are there.
    Login(command::login::Login),
    /// Choose between the hubs you know.
    #[command(subcommand)]
    Context(command::context::Command),
    /// Clusters of the fleet.
    #[command(subcommand)]
    Cluster(command::cluster::Command),
    /// Nodes of the clusters.
    #[command(subcommand)]
    Node(command::node::Command),
    /// Join tokens for clusters, and the tokens that people bear.
    #[command(subcommand)]
    Token(command::token::Command),
    /// The root of the mesh's certificates.
    #[command(subcommand)]
    Ca(command::ca::Command),
    /// What workloads are.
    #[command(subcommand)]
    Identity(command::identity::Command),
    /// Running workloads.
    #[command(subcommand)]
    Endpoint(command::endpoint::Command),
    /// Global services.
    #[command(subcommand)]
    Service(command::service::Command),
    /// Who may talk to whom.
    #[command(subcommand)]
    Policy(command::policy::Command),
    /// How the fleet is: each cluster and node, and which revision its kernel holds.
    Status(command::status::Status),
    /// Live flows with the verdict and the rule that decided.
    Observe(command::observe::Observe),
    /// Who did what.
    #[command(subcommand)]
    Audit(command::audit::Command),
    /// Print a completion script for your shell.
    Completion(command::completion::Completion),
}

impl Cli {
    /// What the command works with, and the command.
    pub(crate) fn split(self) -> (Session, impl AsyncFnOnce(&Session) -> Result<(), Failure>) {
        let Self { output, context, hub_context, config, command } = self;
        let is_of_kubeconfig = matches!(&command, Command::Cluster(command) if command.takes_kubeconfig());
        let (kube_context, context) = if is_of_kubeconfig { (context, None) } else { (None, context) };
        let session = Session {
            output: Output::new(output),
            context: context.or(hub_context),
            kube_context,
            config,
            standing: RefCell::new(String::new()),
        };
        (session, async move |session: &Session| command.run(session).await)
    }
}

impl Command {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::Login(login) => login.run(session).await,
            Self::Context(command) => command.run(session),
            Self::Cluster(command) => command.run(session).await,
            Self::Node(command) => command.run(session).await,
            Self::Token(command) => command.run(session).await,
            Self::Ca(command) => command.run(session).await,
            Self::Identity(command) => command.run(session).await,
            Self::Endpoint(command) => command.run(session).await,
            Self::Service(command) => command.run(session).await,
            Self::Policy(command) => command.run(session).await,
            Self::Status(status) => status.run(session).await,
            Self::Observe(observe) => observe.run(session).await,
            Self::Audit(command) => command.run(session).await,
            Self::Completion(completion) => completion.run(&mut Cli::command(), session.output),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_name_is_not_the_current_context() {
        // kubectl would take its current one, such as where a variable of a script is not set.
        for command in ["join", "check", "remove"] {
            let line = Cli::try_parse_from(["axle", "cluster", command, "--context", ""]);
            let line = line.unwrap_err().to_string();
            assert!(line.contains("--context"), "{line}");
        }
    }

    #[test]
    fn every_command_and_argument_has_help() {
        fn check(command: &clap::Command, path: &str) {
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{path}: {} has no help", argument.get_id());
            }
            for sub in command.get_subcommands() {
                let path = format!("{path} {}", sub.get_name());
                assert!(sub.get_about().is_some(), "{path} has no help");
                check(sub, &path);
            }
        }
        let mut command = Cli::command();
        command.build();
        check(&command, "axle");
    }
}
