//! What the agent hears of a packet: counters always, events within their rate.
use axle_ebpf_common::policy::{Address, Control, EGRESS, EVENT_WINDOW_SHIFT, Event, Outcome};
use aya_ebpf::programs::TcContext;

use crate::{
    maps::{BUDGETS, BYPASS, CONTROL, COUNTERS, EVENTS, SEEN},
    packet::Packet,
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
    pub now: u64,
    pub own: Address,
    pub peer: Address,
    pub interface: u32,
    pub local: u32,
    pub generation: u32,
    pub class: u32,
    pub slot: u32,
    pub own_port: u16,
    pub peer_port: u16,
    pub number: u16,
    pub port_class: u16,
    pub table: u8,
    pub protocol: u8,
    pub family: u8,
    pub direction: u8,
    pub decided: u8,
}

impl Case {
    #[inline(always)]
    pub fn new(interface: u32, direction: u8, now: u64) -> Self {
        // Nothing yet. Did the compiler know that, it would clear the memory byte by byte.
        let none = opaque(0);
        let address = Address { high: none as u64, low: none as u64 };
        let (word, half, byte) = (none as u32, none as u16, none as u8);
        Self {
            now,
            own: address,
            peer: address,
            interface,
            local: word,
            generation: word,
            class: word,
            slot: word,
            own_port: half,
            peer_port: half,
            number: half,
            port_class: half,
            table: byte,
            protocol: byte,
            family: byte,
            direction,
            decided: direction,
        }
    }

    /// Takes over what the IP headers say.
    #[inline(always)]
    pub fn set_ends(&mut self, packet: &Packet) {
        (self.own, self.peer) = if self.direction == EGRESS {
            (packet.source, packet.destination)
        } else {
            (packet.destination, packet.source)
        };
        self.protocol = packet.protocol;
        self.family = packet.family;
    }
}

/// Counts and tells; the result is what the hook returns.
#[inline(always)]
pub fn finish(context: &TcContext, outcome: Outcome, case: &Case) -> i32 {
    let denied = outcome.is_denied();
    let length = context.len();
    count(outcome.cell(case.direction & 1), u64::from(length));
    if let Some(seen) = SEEN.get_ptr_mut(&case.interface) {
        // SAFETY: this CPU's own cell.
        unsafe {
            (*seen).packets[(case.direction & 1) as usize] += 1;
            (*seen).denied[(case.direction & 1) as usize] += u64::from(denied);
        }
    }
    let bypassed = denied && is_bypassed(case.now);
    if denied {
        tell(outcome, case, length, bypassed, DENIED);
    } else if matches!(outcome, Outcome::Opened | Outcome::Adopted) {
        tell(outcome, case, length, false, FLOWS);
    }
    if denied && !bypassed { TCX_DROP } else { TCX_NEXT }
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
fn is_bypassed(now: u64) -> bool {
    BYPASS.get(0).is_some_and(|until| *until > now)
}

#[inline(always)]
fn tell(outcome: Outcome, case: &Case, length: u32, bypassed: bool, kind: u32) {
    let Some(control) = CONTROL.get(0) else { return };
    if !within_budget(control, kind, case.now) {
        count(Outcome::SUPPRESSED, u64::from(length));
        return;
    }
    let Some(mut entry) = EVENTS.reserve::<Event>(0) else {
        count(Outcome::LOST, u64::from(length));
        return;
    };
    entry.write(Event {
        time: case.now,
        own: case.own,
        peer: case.peer,
        interface: case.interface,
        local: case.local,
        class: case.class,
        slot: case.slot,
        length,
        own_port: case.own_port,
        peer_port: case.peer_port,
        number: case.number,
        port_class: case.port_class,
        protocol: case.protocol,
        direction: case.direction,
        outcome: outcome as u8,
        family: case.family,
        decided: case.decided,
        bypassed: u8::from(bypassed),
        table: case.table,
        padding: 0,
        generation: case.generation,
    });
    entry.submit(0);
}

/// Takes one event out of this CPU's budget for this window.
#[inline(always)]
fn within_budget(control: &Control, kind: u32, now: u64) -> bool {
    let allowed = if kind == DENIED { control.denied_events } else { control.flow_events };
    let Some(budget) = BUDGETS.get_ptr_mut(kind) else { return false };
    let window = now >> EVENT_WINDOW_SHIFT;
    // SAFETY: this CPU's own cell.
    unsafe {
        if (*budget).window != window {
            (*budget).window = window;
            (*budget).used = 0;
        }
        if (*budget).used >= u64::from(allowed) {
            return false;
        }
        (*budget).used += 1;
    }
    true
}
