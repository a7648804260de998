//! The address that a socket call carries, read and written word by word as the verifier wants it.
use core::ptr::{addr_of, addr_of_mut, read_volatile, write_volatile};

use axle_ebpf_common::{policy::mapped, service::Peer};
use aya_ebpf::programs::SockAddrContext;

/// Which of the two hooks of a kind was called.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

/// The other side of the call.
#[inline(always)]
pub fn read(context: &SockAddrContext, family: Family) -> Peer {
    let call = context.sock_addr;
    // SAFETY: the kernel gives a valid context; whole words of these fields may be read.
    unsafe {
        let port = read_volatile(addr_of!((*call).user_port)) as u16;
        let address = match family {
            Family::V4 => mapped(read_volatile(addr_of!((*call).user_ip4))),
            Family::V6 => [
                read_volatile(addr_of!((*call).user_ip6[0])),
                read_volatile(addr_of!((*call).user_ip6[1])),
                read_volatile(addr_of!((*call).user_ip6[2])),
                read_volatile(addr_of!((*call).user_ip6[3])),
            ],
        };
        Peer { address, port, padding: 0 }
    }
}

/// Makes `peer`, of the same family as the one there, the other side of the call.
#[inline(always)]
pub fn write(context: &SockAddrContext, family: Family, peer: &Peer) {
    let call = context.sock_addr;
    // SAFETY: as in `read`; these hooks may write these words.
    unsafe {
        write_volatile(addr_of_mut!((*call).user_port), u32::from(peer.port));
        match family {
            Family::V4 => write_volatile(addr_of_mut!((*call).user_ip4), peer.address[3]),
            Family::V6 => {
                write_volatile(addr_of_mut!((*call).user_ip6[0]), peer.address[0]);
                write_volatile(addr_of_mut!((*call).user_ip6[1]), peer.address[1]);
                write_volatile(addr_of_mut!((*call).user_ip6[2]), peer.address[2]);
                write_volatile(addr_of_mut!((*call).user_ip6[3]), peer.address[3]);
            }
        }
    }
}

/// The socket's protocol number.
#[inline(always)]
pub fn protocol(context: &SockAddrContext) -> u32 {
    // SAFETY: as in `read`.
    unsafe { read_volatile(addr_of!((*context.sock_addr).protocol)) }
}
