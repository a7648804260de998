//! Services: programs at the workloads' cgroup that turn a service's address into a backend's before a packet exists.
//!
//! [`forward`] does it when a socket connects or sends, [`backward`] shows the socket the address that it called. Packets
//! carry backends only, so policy judges backends.
#![no_std]
#![no_main]

mod address;
mod backward;
mod forward;
mod maps;

use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};

use crate::address::Family;

/// TCP and connected UDP over IPv4.
#[cgroup_sock_addr(connect4)]
pub fn axle_connect4(context: SockAddrContext) -> i32 {
    forward::call(&context, Family::V4)
}

/// TCP and connected UDP over IPv6, also to IPv4 addresses in the mapped form.
#[cgroup_sock_addr(connect6)]
pub fn axle_connect6(context: SockAddrContext) -> i32 {
    forward::call(&context, Family::V6)
}

/// A datagram with an address over IPv4.
#[cgroup_sock_addr(sendmsg4)]
pub fn axle_sendmsg4(context: SockAddrContext) -> i32 {
    forward::call(&context, Family::V4)
}

/// A datagram with an address over IPv6.
#[cgroup_sock_addr(sendmsg6)]
pub fn axle_sendmsg6(context: SockAddrContext) -> i32 {
    forward::call(&context, Family::V6)
}

/// Whom an IPv4 datagram came from.
#[cgroup_sock_addr(recvmsg4)]
pub fn axle_recvmsg4(context: SockAddrContext) -> i32 {
    backward::show(&context, Family::V4)
}

/// Whom an IPv6 datagram came from.
#[cgroup_sock_addr(recvmsg6)]
pub fn axle_recvmsg6(context: SockAddrContext) -> i32 {
    backward::show(&context, Family::V6)
}

/// Whom an IPv4 socket is connected to.
#[cgroup_sock_addr(getpeername4)]
pub fn axle_getpeername4(context: SockAddrContext) -> i32 {
    backward::show(&context, Family::V4)
}

/// Whom an IPv6 socket is connected to.
#[cgroup_sock_addr(getpeername6)]
pub fn axle_getpeername6(context: SockAddrContext) -> i32 {
    backward::show(&context, Family::V6)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
