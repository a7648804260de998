//! Tracked flows: idle ones go.
use std::{collections::HashMap, os::fd::AsFd as _, time::Duration};

use axle_ebpf_common::policy::{Flow, FlowKey, FlowKey4};
use aya::{
    Ebpf, Pod,
    maps::{HashMap as KernelMap, IterableMap as _, MapData},
};

use super::{Error, load, sys};

const TCP: u32 = 6;

/// After how much silence a flow is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// A TCP connection that is established.
    pub tcp_established: Duration,
    /// One that is being established.
    pub tcp_opening: Duration,
    /// One of which one end has closed its side.
    pub tcp_closing: Duration,
    /// One that both ends have closed, or that was reset.
    pub tcp_closed: Duration,
    /// Any other protocol, with packets both ways.
    pub other_answered: Duration,
    /// Any other protocol, with packets one way.
    pub other_single: Duration,
}

impl Default for Timeouts {
    /// RFC 5382 (TCP) and RFC 4787 (UDP) ask translators for at least 124 minutes, 4 minutes and 2 minutes.
    fn default() -> Self {
        Self {
            tcp_established: Duration::from_secs(8_000),
            tcp_opening: Duration::from_secs(60),
            tcp_closing: Duration::from_secs(240),
            tcp_closed: Duration::from_secs(10),
            other_answered: Duration::from_secs(180),
            other_single: Duration::from_secs(30),
        }
    }
}

impl Timeouts {
    fn of(&self, protocol: u32, flags: u16) -> Duration {
        let has = |all: u16| flags & all == all;
        if protocol != TCP {
            return if has(Flow::REPLIED) { self.other_answered } else { self.other_single };
        }
        if has(Flow::RESET) || has(Flow::FIN_FORWARD | Flow::FIN_REPLY) {
            self.tcp_closed
        } else if flags & (Flow::FIN_FORWARD | Flow::FIN_REPLY) != 0 {
            self.tcp_closing
        } else if has(Flow::REPLIED | Flow::CONFIRMED) {
            self.tcp_established
        } else {
            self.tcp_opening
        }
    }

    /// Whether a flow has been silent for too long at `now`.
    fn have_passed(&self, key: &impl Key, flow: &Flow, now: u64) -> bool {
        u128::from(now.saturating_sub(flow.seen)) > self.of(key.protocol(), flow.flags).as_nanos()
    }
}

/// What a round of garbage collection found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Collected {
    /// Flows that stay.
    pub living: usize,
    /// Flows that went.
    pub removed: usize,
    /// Living ones by index of their interface.
    pub(super) by_interface: HashMap<u32, u64>,
}

/// The two tables of tracked flows.
pub(super) struct Flows {
    pub(super) flows4: KernelMap<MapData, FlowKey4, Flow>,
    pub(super) flows6: KernelMap<MapData, FlowKey, Flow>,
}

impl Flows {
    pub(super) fn new(object: &mut Ebpf) -> Result<Self, Error> {
        let [flows4, flows6] = load::FLOWS;
        Ok(Self { flows4: load::map(object, flows4)?, flows6: load::map(object, flows6)? })
    }

    /// Removes the idle flows and counts the others.
    pub(super) fn collect(&mut self, timeouts: &Timeouts) -> Result<Collected, Error> {
        let mut collected = Collected::default();
        collect(&mut self.flows4, timeouts, &mut collected)?;
        collect(&mut self.flows6, timeouts, &mut collected)?;
        Ok(collected)
    }
}

/// What garbage collection reads of a flow's key.
trait Key: Pod {
    fn interface(&self) -> u32;
    fn protocol(&self) -> u32;
}

impl Key for FlowKey4 {
    fn interface(&self) -> u32 {
        self.interface()
    }

    fn protocol(&self) -> u32 {
        self.protocol as u32
    }
}

impl Key for FlowKey {
    fn interface(&self) -> u32 {
        self.interface
    }

    fn protocol(&self) -> u32 {
        self.protocol
    }
}

fn collect<K: Key>(
    flows: &mut KernelMap<MapData, K, Flow>,
    timeouts: &Timeouts,
    collected: &mut Collected,
) -> Result<(), Error> {
    let error = |source| Error::Map { map: "FLOWS", source };
    let now = sys::now();
    let mut idle = Vec::new();
    sys::for_each(flows.map().fd().as_fd(), |key: K, flow: Flow| {
        if timeouts.have_passed(&key, &flow, now) {
            idle.push(key);
        } else {
            collected.living += 1;
            *collected.by_interface.entry(key.interface()).or_default() += 1;
        }
    })
    .map_err(error)?;
    for key in idle {
        match flows.remove(&key).map_err(super::error::kernel) {
            Ok(()) => collected.removed += 1,
            Err(missing) if missing.raw_os_error() == Some(libc::ENOENT) => {}
            Err(source) => return Err(error(source)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use axle_ebpf_common::policy::Address;

    use super::*;

    fn key(protocol: u32) -> FlowKey {
        FlowKey {
            own: Address::mapped(1),
            peer: Address::mapped(2),
            interface: 3,
            own_port: 4,
            peer_port: 5,
            protocol,
            family: 4,
        }
    }

    #[test]
    fn a_flow_goes_by_its_protocol_and_state() {
        let timeouts = Timeouts::default();
        let second = 1_000_000_000;
        for (protocol, flags, seconds) in [
            (6, 0, 60),
            (6, Flow::REPLIED, 60),
            (6, Flow::REPLIED | Flow::CONFIRMED, 8_000),
            (6, Flow::REPLIED | Flow::CONFIRMED | Flow::FIN_REPLY, 240),
            (6, Flow::REPLIED | Flow::CONFIRMED | Flow::FIN_REPLY | Flow::FIN_FORWARD, 10),
            (6, Flow::REPLIED | Flow::RESET, 10),
            (17, 0, 30),
            (17, Flow::REPLIED, 180),
            (1, 0, 30),
        ] {
            let flow = Flow { seen: 5 * second, tick: 0, origins: 1, flags };
            let end = (5 + seconds) * second;
            assert!(!timeouts.have_passed(&key(protocol), &flow, end), "{protocol} {flags} goes too early");
            assert!(timeouts.have_passed(&key(protocol), &flow, end + 1), "{protocol} {flags} stays too long");
            assert!(!timeouts.have_passed(&key(protocol), &flow, 0), "a packet after the clock was read is no silence");
        }
    }
}
