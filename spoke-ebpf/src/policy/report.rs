//! What the agent hears of a packet: counters always, events within their rate.
use axle_ebpf_common::policy::{Address, Control, EGRESS, EVENT_WINDOW_SHIFT, Event, FlowKey, Outcome};
use aya_ebpf::programs::TcContext;

use crate::{
    clock,
    maps::{BUDGETS, BYPASS, CONTROL, COUNTERS, EVENTS, SEEN},
    packet::Packet,
    transport::Transport,
    verifier::opaque,
};

/// Let the next program at the hook run, or the packet pass if there is none.
const TCX_NEXT: i32 = -1;
/// Drop the packet silently.
const TCX_DROP: i32 = 2;

/// Cells of `BUDGETS`.
const DENIED: u32 = 0;
const FLOWS: u32 = 1;

/// A packet and what was found out about it.
pub struct Case {
    /// Of the packet's flow, as far as it is known.
    pub key: FlowKey,
    pub local: u32,
    pub seen: u32,
    pub generation: u32,
    pub class: u32,
    pub slot: u32,
    pub number: u16,
    pub port_class: u16,
    pub table: u8,
    pub direction: u8,
    pub decided: u8,
}

impl Case {
    #[inline(always)]
    pub fn new(interface: u32, direction: u8) -> Self {
        // Nothing yet. Did the compiler know that, it would clear the memory byte by byte.
        let none = opaque(0);
        let address = Address { high: none as u64, low: none as u64 };
        let (word, half, byte) = (none as u32, none as u16, none as u8);
        Self {
            key: FlowKey {
                own: address,
                peer: address,
                interface,
                own_port: half,
                peer_port: half,
                protocol: word,
                family: word,
            },
            local: word,
            seen: word,
            generation: word,
            class: word,
            slot: word,
            number: half,
            port_class: half,
            table: byte,
            direction,
            decided: direction,
        }
    }

    /// Takes over what the IP headers say.
    #[inline(always)]
    pub fn set_ends(&mut self, packet: &Packet) {
        (self.key.own, self.key.peer) = if self.direction == EGRESS {
            (packet.source, packet.destination)
        } else {
            (packet.destination, packet.source)
        };
        self.key.protocol = u32::from(packet.protocol);
        self.key.family = u32::from(packet.family);
    }

    /// Takes over what the transport header says.
    #[inline(always)]
    pub fn set_ports(&mut self, transport: &Transport) {
        self.key.own_port = transport.own_port;
        self.key.peer_port = transport.peer_port;
    }
}

/// Counts and tells; the result is what the hook returns.
#[inline(always)]
pub fn finish(context: &TcContext, outcome: Outcome, case: &Case) -> i32 {
    let denied = outcome.is_denied();
    let length = context.len();
    count(outcome.cell(case.direction & 1), u64::from(length));
    if let Some(seen) = SEEN.get_ptr_mut(case.seen) {
        // SAFETY: this CPU's own cell.
        unsafe {
            (*seen).packets[(case.direction & 1) as usize] += 1;
            (*seen).denied[(case.direction & 1) as usize] += u64::from(denied);
        }
    }
    if denied {
        let bypassed = is_bypassed();
        tell(outcome, case, length, bypassed, DENIED);
        return if bypassed { TCX_NEXT } else { TCX_DROP };
    }
    if matches!(outcome, Outcome::Opened | Outcome::Adopted) {
        tell(outcome, case, length, false, FLOWS);
    }
    TCX_NEXT
}

#[inline(always)]
fn count(cell: u32, bytes: u64) {
    if let Some(counter) = COUNTERS.get_ptr_mut(cell) {
        // SAFETY: this CPU's own cell.
        unsafe {
            (*counter).packets += 1;
            (*counter).bytes += bytes;
        }
    }
}

#[inline(always)]
fn is_bypassed() -> bool {
    BYPASS.get(0).is_some_and(|until| *until != 0 && *until > clock::now())
}

#[inline(always)]
fn tell(outcome: Outcome, case: &Case, length: u32, bypassed: bool, kind: u32) {
    let Some(control) = CONTROL.get(0) else { return };
    let Some(time) = within_budget(control, kind) else {
        count(Outcome::SUPPRESSED, u64::from(length));
        return;
    };
    let Some(mut entry) = EVENTS.reserve::<Event>(0) else {
        count(Outcome::LOST, u64::from(length));
        return;
    };
    entry.write(Event {
        time,
        own: case.key.own,
        peer: case.key.peer,
        interface: case.key.interface,
        local: case.local,
        class: case.class,
        slot: case.slot,
        length,
        own_port: case.key.own_port,
        peer_port: case.key.peer_port,
        number: case.number,
        port_class: case.port_class,
        protocol: case.key.protocol as u8,
        direction: case.direction,
        outcome: outcome as u8,
        family: case.key.family as u8,
        decided: case.decided,
        bypassed: u8::from(bypassed),
        table: case.table,
        padding: 0,
        generation: case.generation,
    });
    entry.submit(0);
}

/// Takes one event out of this CPU's budget for this window; the result is the time, unless nothing is left.
#[inline(always)]
fn within_budget(control: &Control, kind: u32) -> Option<u64> {
    let allowed = if kind == DENIED { control.denied_events } else { control.flow_events };
    let budget = BUDGETS.get_ptr_mut(kind)?;
    let jiffies = clock::jiffies();
    // SAFETY: this CPU's own cell.
    unsafe {
        // A flood of denied packets is not to cost more than what is accepted.
        if (*budget).spent == jiffies {
            return None;
        }
        let now = clock::now();
        let window = now >> EVENT_WINDOW_SHIFT;
        if (*budget).window != window {
            (*budget).window = window;
            (*budget).used = 0;
        }
        if (*budget).used >= u64::from(allowed) {
            (*budget).spent = jiffies;
            return None;
        }
        (*budget).used += 1;
        Some(now)
    }
}
