//! How the programs tell whose an interface is.
use std::{net::IpAddr, process::Command, time::Duration};

use axle_core::policy::tables::{Direction, Local, Plan, Write};

use super::{
    packet::udp,
    sandbox::{ACCEPT, DENY, LOCAL, PEER4, Sandbox, address, attachment, web},
};
use crate::dataplane::{Attachment, DataPlane};

/// The loopback interface's index is 1; those of these end in the same 16 bits.
const ALIKE: [(Local, &str, u32); 2] = [(2, "alike2", 1 + (1 << 16)), (3, "alike3", 1 + (2 << 16))];

fn at(local: Local, own: IpAddr) -> Attachment {
    let interface = ALIKE.iter().find(|alike| alike.0 == local).map_or("lo", |alike| alike.1);
    Attachment { local, interface: interface.to_owned(), addresses: vec![own], ..attachment(Duration::ZERO) }
}

fn address_of(local: Local, version: u8) -> IpAddr {
    IpAddr::from([10, 0, local as u8, version])
}

/// Whether each of these sends from its own address of `version`, and from no other's and none of before.
fn assert_told_apart(plane: &mut DataPlane, locals: &[Local], version: u8) {
    let mut sends = |local, from| {
        let packet = udp(from, 1, address(PEER4), 2);
        plane.judge(local, Direction::Egress, &packet, 1).expect("a verdict").accepted
    };
    for local in locals {
        for other in [LOCAL, 2, 3] {
            assert_eq!(sends(*local, address_of(other, version)), *local == other, "{local} as {other}");
        }
        assert!(!sends(*local, address_of(*local, version - 1)), "{local} from its former address");
    }
}

#[test]
fn interfaces_whose_indices_end_alike_are_told_apart() {
    let sandbox = Sandbox::enter();
    for (_, name, index) in ALIKE {
        let link = format!("link add {name} index {index} type veth peer name {name}p");
        assert!(Command::new("ip").args(link.split(' ')).status().expect("iproute2").success());
    }
    let mut writes = web(DENY, ACCEPT);
    for (local, generation) in [(2, 0), (2, 1), (3, 0), (3, 1)] {
        writes.push(Write::Workload { local, generation, ingress: DENY, egress: ACCEPT });
    }
    let all = [LOCAL, 2, 3];
    let plan = Plan { writes, settle: Vec::new() };
    let start = |version| {
        let mut plane = DataPlane::open(sandbox.settings()).expect("a data plane");
        let attachments = all.map(|local| at(local, address_of(local, version)));
        assert!(plane.replace(&plan, &attachments).expect("tables").is_empty());
        plane
    };
    let mut plane = start(1);
    assert_told_apart(&mut plane, &all, 1);
    // More often than there are cells.
    for version in 2..30 {
        for local in all {
            plane.attach(&at(local, address_of(local, version))).unwrap();
        }
        assert_told_apart(&mut plane, &all, version);
    }
    // One goes and comes, whichever was there first.
    for local in all {
        plane.detach(local).unwrap();
        let others: Vec<Local> = all.into_iter().filter(|other| *other != local).collect();
        assert_told_apart(&mut plane, &others, 29);
        plane.attach(&at(local, address_of(local, 29))).unwrap();
        assert_told_apart(&mut plane, &all, 29);
    }
    // What they have seen goes on with the next agent.
    let seen =
        |plane: &DataPlane| plane.status().unwrap().workloads.into_iter().map(|one| one.sent).collect::<Vec<_>>();
    let before = seen(&plane);
    assert!(before.iter().all(|sent| *sent > 0));
    drop(plane);
    let mut plane = start(30);
    assert_eq!(seen(&plane), before);
    assert_told_apart(&mut plane, &all, 30);
    // And ends with the interface.
    plane.detach(2).unwrap();
    plane.attach(&at(2, address_of(2, 30))).unwrap();
    assert_eq!(seen(&plane)[1], 0);
}
