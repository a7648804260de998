//! What `axle-probe` measures, and how the harness drives it from inside a workload.
use std::{
    io::{BufRead as _, BufReader},
    net::{IpAddr, SocketAddr},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::{
    eventually,
    process::{Place, output},
};

/// The port on which every test workload answers HTTP with its name.
pub const HTTP: u16 = 80;
/// The port on which every test workload sends back what it gets, over TCP and UDP.
pub const ECHO: u16 = 7;

/// Nanoseconds on the clock that all processes of a machine share.
///
/// # Errors
/// Never on Linux.
pub fn now_ns() -> anyhow::Result<u64> {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
    Ok(Duration::from(time).as_nanos().try_into()?)
}

/// What became of a flow of numbered messages, each of which should come back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// How many were sent.
    pub sent: u64,
    /// How many came back.
    pub received: u64,
    /// The stretches that did not come back, in order.
    pub lost: Vec<Gap>,
    /// When the last one came back.
    pub last_received_ns: u64,
    /// How the flow broke, if it did (a reset, say).
    pub broken: Option<String>,
}

/// Messages sent one after the other of which none came back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// When the first was sent.
    pub from_ns: u64,
    /// When the last was sent.
    pub to_ns: u64,
    /// How many.
    pub count: u64,
}

impl Report {
    /// Makes a report of when each message was sent and which came back.
    #[must_use]
    pub fn of(sent_ns: &[u64], came_back: &[bool], last_received_ns: u64, broken: Option<String>) -> Self {
        let mut lost: Vec<Gap> = Vec::new();
        let mut in_gap = false;
        for (&at, &back) in sent_ns.iter().zip(came_back) {
            match lost.last_mut() {
                _ if back => {}
                Some(gap) if in_gap => (gap.to_ns, gap.count) = (at, gap.count + 1),
                _ => lost.push(Gap { from_ns: at, to_ns: at, count: 1 }),
            }
            in_gap = !back;
        }
        let received = came_back.iter().filter(|&&back| back).count() as u64;
        Self { sent: sent_ns.len() as u64, received, lost, last_received_ns, broken }
    }

    /// Fails unless at least `least` messages were sent and all came back.
    ///
    /// # Errors
    /// With what was lost, or that there was too little traffic to tell.
    pub fn check_whole(&self, least: u64) -> anyhow::Result<()> {
        if self.sent < least {
            bail!("only {} messages were sent, and {least} are needed for the test to mean anything", self.sent);
        }
        if self.received != self.sent || self.broken.is_some() {
            bail!("of {} messages {} came back; gaps: {:?}; {:?}", self.sent, self.received, self.lost, self.broken);
        }
        Ok(())
    }
}

/// A kind of flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// UDP datagrams over a connected socket.
    Udp,
    /// UDP datagrams, each sent to the address anew.
    UdpUnconnected,
    /// One open TCP connection.
    Tcp,
}

/// A flow under way: a message every millisecond.
#[derive(Debug)]
pub struct Probe {
    child: Child,
    latest: Arc<Mutex<Report>>,
    reader: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Probe {
    /// Starts a flow from `place` to an echo service.
    ///
    /// # Errors
    /// Where the program cannot be started.
    pub fn start(binaries: &Path, place: &Place, flow: Flow, to: SocketAddr) -> anyhow::Result<Self> {
        let mut command = Command::new(binaries.join("axle-probe"));
        match flow {
            Flow::Udp => command.arg("udp"),
            Flow::UdpUnconnected => command.args(["udp", "--unconnected"]),
            Flow::Tcp => command.arg("tcp"),
        };
        command.arg(to.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        place.put(&mut command)?;
        let mut child = command.spawn().context("cannot start axle-probe")?;
        let lines = BufReader::new(child.stdout.take().context("no pipe from axle-probe")?).lines();
        let latest = Arc::new(Mutex::new(Report::default()));
        let shared = latest.clone();
        let reader = thread::spawn(move || {
            for line in lines {
                *shared.lock().unwrap_or_else(PoisonError::into_inner) = serde_json::from_str(&line?)?;
            }
            Ok(())
        });
        Ok(Self { child, latest, reader: Some(reader) })
    }

    /// How the flow stands; the gaps are told only at its end.
    #[must_use]
    pub fn latest(&self) -> Report {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until `more` further messages have come back.
    ///
    /// # Errors
    /// If they do not.
    pub fn await_traffic(&self, more: u64, patience: Duration) -> anyhow::Result<()> {
        let wanted = self.latest().received + more;
        eventually(&format!("{more} more messages to come back"), patience, || {
            let latest = self.latest();
            if latest.received < wanted { bail!("it stands at {latest:?}") } else { Ok(()) }
        })
    }

    /// Waits until `more` further messages have been sent, whatever becomes of them.
    ///
    /// # Errors
    /// If they are not.
    pub fn await_sent(&self, more: u64, patience: Duration) -> anyhow::Result<()> {
        let wanted = self.latest().sent + more;
        eventually(&format!("{more} more messages to be sent"), patience, || {
            let latest = self.latest();
            if latest.sent < wanted { bail!("it stands at {latest:?}") } else { Ok(()) }
        })
    }

    /// Waits until nothing has come back for `quiet`, while messages go on being sent.
    ///
    /// # Errors
    /// If answers keep coming.
    pub fn await_silence(&self, quiet: Duration, patience: Duration) -> anyhow::Result<()> {
        eventually("the flow to fall silent", patience, || {
            let latest = self.latest();
            let since = Duration::from_nanos(now_ns()?.saturating_sub(latest.last_received_ns));
            if since < quiet { bail!("it stands at {latest:?}") } else { Ok(()) }
        })
    }

    /// Ends the flow and tells what became of it.
    ///
    /// # Errors
    /// Where the program has died.
    pub fn finish(mut self) -> anyhow::Result<Report> {
        drop(self.child.stdin.take());
        let reader = self.reader.take().context("a probe is finished once")?;
        reader.join().map_err(|_| anyhow!("the probe's reader panicked"))??;
        let status = self.child.wait()?;
        if !status.success() {
            bail!("axle-probe ended with {status}");
        }
        Ok(self.latest())
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        // After `finish` there is nothing left to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks once over HTTP from `place` and returns who answered.
///
/// # Errors
/// `timed out` where packets vanish, `refused` where nobody listens.
pub fn get(binaries: &Path, place: &Place, to: IpAddr, port: u16, patience: Duration) -> anyhow::Result<String> {
    let mut command = Command::new(binaries.join("axle-probe"));
    command.args(["get", &SocketAddr::new(to, port).to_string(), "--timeout-ms", &patience.as_millis().to_string()]);
    place.put(&mut command)?;
    let output = output(&mut command)?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_become_gaps() {
        let report = Report::of(&[1, 2, 3, 4, 5, 6], &[true, false, false, true, false, true], 9, None);
        let gap = |from_ns, to_ns, count| Gap { from_ns, to_ns, count };
        assert_eq!(report.lost, [gap(2, 3, 2), gap(5, 5, 1)]);
        assert_eq!((report.sent, report.received), (6, 3));
    }

    #[test]
    fn too_little_traffic_proves_nothing() {
        let report = Report::of(&[1, 2], &[true, true], 3, None);
        assert!(report.check_whole(2).is_ok());
        assert!(report.check_whole(3).is_err());
        assert!(Report::of(&[1, 2], &[true, false], 3, None).check_whole(1).is_err());
        assert!(Report::of(&[1, 2], &[true, true], 3, Some("reset".into())).check_whole(1).is_err());
    }
}
