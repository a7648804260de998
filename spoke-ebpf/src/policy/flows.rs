//! Tracked flows. They answer one question: in which direction did this packet's flow begin?
use core::arch::asm;

use axle_ebpf_common::policy::{Flow, FlowKey, FlowKey4, Outcome, Workload};
use aya_ebpf::bindings::BPF_NOEXIST;

use crate::{
    clock,
    maps::{FLOWS4, FLOWS6},
    transport::Transport,
    verifier::keep_apart,
};

/// The kernel's EEXIST, as the helpers return it.
const EXISTS: i32 = -17;

/// Finds a flow over IPv4. The pointer is good for as long as the program runs.
#[inline(always)]
pub fn find4(key: &FlowKey) -> Option<*mut Flow> {
    let flow = FLOWS4.get_ptr_mut(&FlowKey4::from(key));
    keep_apart();
    flow
}

/// The same over IPv6.
#[inline(always)]
pub fn find6(key: &FlowKey) -> Option<*mut Flow> {
    FLOWS6.get_ptr_mut(key)
}

/// Makes an entry for a flow that policy accepts, or says why there is no room. It never displaces a living one.
#[inline(always)]
pub fn open(key: &FlowKey, workload: *const Workload, share: u64, origins: u16, flags: u16) -> Result<(), Outcome> {
    // SAFETY: the pointer comes from the map.
    let flows = unsafe { &raw const (*workload).flows }.cast_mut();
    // SAFETY: as above; a load of an aligned word.
    if unsafe { flows.read_volatile() } >= share {
        return Err(Outcome::ShareFull);
    }
    let flow = Flow { seen: clock::now(), tick: clock::tick(), origins, flags };
    let flags = u64::from(BPF_NOEXIST);
    let inserted = if key.family == 4 {
        let inserted = FLOWS4.insert(&FlowKey4::from(key), &flow, flags);
        keep_apart();
        inserted
    } else {
        FLOWS6.insert(key, &flow, flags)
    };
    match inserted {
        Ok(()) => {
            // The target has atomic addition, but not what `core` wants to offer it.
            // SAFETY: as above; programs on other CPUs count there too.
            unsafe { asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) flows, in(reg) 1_u64) };
            Ok(())
        }
        // Another CPU was first.
        Err(EXISTS) => Ok(()),
        Err(_) => Err(Outcome::TableFull),
    }
}

/// Notes when a flow's last packet was, once in a tick: a busy flow dirties no memory.
///
/// # Safety
/// `flow` comes from the map.
#[inline(always)]
unsafe fn see(flow: *mut Flow) {
    let tick = clock::tick();
    // SAFETY: as above.
    unsafe {
        if (*flow).tick != tick {
            (*flow).tick = tick;
            (*flow).seen = clock::now();
        }
    }
}

/// Notes an accepted packet of a known flow.
///
/// Two CPUs may do so at once and one mark may be lost; the next packet sets it again, and all that hangs on it is when
/// an idle entry goes.
#[inline(always)]
pub fn note(flow: *mut Flow, transport: &Transport, forward: bool) {
    // SAFETY: the pointer comes from the map and the program is its only holder on this CPU.
    unsafe {
        see(flow);
        let before = (*flow).flags;
        let mut flags = before & !Flow::RESET;
        if !forward {
            flags |= Flow::REPLIED;
        } else if flags & Flow::REPLIED != 0 {
            flags |= Flow::CONFIRMED;
        }
        if transport.fin {
            flags |= if forward { Flow::FIN_FORWARD } else { Flow::FIN_REPLY };
        }
        if transport.reset {
            flags |= Flow::RESET;
        }
        if flags != before {
            (*flow).flags = flags;
        }
    }
}

/// Notes an accepted packet that begins a flow which is known already.
#[inline(always)]
pub fn open_again(flow: *mut Flow, here: u16) {
    // SAFETY: as above.
    unsafe {
        let flags = (*flow).flags;
        let ended = flags & Flow::RESET != 0 || flags & Flow::FIN_FORWARD != 0 && flags & Flow::FIN_REPLY != 0;
        see(flow);
        if ended || flags & Flow::CONFIRMED == 0 {
            // Its ports are used again.
            (*flow).origins = here;
            (*flow).flags = 0;
        } else {
            // It is alive, and somebody begins it from the other end, or pretends to: from now on both have to accept it.
            (*flow).origins |= here;
        }
    }
}
