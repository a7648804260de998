//! `axle-hub`: the hub's command line.
use std::{
    io::{self, IsTerminal as _},
    os::unix::fs::DirBuilderExt as _,
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use axle_core::duration;
use axle_hub::{
    app::{App, Running, beside},
    auth::Role,
    config::{Config, LogFormat},
    store::{self, StoreError},
    tokens::{TokenError, Tokens},
    writer::Writer,
};
use clap::{Parser, Subcommand};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The control plane of many clusters: keeps their state, and tells every one what it may know.
///
/// Without a command it serves. Exit codes: 0 ok, 1 internal, 2 wrong settings, 5 database unavailable.
#[derive(Debug, Parser)]
#[command(name = "axle-hub", version, args_conflicts_with_subcommands = false)]
struct Cli {
    #[command(flatten)]
    config: Config,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until told to stop (the default)
    Serve,
    /// Write everything to one new file, while the hub runs or not
    Backup {
        /// The file
        file: PathBuf,
    },
    /// Fill an empty database from a backup; a new epoch begins, and persons need new tokens
    Restore {
        /// The file
        file: PathBuf,
    },
    /// Ask a hub of this database, at an address where others reach it, whether it can do its work
    Check {
        /// The address [default: the first that is advertised, else this machine]
        #[arg(long, value_name = "HOST:PORT")]
        hub: Option<String>,
    },
    /// Print a token for a person
    Token {
        /// Who will bear it
        #[arg(long)]
        subject: String,
        /// admin, operator or viewer
        #[arg(long)]
        role: Role,
        /// How long it holds
        #[arg(long, value_name = "TIME", default_value = "12h", value_parser = duration::parse)]
        ttl: Duration,
        /// Print a whole context file for `axle` with it, which reaches the hub here
        #[arg(long, value_name = "HOST:PORT")]
        context: Option<String>,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    start_logging(cli.config.log_format);
    let done = match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => serve(cli.config).await,
        Command::Backup { file } => backup(&cli.config, &file).await,
        Command::Restore { file } => restore(&cli.config, &file).await,
        Command::Check { hub } => check(&cli.config, hub).await,
        Command::Token { subject, role, ttl, context } => token(&cli.config, &subject, role, ttl, context).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            say(&mut io::stderr(), &format!("error: {why:#}"));
            exit_code(&why)
        }
    }
}

async fn serve(config: Config) -> anyhow::Result<()> {
    // Before anything else, so that a signal during the start is not lost.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    raise_descriptors();
    let running = App::start(config).await?;
    announce(&running);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    running.stop().await;
    Ok(())
}

/// Every relay is an open file: takes as many as the system gives without asking.
fn raise_descriptors() {
    let raised =
        getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(why) = raised {
        tracing::warn!(%why, "the limit on open files stays as it is");
    }
}

fn announce(running: &Running) {
    let hub = running.parts.advertised.first().map_or("", String::as_str);
    let text = format!(
        "Axle hub {} is ready.\n  dashboard  http://{}/\n  hub        https://{hub} (bound to {})",
        env!("CARGO_PKG_VERSION"),
        running.http_address,
        running.tls_address
    );
    say(&mut io::stdout(), &text);
}

async fn backup(config: &Config, file: &std::path::Path) -> anyhow::Result<()> {
    let store = store::open(&existing(config)?).await?;
    store::backup(&*store, file).await?;
    say(
        &mut io::stdout(),
        &format!("written: {}; it holds the keys of the mesh, keep it as you keep them", file.display()),
    );
    Ok(())
}

async fn restore(config: &Config, file: &std::path::Path) -> anyhow::Result<()> {
    if let Some(parent) = config.data_dir().ok().filter(|_| config.database.is_none()) {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    let epoch = store::restore(file, &config.database().map_err(StoreError::Setup)?).await?;
    say(
        &mut io::stdout(),
        &format!("restored from {}; epoch {epoch} begins: every spoke takes a snapshot", file.display()),
    );
    Ok(())
}

async fn check(config: &Config, hub: Option<String>) -> anyhow::Result<()> {
    let here = || format!("localhost:{}", config.listen.port());
    let address = hub.or_else(|| config.advertise.first().cloned()).unwrap_or_else(here);
    beside::check(config, store::open(&existing(config)?).await?, &address).await?;
    say(&mut io::stdout(), &format!("{address}: ready"));
    Ok(())
}

async fn token(
    config: &Config,
    subject: &str,
    role: Role,
    ttl: Duration,
    context: Option<String>,
) -> anyhow::Result<()> {
    let store = store::open(&existing(config)?).await?;
    let tokens = Tokens::open(store.clone(), config.mesh.as_str()).await?;
    // Beside the hub that runs, as a second hub would: what is made is in its audit trail.
    let stop = CancellationToken::new();
    let (writer, _, written) = Writer::start(store.clone(), stop.clone()).await?;
    let token = tokens.issue(&writer, "console", subject, role, ttl).await?;
    stop.cancel();
    written.await?;
    let text = match context {
        Some(hub) => beside::context(config, store, &hub, token).await?,
        None => token,
    };
    say(&mut io::stdout(), text.trim_end());
    Ok(())
}

/// The database of a hub that has run: a spelling error must not make a new one.
fn existing(config: &Config) -> Result<String, StoreError> {
    let url = config.database().map_err(StoreError::Setup)?;
    match url.strip_prefix("sqlite:").map(std::path::Path::new) {
        Some(path) if !path.is_file() => {
            Err(StoreError::Setup(format!("{}: there is no database; give --data-dir or --database", path.display())))
        }
        _ => Ok(url),
    }
}

fn start_logging(format: LogFormat) {
    let filter = EnvFilter::try_from_env("AXLE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}

fn exit_code(why: &anyhow::Error) -> ExitCode {
    let store = match why.downcast_ref() {
        Some(TokenError::Store(why)) => Some(why),
        _ => why.downcast_ref::<StoreError>(),
    };
    match store {
        Some(StoreError::Unavailable(_)) => ExitCode::from(5),
        Some(StoreError::Corrupt(_)) => ExitCode::FAILURE,
        _ if why.downcast_ref::<io::Error>().is_some() => ExitCode::FAILURE,
        _ => ExitCode::from(2),
    }
}

/// Writes a line; whoever closed the other end does not want it.
fn say(to: &mut dyn io::Write, text: &str) {
    let _ = writeln!(to, "{text}");
}
