//! From a service to one of its backends.
use axle_ebpf_common::{
    policy::Address,
    service::{Backend, Call, Client, Frontend, Led, List, Member, Peer, REMEMBERED, Range, Slot, Translation},
};
use aya_ebpf::{
    EbpfContext as _,
    helpers::{
        bpf_get_prandom_u32,
        generated::{bpf_get_netns_cookie, bpf_ktime_get_coarse_ns, bpf_set_retval},
    },
    programs::SockAddrContext,
};

use crate::{
    address::{self, Family},
    maps::{BACKENDS, FRONTENDS, MEMBERS, RANGES, SERVICE_CLIENTS, SERVICE_SOCKETS, count},
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
        let chosen =
            if list.sticky_s == 0 { draw(list).map(|backend| backend.peer) } else { again(context, list, &frontend) };
        if let Some(backend) = chosen {
            if !remember(context, &backend, &service) {
                return refuse(Call::NoMemory);
            }
            address::write(context, family, &backend);
            count(Call::Translated);
            return PROCEED;
        }
    }
    refuse(Call::NoBackend)
}

/// Where the client was led before, as long as that is not too long ago and still a backend.
#[inline(always)]
fn again(context: &SockAddrContext, list: &List, frontend: &Frontend) -> Option<Peer> {
    // SAFETY: the context is the kernel's; the other helper has no preconditions.
    let (namespace, now) = unsafe { (bpf_get_netns_cookie(context.as_ptr()), bpf_ktime_get_coarse_ns()) };
    let client = Client { namespace, frontend: *frontend };
    if let Some(led) = SERVICE_CLIENTS.get_ptr_mut(&client) {
        // SAFETY: the entry is the map's own; whoever races for it is the same client and writes what is as good.
        let led = unsafe { &mut *led };
        let member = Member { peer: led.peer, list: list.number, padding: 0 };
        let is_recent = now.wrapping_sub(led.at_ns) < u64::from(list.sticky_s) * 1_000_000_000;
        // SAFETY: entries of a list never change.
        if is_recent && unsafe { MEMBERS.get(&member) }.is_some() {
            led.at_ns = now;
            return Some(member.peer);
        }
    }
    let peer = draw(list)?.peer;
    // Who cannot be remembered is led anew the next time.
    let _ = SERVICE_CLIENTS.insert(&client, &Led { peer, at_ns: now }, 0);
    Some(peer)
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
