//! `axle-agent run`.
use std::io::IsTerminal;
use std::net::SocketAddr;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use super::{
    Exit, Failure, RunArguments,
    arguments::{HttpListen, LogFormat},
};
use crate::{
    app::{App, Settings, StartError},
    dataplane,
    lock::LockError,
    state_directory::StateError,
};

pub(super) async fn run(arguments: RunArguments) -> Result<(), Failure> {
    log(arguments.log_format)?;
    let stop = CancellationToken::new();
    stop_on_signal(stop.clone())?;
    let app = tokio::select! {
        app = App::start(settings(arguments)?) => app.map_err(failure)?,
        () = stop.cancelled() => return Ok(()),
    };
    if let Some(address) = app.http() {
        tracing::info!(%address, "metrics and health");
    }
    app.run(stop).await.map_err(Failure::internal)?;
    tracing::info!("stopped; what was in force stays so");
    Ok(())
}

fn settings(arguments: RunArguments) -> Result<Settings, Failure> {
    let RunArguments {
        state,
        inventory,
        roles,
        relay_listen,
        node_addresses,
        node_labels,
        pin_dir,
        cgroup,
        dns_listen,
        dns_port,
        http_listen,
        metrics_listen,
        heartbeat,
        certificate_lifetime,
        renewal_grace,
        rescan,
        log_format: _,
        kubernetes,
    } = arguments;
    Ok(Settings {
        state: state.state_dir,
        inventory,
        roles,
        relay_listen,
        certificate_lifetime,
        renewal_grace,
        node_addresses,
        node_labels: node_labels.into_iter().collect(),
        pins: pin_dir,
        cgroup,
        dns_listen: dns_listen.into_iter().map(|(ip, port)| SocketAddr::new(ip, port.unwrap_or(dns_port))).collect(),
        http_listen: match http_listen {
            HttpListen::Off => None,
            HttpListen::At(address) => Some(address),
        },
        metrics_listen,
        heartbeat,
        rescan,
        kubernetes: kubernetes.settings(rescan)?,
    })
}

fn log(format: LogFormat) -> Result<(), Failure> {
    let filter = match std::env::var("AXLE_LOG") {
        // What goes wrong with the API server is said once, by who asked.
        Err(_) => EnvFilter::new("info,kube_client=off"),
        Ok(text) => text.parse().map_err(|error| {
            Failure::new(Exit::Usage, format!("AXLE_LOG: {text:?} is not a filter: {error}"), "such as info")
        })?,
    };
    let colours = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    let set = match format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    set.map_err(|error| Failure::internal(format!("logging cannot be set up: {error}")))
}

fn stop_on_signal(stop: CancellationToken) -> Result<(), Failure> {
    let failed = |error| Failure::internal(format!("signals cannot be handled: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
    });
    Ok(())
}

fn failure(error: StartError) -> Failure {
    match error {
        StartError::NotJoined { .. } => Failure::new(
            Exit::Usage,
            error.to_string(),
            "join first: `axle token create --cluster NAME` at the hub prints the command",
        ),
        StartError::Roles(_) => Failure::new(Exit::Usage, error.to_string(), ""),
        StartError::Other(error) => {
            let held = matches!(error.downcast_ref(), Some(StateError::Lock(LockError::Held { .. })))
                || matches!(error.downcast_ref(), Some(dataplane::Error::Locked(_)));
            let exit = if held { Exit::Conflict } else { Exit::Internal };
            Failure::new(exit, format!("{error:#}"), "")
        }
    }
}
