//! `axle-probe`: what runs inside the workloads of tests and demo: small servers, and clients that count what is lost.
mod client;
mod serve;

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    process::ExitCode,
    time::Duration,
};

use clap::Parser;

/// Small servers, and clients that count what is lost.
#[derive(Debug, Parser)]
enum Command {
    /// Answers HTTP with a name, and echoes over TCP and UDP, on both IP families.
    Serve {
        /// The answer.
        #[arg(long)]
        name: String,
        /// The HTTP port.
        #[arg(long)]
        http: u16,
        /// The echo port, TCP and UDP.
        #[arg(long)]
        echo: u16,
    },
    /// Asks once over HTTP and prints the answer.
    Get {
        /// Whom.
        to: SocketAddr,
        /// How long to wait, in milliseconds.
        #[arg(long, default_value_t = 1000)]
        timeout_ms: u64,
    },
    /// Sends a numbered datagram every millisecond until standard input ends, then prints what became of them as JSON.
    Udp {
        /// An echo service.
        to: SocketAddr,
        /// Names the address with each datagram instead of connecting once.
        #[arg(long)]
        unconnected: bool,
    },
    /// Sends a number every millisecond over one TCP connection until standard input ends, then prints the same.
    Tcp {
        /// An echo service.
        to: SocketAddr,
    },
}

fn main() -> ExitCode {
    match run(Command::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell if standard error is gone.
            let _ = writeln!(io::stderr(), "{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    let print = |text: String| writeln!(io::stdout(), "{text}");
    match command {
        Command::Serve { name, http, echo } => serve::run(name, http, echo)?,
        Command::Get { to, timeout_ms } => print(client::get(to, Duration::from_millis(timeout_ms))?)?,
        Command::Udp { to, unconnected } => print(serde_json::to_string(&client::udp(to, unconnected)?)?)?,
        Command::Tcp { to } => print(serde_json::to_string(&client::tcp(to)?)?)?,
    }
    Ok(())
}
