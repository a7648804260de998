//! `axle-agent join`.
use axle_core::model::Name;
use axle_transport::pki::JoinToken;

use super::{Exit, Failure, JoinArguments, terminal};
use crate::{
    enroll::{JoinError, Joining, Proof, join as enroll},
    state_directory::{Enrollment, StateDirectory, StateError, Upstream},
};

pub(super) async fn join(arguments: JoinArguments) -> Result<(), Failure> {
    let state = StateDirectory::new(&arguments.state.state_dir)?;
    let _lock = state.lock()?;
    let token = read_token(&arguments.token)?;
    let node = match &arguments.node {
        Some(node) => node.clone(),
        None => host_name()?,
    };
    let (upstream, name, path) = match (&arguments.hub, &arguments.relay, &arguments.cluster) {
        (Some(hub), None, Some(cluster)) => (Upstream::Hub(hub.clone()), cluster, state.relay_certificates()),
        (None, Some(relay), None) => (Upstream::Relay(relay.clone()), &node, state.node_certificates()),
        _ => return Err(Failure::new(Exit::Usage, "wanted --hub and --cluster, or --relay", "")),
    };
    // Credentials that could not be read were set aside: whoever lost them joins again.
    if let Some(before) = state.enrollment()?
        && path.exists()
    {
        return Err(Failure::new(
            Exit::Conflict,
            format!("this machine is already node {} of cluster {}", before.node, before.cluster_name),
            format!("to join anew, remove {} first, or use another --state-dir", arguments.state.state_dir.display()),
        ));
    }
    let joined =
        enroll(&Joining { upstream: &upstream, proof: Proof::Token(&token), name }, &path).await.map_err(failure)?;
    let said = format!(
        "Joined: node {node} of cluster {} ({}). Start it: axle-agent run",
        joined.cluster_name, joined.cluster
    );
    state.enroll(&Enrollment { cluster: joined.cluster, cluster_name: joined.cluster_name, node, upstream })?;
    terminal::say(&said)
}

fn read_token(text: &str) -> Result<JoinToken, Failure> {
    let mut from_input = String::new();
    let text = if text == "-" {
        std::io::stdin().read_line(&mut from_input).map_err(|error| {
            Failure::new(Exit::Usage, format!("the token cannot be read from standard input: {error}"), "")
        })?;
        from_input.trim()
    } else {
        text
    };
    text.parse().map_err(|error: axle_transport::pki::PkiError| Failure::new(Exit::Usage, error.to_string(), ""))
}

fn host_name() -> Result<Name, Failure> {
    let hint = "give it one with --node";
    let text = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_err(|error| Failure::new(Exit::Usage, format!("the host name cannot be read: {error}"), hint))?;
    Name::new(text.trim().to_lowercase()).map_err(|error| {
        Failure::new(Exit::Usage, format!("the host name does not do as a node's name: {error}"), hint)
    })
}

fn failure(error: JoinError) -> Failure {
    let (exit, hint) = match &error {
        JoinError::Unavailable { .. } => (Exit::Unavailable, "is the address right, and is it running?"),
        JoinError::WrongServer { .. } => (
            Exit::Authentication,
            "do not go on before you know why: possible interception; a fresh token has the present hash",
        ),
        JoinError::Refused { .. } => (
            Exit::Authentication,
            "ask for a new token: `axle token create --cluster NAME` at the hub, `axle-agent token create --node NAME` at a relay",
        ),
        JoinError::WrongAnswer { .. } | JoinError::Credentials(_) => (Exit::Internal, ""),
    };
    Failure::new(exit, error.to_string(), hint)
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        let exit = match &error {
            StateError::Lock(crate::lock::LockError::Held { .. }) => Exit::Conflict,
            _ => Exit::Internal,
        };
        Self::new(exit, error.to_string(), "")
    }
}
