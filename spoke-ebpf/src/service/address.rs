//! The address that a socket call carries, read and written in words of 32 bits as the verifier wants it. The build is
//! for little-endian machines: the first word in memory is the lower half of a longer one.
use core::ptr::{addr_of, addr_of_mut, read_volatile, write_volatile};

use axle_ebpf_common::{policy::Address, service::Peer};
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
            Family::V4 => Address::mapped(read_volatile(addr_of!((*call).user_ip4))),
            Family::V6 => {
                let word = |n: usize| u64::from(read_volatile(addr_of!((*call).user_ip6[n])));
                Address { high: word(0) | word(1) << 32, low: word(2) | word(3) << 32 }
            }
        };
        Peer { address, port, padding: [0; 6] }
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
            Family::V4 => write_volatile(addr_of_mut!((*call).user_ip4), peer.address.ipv4()),
            Family::V6 => {
                let Address { high, low } = peer.address;
                for (n, word) in [high, high >> 32, low, low >> 32].into_iter().enumerate() {
                    write_volatile(addr_of_mut!((*call).user_ip6[n]), word as u32);
                }
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
