//! What the agent hears of it.
use std::time::{Duration, Instant};

use axle_core::policy::tables::{Direction, PortTable};

use super::{
    packet::{ACK, SYN, ping, tcp, udp},
    sandbox::{ACCEPT, DENY, LOCAL, PEER, Sandbox, WEB, families, plane, receives, sends, web},
};
use crate::dataplane::{Outcome, Settings, bypass, pinned};

#[test]
fn events_say_what_was_decided_and_by_what() {
    let sandbox = Sandbox::enter();
    let mut plane = sandbox.web(WEB, DENY);
    let mut events = plane.events().unwrap();
    for (own, peer) in families() {
        assert!(receives(&mut plane, &tcp(peer, 5_000, own, 80, SYN)));
        assert!(sends(&mut plane, &tcp(own, 80, peer, 5_000, SYN | ACK)), "a reply makes no event");
        let event = events.next().expect("an event of the new flow");
        assert_eq!(
            (event.outcome, event.direction, event.decided),
            (Outcome::Opened, Direction::Ingress, Direction::Ingress)
        );
        assert_eq!((event.own, event.peer, event.own_port, event.peer_port), (own, peer, 80, 5_000));
        assert_eq!((event.local, event.class, event.slot, event.port_class), (LOCAL, PEER, WEB, 1));
        assert_eq!((event.protocol, event.table, event.number), (6, PortTable::Tcp, 80));
        assert!(!sends(&mut plane, &udp(own, 1_000, peer, 53)));
        let event = events.next().expect("an event of the denied packet");
        assert_eq!(
            (event.outcome, event.direction, event.decided),
            (Outcome::Denied, Direction::Egress, Direction::Egress)
        );
        assert_eq!((event.table, event.number, event.slot, event.bypassed), (PortTable::Udp, 53, DENY, false));
        assert!(!sends(&mut plane, &ping(own, peer, true, 5)));
        let event = events.next().expect("an event of the denied query");
        let asked = if own.is_ipv4() { (PortTable::Icmp, 8 << 8) } else { (PortTable::Icmpv6, 128 << 8) };
        assert_eq!((event.table, event.number), asked);
        assert_eq!(events.next(), None);
    }
    // Whoever reads goes on over new tables.
    drop(plane);
    let mut plane = sandbox.web(DENY, DENY);
    let (own, peer) = families()[0];
    assert!(!receives(&mut plane, &tcp(peer, 5_000, own, 80, ACK)));
    let event = events.next().expect("an event of the new tables");
    assert_eq!((event.outcome, event.decided, event.slot), (Outcome::Denied, Direction::Ingress, DENY));
}

#[test]
fn events_have_a_rate_and_what_is_over_it_is_counted() {
    let sandbox = Sandbox::enter();
    let settings = Settings { denied_events: 10, ..sandbox.settings() };
    let mut plane = plane(settings, web(DENY, DENY));
    let mut events = plane.events().unwrap();
    let (own, peer) = families()[0];
    plane.judge(LOCAL, Direction::Ingress, &udp(peer, 1, own, 2), 10_000).unwrap();
    let told = std::iter::from_fn(|| events.next()).count() as u64;
    let status = plane.status().unwrap();
    assert!(told > 0 && told < 1_000, "{told}");
    assert_eq!(told + status.events_suppressed + status.events_lost, 10_000);
}

#[test]
fn a_bypass_lets_denied_packets_pass_and_ends() {
    let sandbox = Sandbox::enter();
    let mut plane = sandbox.web(DENY, DENY);
    let mut events = plane.events().unwrap();
    let (own, peer) = families()[0];
    let denied = udp(peer, 1, own, 2);
    assert!(!receives(&mut plane, &denied));
    plane.bypass(Some(Duration::from_secs(3_600))).unwrap();
    assert!(receives(&mut plane, &denied));
    assert!(events.next().is_some_and(|event| !event.bypassed));
    assert!(events.next().is_some_and(|event| event.bypassed && event.outcome == Outcome::Denied));
    assert!(plane.status().unwrap().bypass.is_some_and(|left| left > Duration::from_secs(3_500)));
    plane.bypass(Some(Duration::from_millis(1))).unwrap();
    let start = Instant::now();
    while receives(&mut plane, &denied) {
        assert!(start.elapsed() < Duration::from_secs(60), "its time is over");
    }
    // It needs no agent, and outlives one.
    drop(plane);
    bypass(&sandbox.pins(), Some(Duration::from_secs(3_600))).unwrap();
    assert!(pinned(&sandbox.pins()).unwrap().bypass.is_some());
    let mut plane = sandbox.web(DENY, DENY);
    assert!(receives(&mut plane, &denied));
    plane.bypass(None).unwrap();
    assert!(!receives(&mut plane, &denied) && plane.status().unwrap().bypass.is_none());
}

#[test]
fn hooks_are_proven_by_what_they_have_seen() {
    let sandbox = Sandbox::enter();
    let mut plane = sandbox.web(ACCEPT, DENY);
    let (own, peer) = families()[0];
    let workload = |plane: &crate::dataplane::DataPlane| plane.status().unwrap().workloads[0].clone();
    assert!(!workload(&plane).is_proven());
    assert!(receives(&mut plane, &udp(peer, 1, own, 2)));
    assert!(!workload(&plane).is_proven());
    assert!(!sends(&mut plane, &udp(own, 3, peer, 4)));
    let seen = workload(&plane);
    assert!(seen.is_proven());
    assert_eq!((seen.received, seen.received_denied, seen.sent, seen.sent_denied), (1, 0, 1, 1));
    assert_eq!((seen.local, seen.interface.as_str()), (LOCAL, "lo"));
    // The proof outlives the tables.
    drop(plane);
    assert!(workload(&sandbox.web(DENY, DENY)).is_proven());
}

#[test]
fn the_programs_leave_the_verifier_room() {
    let sandbox = Sandbox::enter();
    let plane = sandbox.web(DENY, DENY);
    for (name, program) in plane.set.as_ref().unwrap().object.programs() {
        let info = program.info().unwrap();
        let steps = info.verified_instruction_count().unwrap();
        assert!(steps < 200_000, "{name}: the verifier takes {steps} steps of the 1,000,000 that it allows");
    }
}
