//! `axle-demo`: three clusters on this machine, with real agents, packets and kernel programs, and printed proof.
//!
//! The show runs in a process of its own. This one waits for it, or for a signal, and then removes whatever carries the
//! demo's name; if this one is killed too, the show dies with it and the next run removes the rest.
mod forward;
mod preflight;
mod scenes;
mod stage;
mod world;

use std::{
    env,
    io::{self, Write as _},
    process::{Child, Command, ExitCode, ExitStatus},
    thread,
    time::Duration,
};

use anyhow::Context as _;
use axle_tests::{lease, process::Place};
use clap::Parser;
use nix::sys::signal::{SigSet, Signal};

use stage::Stage;
use world::World;

/// The name that everything of the demo carries.
const NAME: &str = "axle-demo";

/// Three clusters on this machine, with real agents, packets and kernel programs.
#[derive(Debug, Parser)]
struct Arguments {
    /// Ends after the last scene instead of staying up.
    #[arg(long)]
    oneshot: bool,
    /// The show itself; used by the program when it starts itself.
    #[arg(long, hide = true)]
    show: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = if arguments.show { show(arguments.oneshot) } else { supervise() };
    result.unwrap_or_else(|error| {
        // Nobody is left to tell if standard error is gone.
        let _ = writeln!(io::stderr(), "\naxle-demo: {error:#}");
        ExitCode::FAILURE
    })
}

/// Runs the show, and cleans up after it however it ends.
fn supervise() -> anyhow::Result<ExitCode> {
    preflight::check()?;
    let ends: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGCHLD].into_iter().collect();
    // Blocked signals wait for us; the show gets none of this: a new program starts with an empty mask.
    ends.thread_block()?;
    let mut command = Command::new(env::current_exe()?);
    command.args(env::args_os().skip(1)).arg("--show");
    Place::default().put(&mut command)?;
    let mut show = command.spawn().context("cannot start the show")?;
    let status = wait(&mut show, &ends)?;
    lease::sweep_dead()?;
    match status {
        Some(status) if status.success() => Ok(ExitCode::SUCCESS),
        Some(_) => Ok(ExitCode::FAILURE),
        None => {
            writeln!(io::stdout(), "\ninterrupted: everything is removed")?;
            Ok(ExitCode::from(130))
        }
    }
}

/// Waits for the show's end, or ends it if we are asked to.
fn wait(show: &mut Child, ends: &SigSet) -> anyhow::Result<Option<ExitStatus>> {
    loop {
        let signal = ends.wait()?;
        let ended = show.try_wait()?;
        match (signal, ended) {
            (Signal::SIGCHLD, Some(status)) => return Ok(Some(status)),
            (Signal::SIGCHLD, None) => {}
            _ => {
                show.kill()?;
                show.wait()?;
                return Ok(None);
            }
        }
    }
}

fn show(oneshot: bool) -> anyhow::Result<ExitCode> {
    let mut stage = Stage::new();
    let mut world = World::raise(&mut stage)?;
    for scene in scenes::ALL {
        scene(&mut stage, &mut world).inspect_err(|_| world.keep_logs())?;
    }
    stage.end()?;
    if !oneshot {
        world.invite(&mut stage)?;
        loop {
            world.chatter();
            thread::sleep(Duration::from_secs(1));
        }
    }
    Ok(ExitCode::SUCCESS)
}
