//! Headers: whose packets, which kinds, how broken.
use std::net::IpAddr;

use axle_core::policy::tables::Direction;
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, TestRunner},
};

use super::{
    packet::{
        ACK, ICMP, ICMPV6, SYN, TCP, UDP, ethernet, fragment6, frame, icmp, ip, ipv4, ipv6, packet, ports, tcp,
        tcp_header, udp,
    },
    sandbox::{ACCEPT, DENY, LOCAL, Sandbox, WEB, address, families, receives, sends, set_slots},
};

/// IPv6 extension headers.
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const OPTIONS: u8 = 60;

#[test]
fn a_workload_sends_from_its_own_addresses_only() {
    let sandbox = Sandbox::enter();
    let mut plane = sandbox.web(ACCEPT, ACCEPT);
    for (own, peer) in families() {
        let (foreign, none): (IpAddr, IpAddr) =
            if own.is_ipv4() { (address("10.0.0.3"), address("0.0.0.0")) } else { (address("fd00::3"), address("::")) };
        assert!(sends(&mut plane, &udp(own, 1, peer, 2)));
        assert!(!sends(&mut plane, &udp(foreign, 1, peer, 2)));
        assert!(!sends(&mut plane, &udp(none, 1, peer, 2)));
        assert!(receives(&mut plane, &udp(foreign, 1, own, 2)), "others send from theirs");
    }
    // Its IPv4 address in an IPv6 packet is not its address.
    let (mapped, peer) = (address("::ffff:10.0.0.1"), address("fd00::2"));
    assert!(!sends(&mut plane, &udp(mapped, 1, peer, 2)) && !receives(&mut plane, &udp(peer, 1, mapped, 2)));
}

#[test]
fn the_links_own_packets_pass() {
    let sandbox = Sandbox::enter();
    let mut plane = sandbox.web(DENY, DENY);
    let (link, all) = (address("fe80::5"), address("ff02::1"));
    let arp = ethernet(0x0806, &[0; 28]);
    assert!(sends(&mut plane, &arp) && receives(&mut plane, &arp));
    for (kind, from_workload) in [(133, true), (135, true), (136, true), (134, false), (137, false)] {
        let message = packet(link, all, ICMPV6, &icmp(kind, 0, 0, &[0; 16]));
        assert!(receives(&mut plane, &message), "{kind}");
        assert_eq!(sends(&mut plane, &message), from_workload, "{kind}");
        let mut routed = message.clone();
        routed[14 + 7] = 254;
        assert!(!receives(&mut plane, &routed), "{kind} from another link");
    }
    for (kind, from_workload) in [(130, false), (131, true), (132, true), (143, true)] {
        let message = listeners(link, all, 1, kind);
        assert!(receives(&mut plane, &message), "{kind}");
        assert_eq!(sends(&mut plane, &message), from_workload, "{kind}");
    }
    let echo = packet(link, all, ICMPV6, &icmp(128, 0, 0, &[]));
    assert!(!sends(&mut plane, &echo) && !receives(&mut plane, &echo));
}

/// What would go further is judged, however it calls itself: else these types were a way past every policy.
#[test]
fn the_links_own_packets_end_with_the_link() {
    let sandbox = Sandbox::enter();
    let mut plane = sandbox.web(DENY, DENY);
    let [link, all, none, own] = ["fe80::5", "ff02::1", "::", "fd00::1"].map(address);
    for kind in [135, 136] {
        let mut sent = |from, to| sends(&mut plane, &packet(from, to, ICMPV6, &icmp(kind, 0, 0, &[0; 16])));
        for from in [own, link, none] {
            for to in ["fe80::1", "febf::1", "fd00::ffff", "ff02::1:ff00:2", "ff12::1"] {
                assert!(sent(from, address(to)), "{kind} from {from} to {to}");
            }
            for to in ["2001:db8::1", "fd00:0:0:1::1", "fec0::1", "ff05::1", "ff0e::1", "::1", "::a00:2"] {
                assert!(!sent(from, address(to)), "{kind} from {from} to {to}");
            }
        }
        assert!(!sent(address("fd00::3"), all), "{kind} in another's name");
    }
    for kind in [130, 131, 132, 143] {
        for (from, to, hop_limit) in [
            ("fe80::5", "ff02::16", 2),
            ("fe80::5", "ff02::16", 255),
            ("fe80::5", "fd00::2", 1),
            ("fd00::1", "ff02::16", 1),
        ] {
            let message = listeners(address(from), address(to), hop_limit, kind);
            assert!(!sends(&mut plane, &message), "{kind} from {from} to {to}, {hop_limit} hops");
            assert!(!receives(&mut plane, &message), "{kind} from {from} to {to}, {hop_limit} hops");
        }
    }
    assert!(sends(&mut plane, &listeners(none, address("ff05::7"), 1, 131)), "a report goes to the group it is about");
}

/// A message about multicast listeners, which comes with a router alert.
fn listeners(from: IpAddr, to: IpAddr, hop_limit: u8, kind: u8) -> Vec<u8> {
    let message = [&[ICMPV6, 0, 5, 2, 0, 0, 1, 0], &icmp(kind, 0, 0, &[0; 16])[..]].concat();
    let mut packet = frame(from, &ipv6(from, to, HOP_BY_HOP, &message));
    packet[14 + 7] = hop_limit;
    packet
}

#[test]
fn what_cannot_be_judged_is_denied() {
    let sandbox = Sandbox::enter();
    let mut plane = sandbox.web(ACCEPT, ACCEPT);
    for (own, peer) in families() {
        let whole = tcp(peer, 5_000, own, 80, SYN);
        assert!(receives(&mut plane, &whole));
        // All that the verdict is read from has to be there: up to TCP's flags. (The kernel runs no program over less
        // than an IP header.)
        let needed = whole.len() - 6;
        for length in whole.len() - 20..needed {
            assert!(!receives(&mut plane, &whole[..length]), "{length} of {needed} bytes");
        }
        assert!(receives(&mut plane, &whole[..needed]));
        for version in [0x05, 0x75] {
            let mut other = whole.clone();
            other[14] = version;
            assert!(!receives(&mut plane, &other));
        }
    }
    let (own, peer) = families()[0];
    for ethertype in [0x8100, 0x88cc, 0, 0xffff] {
        assert!(!receives(&mut plane, &ethernet(ethertype, &ip(peer, own, UDP, &ports(1, 2)))));
    }
    let mut short = udp(peer, 1, own, 2);
    short[14] = 0x44;
    assert!(!receives(&mut plane, &short), "a header of 16 bytes");
}

#[test]
fn ipv4_options_are_stepped_over() {
    let sandbox = Sandbox::enter();
    let mut plane = sandbox.web(WEB, DENY);
    let (own, peer) = families()[0];
    for words in 0..=10 {
        let options = vec![1; words * 4];
        let made = |port| frame(own, &ipv4(peer, own, TCP, 0, &options, &tcp_header(5_000, port, SYN)));
        assert!(receives(&mut plane, &made(80)), "{words}");
        assert!(!receives(&mut plane, &made(81)), "{words}");
    }
}

/// Extension headers in front of a payload, outermost first.
fn chain(headers: &[(u8, Vec<u8>)], protocol: u8, payload: &[u8]) -> (u8, Vec<u8>) {
    headers.iter().rev().fold((protocol, payload.to_vec()), |(next, rest), (kind, body)| {
        (*kind, [&[next], &body[1..], &rest[..]].concat())
    })
}

#[test]
fn ipv6_extension_headers_are_followed_within_bounds() {
    let sandbox = Sandbox::enter();
    let mut plane = sandbox.web(WEB, DENY);
    let (own, peer) = families()[1];
    let mut judged = |headers: &[(u8, Vec<u8>)], port| {
        let (next, payload) = chain(headers, TCP, &tcp_header(5_000, port, SYN));
        receives(&mut plane, &frame(own, &ipv6(peer, own, next, &payload)))
    };
    let options = |kind: u8, units: usize| {
        let mut body = vec![0; 8 + units * 8];
        body[1] = units as u8;
        (kind, body)
    };
    let mut authentication = (AUTHENTICATION, vec![0; 24]);
    authentication.1[1] = 4;
    let mut routing = options(ROUTING, 1);
    assert!(judged(&[options(HOP_BY_HOP, 0)], 80));
    assert!(!judged(&[options(HOP_BY_HOP, 0)], 81));
    assert!(judged(&[options(HOP_BY_HOP, 1), options(OPTIONS, 3), routing.clone(), authentication.clone()], 80));
    assert!(!judged(&[options(HOP_BY_HOP, 1), options(OPTIONS, 3), routing.clone(), authentication], 81));
    assert!(judged(&[(FRAGMENT, vec![0; 8])], 80), "an atomic fragment is a whole packet");
    assert!(judged(&vec![options(OPTIONS, 0); 7], 80));
    assert!(!judged(&vec![options(OPTIONS, 0); 8], 80), "more than are followed");
    assert!(!judged(&[options(OPTIONS, 255)], 80), "further than is read");
    routing.1[3] = 1;
    assert!(!judged(&[routing], 80), "it is on its way to somewhere else");
}

#[test]
fn later_fragments_go_by_their_first() {
    let sandbox = Sandbox::enter();
    for (own, peer) in families() {
        let mut plane = sandbox.web(WEB, DENY);
        let made = |port: u16, offset: u16, more: bool| {
            let payload = if offset == 0 { ports(5_000, port) } else { vec![0; 64] };
            if own.is_ipv4() {
                let word = offset | if more { 0x2000 } else { 0 };
                frame(own, &ipv4(peer, own, UDP, word, &[], &payload))
            } else {
                frame(own, &ipv6(peer, own, FRAGMENT, &fragment6(UDP, offset, more, &payload)))
            }
        };
        assert!(!receives(&mut plane, &made(80, 8, false)), "its first is not known");
        assert!(receives(&mut plane, &made(80, 0, true)));
        assert!(receives(&mut plane, &made(80, 8, true)) && receives(&mut plane, &made(80, 16, false)));
        assert!(!receives(&mut plane, &made(81, 0, true)), "a denied first");
        assert!(!receives(&mut plane, &made(81, 8, false)), "and what follows it");
        set_slots(&mut plane, DENY, DENY);
        assert!(!receives(&mut plane, &made(80, 0, true)) && !receives(&mut plane, &made(80, 8, false)));
        // Without its first, only what accepts every port will do.
        drop(plane);
        let mut plane = sandbox.web(ACCEPT, DENY);
        let mut stray = made(80, 8, false);
        let identification = if own.is_ipv4() { 14 + 4 } else { 14 + 40 + 6 };
        stray[identification] ^= 0xff;
        assert!(receives(&mut plane, &stray));
    }
}

#[test]
fn a_fragment_cannot_rewrite_tcp_flags() {
    let sandbox = Sandbox::enter();
    let mut plane = sandbox.web(ACCEPT, ACCEPT);
    let [(own4, peer4), (own6, peer6)] = families();
    assert!(!receives(&mut plane, &frame(own4, &ipv4(peer4, own4, TCP, 1, &[], &[0; 32]))));
    assert!(receives(&mut plane, &frame(own4, &ipv4(peer4, own4, TCP, 2, &[], &[0; 32]))));
    assert!(!receives(&mut plane, &frame(own6, &ipv6(peer6, own6, FRAGMENT, &fragment6(TCP, 1, true, &[0; 32])))));
    assert!(receives(&mut plane, &frame(own6, &ipv6(peer6, own6, FRAGMENT, &fragment6(TCP, 2, true, &[0; 32])))));
}

#[test]
fn no_bytes_pass_tables_that_deny() {
    let sandbox = Sandbox::enter();
    let plane = std::cell::RefCell::new(sandbox.web(DENY, DENY));
    let mut runner = TestRunner::new(Config { cases: 3_000, failure_persistence: None, ..Config::default() });
    let seeds = prop_oneof![
        Just(0x0800_u16),
        Just(0x86dd_u16),
        any::<u16>().prop_filter("ARP passes", |ethertype| *ethertype != 0x0806),
    ];
    let parts = (seeds, vec(any::<u8>(), 0..160), any::<prop::sample::Index>(), any::<u8>(), 0..4);
    let result = runner.run(&parts, |(ethertype, noise, place, value, kind)| {
        let (own, peer) = families()[usize::from(ethertype == 0x86dd)];
        // Noise, and whole packets with one byte changed.
        let mut bytes = match kind {
            0 => ethernet(ethertype, &noise),
            1 => packet(peer, own, TCP, &noise),
            2 => tcp(peer, 5_000, own, 80, ACK),
            _ => packet(own, peer, ICMP, &icmp(3, 1, 0, &ip(peer, own, UDP, &noise))),
        };
        let place = 14 + place.index(bytes.len().max(15) - 14);
        if let Some(byte) = bytes.get_mut(place) {
            *byte = value;
        }
        // The kernel runs no program over less than an IP header.
        let least = if bytes[12..14] == [0x86, 0xdd] { 14 + 40 } else { 14 + 20 };
        prop_assume!(bytes.len() >= least && !is_link(&bytes));
        for direction in [Direction::Ingress, Direction::Egress] {
            let judged = plane.borrow_mut().judge(LOCAL, direction, &bytes, 1);
            prop_assert!(!judged.expect("a verdict").accepted, "{direction:?} {bytes:02x?}");
        }
        Ok(())
    });
    result.unwrap();
}

/// Whether these may be ICMPv6 of the link's own.
fn is_link(bytes: &[u8]) -> bool {
    bytes[12..14] == [0x86, 0xdd] && bytes.get(14 + 6).is_some_and(|next| [0, 43, 44, 51, 58, 60].contains(next))
}
