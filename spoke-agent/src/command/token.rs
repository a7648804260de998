//! `axle-agent token create`.
use super::{
    Failure,
    arguments::{Output, TokenArguments, TokenCommand},
    terminal,
};
use crate::control::{Reply, Request};

/// The same fields as `axle token create -o json`.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Token {
    token: String,
    expires_ms: u64,
    join_command: String,
}

pub(super) async fn token(arguments: TokenArguments) -> Result<(), Failure> {
    let TokenCommand::Create(arguments) = arguments.command;
    let request = Request::CreateToken { node: arguments.node.clone(), ttl_seconds: arguments.ttl.as_secs() };
    let (token, expires_ms, join_command) = match terminal::ask(&arguments.state, &request).await? {
        Reply::Token { token, expires_ms, join_command } => (token, expires_ms, join_command),
        other => return Err(terminal::unexpected(&other)),
    };
    match arguments.output {
        Output::Json => terminal::say_json(&Token { token, expires_ms, join_command }),
        Output::Table => terminal::say(&format!(
            "On the machine that becomes {}, before {}, once:\n\n  {join_command}",
            arguments.node,
            terminal::clock(expires_ms),
        )),
    }
}
