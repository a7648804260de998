//! `axle-agent token create`.
use super::{
    Failure,
    arguments::{Output, TokenArguments, TokenCommand},
    terminal,
};
use crate::control::{Reply, Request};

pub(super) async fn token(arguments: TokenArguments) -> Result<(), Failure> {
    let TokenCommand::Create(arguments) = arguments.command;
    let request = Request::CreateToken { node: arguments.node.clone(), ttl_seconds: arguments.ttl.as_secs() };
    let reply = terminal::ask(&arguments.state, &request).await?;
    match (&reply, arguments.output) {
        (Reply::Token { .. }, Output::Json) => terminal::say_json(&reply),
        (Reply::Token { expires_ms, join_command, .. }, Output::Table) => terminal::say(&format!(
            "On the machine that becomes {}, before {}, once:\n\n  {join_command}",
            arguments.node,
            terminal::clock(*expires_ms),
        )),
        _ => Err(terminal::unexpected(&reply)),
    }
}
