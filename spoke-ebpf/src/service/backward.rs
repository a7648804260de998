//! From a backend back to the service that was called.
use aya_ebpf::programs::SockAddrContext;

use crate::{
    address::{self, Family},
    maps::SERVICE_SOCKETS,
};

/// A socket asks who the other side is: if it is a backend that it was led to, shows the service.
#[inline(always)]
pub fn show(context: &SockAddrContext, family: Family) -> i32 {
    // These hooks can only proceed.
    const PROCEED: i32 = 1;
    let socket = SERVICE_SOCKETS.get_ptr_mut(context);
    if socket.is_null() {
        return PROCEED;
    }
    // SAFETY: the storage lives as long as its socket, which is in a call.
    let socket = unsafe { &*socket };
    let peer = address::read(context, family);
    for translation in &socket.translations {
        if translation.backend == peer {
            address::write(context, family, &translation.service);
            return PROCEED;
        }
    }
    PROCEED
}
