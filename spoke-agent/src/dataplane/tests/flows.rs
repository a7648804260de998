//! Tracked flows: what counts as a reply, what cuts it, and when there is no room.
use std::{net::IpAddr, time::Duration};

use axle_core::policy::tables::{Direction, Plan};

use super::{
    packet::{ACK, FIN, GRE, ICMP, ICMPV6, RST, SCTP, SYN, icmp, ip, packet, ping, ports, tcp, udp},
    sandbox::{
        ACCEPT, DENY, LOCAL, Sandbox, WEB, address, attachment, families, plane, receives, sends, set_slots, web,
    },
};
use crate::dataplane::{DataPlane, Outcome, Settings, Timeouts};

/// Packets with an outcome, both ways.
fn count(plane: &DataPlane, outcome: Outcome) -> u64 {
    let tallies = plane.status().expect("a status").tallies;
    tallies.iter().filter(|tally| tally.outcome == outcome).map(|tally| tally.packets).sum()
}

/// How a protocol asks and answers: from whom, from which port, to whom, to which.
type Made = fn(IpAddr, u16, IpAddr, u16) -> Vec<u8>;

fn syn(from: IpAddr, source: u16, to: IpAddr, destination: u16) -> Vec<u8> {
    tcp(from, source, to, destination, SYN)
}

fn ack(from: IpAddr, source: u16, to: IpAddr, destination: u16) -> Vec<u8> {
    tcp(from, source, to, destination, ACK)
}

fn sctp(from: IpAddr, source: u16, to: IpAddr, destination: u16) -> Vec<u8> {
    packet(from, to, SCTP, &ports(source, destination))
}

fn ask(from: IpAddr, identifier: u16, to: IpAddr, _: u16) -> Vec<u8> {
    ping(from, to, true, identifier)
}

fn answer(from: IpAddr, _: u16, to: IpAddr, identifier: u16) -> Vec<u8> {
    ping(from, to, false, identifier)
}

const PROTOCOLS: [(Made, Made); 4] = [(syn, ack), (udp, udp), (sctp, sctp), (ask, answer)];

#[test]
fn a_reply_passes_by_the_present_verdict_of_its_flows_origin() {
    let sandbox = Sandbox::enter();
    let mut plane = sandbox.web(DENY, DENY);
    for (own, peer) in families() {
        for (first, reply) in PROTOCOLS {
            // Outward: only egress policy accepts, and only port 80.
            set_slots(&mut plane, DENY, WEB);
            assert!(!receives(&mut plane, &reply(peer, 80, own, 5_000)), "a reply to nothing");
            assert!(sends(&mut plane, &first(own, 5_000, peer, 80)));
            assert!(receives(&mut plane, &reply(peer, 80, own, 5_000)));
            assert!(!receives(&mut plane, &reply(peer, 80, own, 5_001)), "another flow's reply");
            set_slots(&mut plane, ACCEPT, DENY);
            assert!(!sends(&mut plane, &first(own, 5_000, peer, 80)));
            assert!(!receives(&mut plane, &reply(peer, 80, own, 5_000)), "the flow began outward, and that is denied");
            set_slots(&mut plane, DENY, WEB);
            assert!(receives(&mut plane, &reply(peer, 80, own, 5_000)), "accepted again");
            // Inward, the same the other way round.
            set_slots(&mut plane, WEB, DENY);
            assert!(!sends(&mut plane, &reply(own, 80, peer, 6_000)), "a reply to nothing");
            assert!(receives(&mut plane, &first(peer, 6_000, own, 80)));
            assert!(sends(&mut plane, &reply(own, 80, peer, 6_000)));
            set_slots(&mut plane, DENY, ACCEPT);
            assert!(!sends(&mut plane, &reply(own, 80, peer, 6_000)), "the flow began inward, and that is denied");
        }
    }
}

#[test]
fn what_begins_a_flow_is_no_reply() {
    let sandbox = Sandbox::enter();
    for (own, peer) in families() {
        let mut plane = sandbox.web(WEB, DENY);
        assert!(receives(&mut plane, &tcp(peer, 7_000, own, 80, SYN)));
        assert!(!sends(&mut plane, &tcp(own, 80, peer, 7_000, SYN)), "TCP without ACK begins");
        assert!(sends(&mut plane, &tcp(own, 80, peer, 7_000, SYN | ACK)));
        assert!(receives(&mut plane, &ping(peer, own, true, 9)));
        assert!(!sends(&mut plane, &ping(own, peer, true, 9)), "a query is no answer");
        assert!(sends(&mut plane, &ping(own, peer, false, 9)));
    }
}

#[test]
fn a_connection_begun_from_both_ends_needs_both_policies() {
    let sandbox = Sandbox::enter();
    let (own, peer) = families()[0];
    let mut plane = sandbox.web(ACCEPT, ACCEPT);
    assert!(receives(&mut plane, &tcp(peer, 7_000, own, 80, SYN)));
    assert!(sends(&mut plane, &tcp(own, 80, peer, 7_000, SYN | ACK)));
    assert!(receives(&mut plane, &tcp(peer, 7_000, own, 80, ACK)));
    assert!(sends(&mut plane, &tcp(own, 80, peer, 7_000, SYN)));
    for (ingress, egress) in [(DENY, ACCEPT), (ACCEPT, DENY)] {
        set_slots(&mut plane, ingress, egress);
        assert!(!receives(&mut plane, &tcp(peer, 7_000, own, 80, ACK)));
        assert!(!sends(&mut plane, &tcp(own, 80, peer, 7_000, ACK)));
    }
    // Once it is reset, its ports may be used anew, from one end.
    set_slots(&mut plane, ACCEPT, ACCEPT);
    assert!(receives(&mut plane, &tcp(peer, 7_000, own, 80, RST)));
    assert!(sends(&mut plane, &tcp(own, 80, peer, 7_000, SYN)));
    set_slots(&mut plane, DENY, ACCEPT);
    assert!(receives(&mut plane, &tcp(peer, 7_000, own, 80, SYN | ACK)));
}

#[test]
fn tcp_in_mid_stream_begins_nothing() {
    let sandbox = Sandbox::enter();
    let (own, peer) = families()[0];
    let mut plane = sandbox.web(WEB, ACCEPT);
    for flags in [ACK, SYN | ACK, FIN | ACK, RST, 0] {
        assert!(sends(&mut plane, &tcp(own, 443, peer, 7_000, flags)), "egress accepts it");
        assert!(!receives(&mut plane, &tcp(peer, 7_000, own, 443, ACK)), "and that opens nothing inward");
    }
    assert_eq!(count(&plane, Outcome::Opened), 0);
}

#[test]
fn connections_from_before_the_agent_are_adopted_for_a_while() {
    let sandbox = Sandbox::enter();
    for (own, peer) in families() {
        let mut plane = DataPlane::open(sandbox.settings()).unwrap();
        let plan = Plan { writes: web(WEB, DENY), settle: Vec::new() };
        assert!(plane.replace(&plan, &[attachment(Duration::from_secs(3_600))]).unwrap().is_empty());
        let adopted = count(&plane, Outcome::Adopted);
        // Only ingress accepts: it began inward, whichever packet is seen first.
        assert!(sends(&mut plane, &tcp(own, 80, peer, 7_000, ACK)));
        assert!(receives(&mut plane, &tcp(peer, 7_000, own, 80, ACK)));
        assert!(!sends(&mut plane, &tcp(own, 443, peer, 7_001, ACK)), "neither direction accepts it");
        assert_eq!(count(&plane, Outcome::Adopted), adopted + 1);
        // Both accept: either may cut it later.
        set_slots(&mut plane, ACCEPT, ACCEPT);
        assert!(sends(&mut plane, &tcp(own, 80, peer, 7_002, ACK)));
        for (ingress, egress) in [(DENY, ACCEPT), (ACCEPT, DENY)] {
            set_slots(&mut plane, ingress, egress);
            assert!(!sends(&mut plane, &tcp(own, 80, peer, 7_002, ACK)));
            assert!(!receives(&mut plane, &tcp(peer, 7_002, own, 80, ACK)));
        }
        // A restart adopts nothing again, and keeps what was adopted; so does it keep the time.
        let plan = Plan { writes: web(WEB, DENY), settle: Vec::new() };
        plane.replace(&plan, &[attachment(Duration::from_secs(3_600))]).unwrap();
        assert!(sends(&mut plane, &tcp(own, 80, peer, 7_000, ACK)));
        plane.detach(LOCAL).unwrap();
        plane.attach(&attachment(Duration::from_nanos(1))).unwrap();
        assert!(!sends(&mut plane, &tcp(own, 80, peer, 7_003, ACK)), "the time is over");
        plane.detach(LOCAL).unwrap();
    }
}

#[test]
fn a_full_table_refuses_new_flows_and_keeps_the_living() {
    let sandbox = Sandbox::enter();
    let (own, peer) = families()[0];
    let settings = Settings { flows: 64, ..sandbox.settings() };
    let mut plane = plane(settings, web(ACCEPT, ACCEPT));
    let opened = (0..1_000).take_while(|port| sends(&mut plane, &udp(own, 10_000 + port, peer, 53))).count();
    assert_eq!(opened, 64);
    assert_eq!(count(&plane, Outcome::TableFull), 1);
    for port in 0..64 {
        assert!(sends(&mut plane, &udp(own, 10_000 + port, peer, 53)), "{port} lives");
    }
    assert_eq!(count(&plane, Outcome::Opened), 64);
}

#[test]
fn a_workload_has_no_more_than_its_share() {
    let sandbox = Sandbox::enter();
    let (own, peer) = families()[0];
    let timeouts = Timeouts { other_single: Duration::ZERO, ..Timeouts::default() };
    let settings = Settings { flow_share: 8, timeouts, ..sandbox.settings() };
    let mut plane = plane(settings, web(ACCEPT, ACCEPT));
    let opened = (0..100).take_while(|port| sends(&mut plane, &udp(own, 10_000 + port, peer, 53))).count();
    assert_eq!(opened, 8);
    assert_eq!(count(&plane, Outcome::ShareFull), 1);
    assert_eq!(plane.status().unwrap().workloads[0].flows, 8);
    // An answered flow stays, the others go, and their room is there again.
    assert!(receives(&mut plane, &udp(peer, 53, own, 10_000)));
    let collected = plane.collect().unwrap();
    assert_eq!((collected.living, collected.removed), (1, 7));
    assert_eq!(plane.status().unwrap().workloads[0].flows, 1);
    assert!(sends(&mut plane, &udp(own, 20_000, peer, 53)));
}

#[test]
fn flows_of_protocols_without_ports_are_of_their_addresses() {
    let sandbox = Sandbox::enter();
    let (own, peer) = families()[0];
    let mut plane = sandbox.web(DENY, ACCEPT);
    assert!(!receives(&mut plane, &packet(peer, own, GRE, &[0; 8])));
    assert!(sends(&mut plane, &packet(own, peer, GRE, &[0; 8])));
    assert!(receives(&mut plane, &packet(peer, own, GRE, &[0; 8])));
    assert!(!receives(&mut plane, &packet(peer, own, GRE + 1, &[0; 8])));
}

#[test]
fn an_icmp_error_passes_with_the_flow_that_it_is_about() {
    let sandbox = Sandbox::enter();
    for (own, peer) in families() {
        let (router, protocol, kinds): (IpAddr, u8, &[u8]) = if own.is_ipv4() {
            (address("172.16.0.1"), ICMP, &[3, 11, 12])
        } else {
            (address("2001:db8::99"), ICMPV6, &[1, 2, 3, 4])
        };
        let mut plane = sandbox.web(DENY, WEB);
        assert!(sends(&mut plane, &tcp(own, 5_000, peer, 80, SYN)));
        assert!(sends(&mut plane, &ping(own, peer, true, 77)));
        for kind in kinds {
            let mut error =
                |about: &[u8]| receives(&mut plane, &packet(router, own, protocol, &icmp(*kind, 0, 0, about)));
            assert!(error(&ip(own, peer, 6, &ports(5_000, 80))));
            assert!(!error(&ip(own, peer, 6, &ports(5_001, 80))), "about no flow");
            assert!(!error(&ip(peer, own, 6, &ports(80, 5_000))), "about a packet that it did not send");
            assert!(!error(&ip(own, peer, 6, &[])), "about nobody knows what");
            let query = if own.is_ipv4() { icmp(8, 0, 77, &[]) } else { icmp(128, 0, 77, &[]) };
            assert!(error(&ip(own, peer, protocol, &query)));
        }
        let related = packet(router, own, protocol, &icmp(kinds[0], 0, 0, &ip(own, peer, 6, &ports(5_000, 80))));
        set_slots(&mut plane, ACCEPT, DENY);
        assert!(receives(&mut plane, &related), "ingress accepts it as any packet");
        set_slots(&mut plane, DENY, DENY);
        assert!(!receives(&mut plane, &related), "its flow is accepted no more");
        assert!(plane.status().unwrap().tallies.iter().any(|tally| {
            tally.outcome == Outcome::Related && tally.direction == Direction::Ingress && tally.packets > 0
        }));
        drop(plane);
    }
    // And what the workload itself reports about what reached it.
    let mut plane = sandbox.web(WEB, DENY);
    let (own, peer) = families()[0];
    assert!(receives(&mut plane, &udp(peer, 5_000, own, 80)));
    let about = ip(peer, own, 17, &ports(5_000, 80));
    assert!(sends(&mut plane, &packet(own, peer, ICMP, &icmp(3, 3, 0, &about))));
    assert!(!sends(&mut plane, &packet(own, peer, ICMP, &icmp(3, 3, 0, &ip(peer, own, 17, &ports(5_001, 80))))));
}

#[test]
fn flows_outlive_the_tables() {
    let sandbox = Sandbox::enter();
    let (own, peer) = families()[0];
    let mut plane = sandbox.web(DENY, WEB);
    assert!(sends(&mut plane, &tcp(own, 5_000, peer, 80, SYN)));
    drop(plane);
    let mut plane = sandbox.web(DENY, WEB);
    assert!(receives(&mut plane, &tcp(peer, 80, own, 5_000, SYN | ACK)));
    assert_eq!(plane.status().unwrap().workloads[0].flows, 1);
    // Another size is another table; then connections are adopted as on the first day.
    drop(plane);
    let settings = Settings { flows: 512, ..sandbox.settings() };
    let mut plane = DataPlane::open(settings).unwrap();
    let plan = Plan { writes: web(DENY, WEB), settle: Vec::new() };
    plane.replace(&plan, &[attachment(Duration::from_secs(60))]).unwrap();
    assert_eq!(plane.status().unwrap().workloads[0].flows, 0);
    assert!(receives(&mut plane, &tcp(peer, 80, own, 5_000, ACK)));
    assert_eq!(count(&plane, Outcome::Adopted), 1);
}
