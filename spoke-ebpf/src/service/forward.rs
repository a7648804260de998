//! From a service to one of its backends.
use axle_ebpf_common::{
    policy::Address,
    service::{Backend, Call, Frontend, List, Peer, REMEMBERED, Range, Slot, Translation},
};
use aya_ebpf::{
    helpers::{bpf_get_prandom_u32, generated::bpf_set_retval},
    programs::SockAddrContext,
};

use crate::{
    address::{self, Family},
    maps::{BACKENDS, FRONTENDS, RANGES, SERVICE_SOCKETS, count},
};

const PROCEED: i32 = 1;
const REFUSE: i32 = 0;
const CONNECTION_REFUSED: i32 = -111;
const OUT_OF_MEMORY: i32 = -12;

const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;
/// Multipath TCP sockets connect as TCP does.
const MPTCP: u32 = 262;

/// A socket calls somebody: if it is a service, leads it to a backend.
#[inline(always)]
pub fn call(context: &SockAddrContext, family: Family) -> i32 {
    let protocol = match address::protocol(context) {
        6 | MPTCP => TCP,
        17 => UDP,
        132 => SCTP,
        _ => return PROCEED,
    };
    let service = address::read(context, family);
    let frontend = Frontend { address: service.address, port: service.port, protocol, padding: [0; 5] };
    // A list may be replaced between the two reads: its successor is there then.
    for _ in 0..2 {
        // SAFETY: the agent replaces entries whole.
        let Some(list) = (unsafe { FRONTENDS.get(&frontend) }) else {
            return if is_service_address(&service.address) { refuse(Call::NoService) } else { PROCEED };
        };
        if list.slots == 0 {
            break;
        }
        if let Some(backend) = draw(list) {
            if !remember(context, &backend.peer, &service) {
                return refuse(Call::NoMemory);
            }
            address::write(context, family, &backend.peer);
            count(Call::Translated);
            return PROCEED;
        }
    }
    refuse(Call::NoBackend)
}

/// One backend of a list, at random by their shares.
#[inline(always)]
fn draw(list: &List) -> Option<&'static Backend> {
    // SAFETY: the helper has no preconditions.
    let (first, second) = unsafe { (bpf_get_prandom_u32(), bpf_get_prandom_u32()) };
    // A slot evenly, without the division that a remainder costs.
    let index = ((u64::from(first) * u64::from(list.slots)) >> 32) as u32;
    // SAFETY: entries of a list are written before the list is in force and never change.
    unsafe {
        let own = BACKENDS.get(&Slot { list: list.number, index })?;
        if second <= own.keep {
            return Some(own);
        }
        BACKENDS.get(&Slot { list: list.number, index: own.alias })
    }
}

/// Keeps with the socket whom it called. False if there is no memory for it.
#[inline(always)]
fn remember(context: &SockAddrContext, backend: &Peer, service: &Peer) -> bool {
    let socket = SERVICE_SOCKETS.get_or_insert_ptr_mut(context, None);
    if socket.is_null() {
        return false;
    }
    // SAFETY: the storage lives as long as its socket, which is in a call.
    let socket = unsafe { &mut *socket };
    for translation in &mut socket.translations {
        if translation.backend == *backend {
            translation.service = *service;
            return true;
        }
    }
    let index = socket.written as usize % REMEMBERED;
    socket.written += 1;
    socket.translations[index] = Translation { backend: *backend, service: *service };
    true
}

#[inline(always)]
fn is_service_address(address: &Address) -> bool {
    let within = |cell| {
        RANGES.get(cell).is_some_and(|Range { network, mask }| {
            !mask.is_unspecified() && address.high & mask.high == network.high && address.low & mask.low == network.low
        })
    };
    within(0) || within(1)
}

/// Ends the call with an error that clients understand: nobody answers there.
#[inline(always)]
fn refuse(call: Call) -> i32 {
    count(call);
    let error = if call == Call::NoMemory { OUT_OF_MEMORY } else { CONNECTION_REFUSED };
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_set_retval(error) };
    REFUSE
}
