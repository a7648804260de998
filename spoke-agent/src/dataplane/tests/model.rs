//! The kernel against the model.
use std::net::IpAddr;

use axle_core::policy::tables::{Direction, Write};

use super::{
    packet::{SYN, TCP, packet, tcp},
    sandbox::{LOCAL, Sandbox},
};

#[test]
fn smoke() {
    let sandbox = Sandbox::enter();
    let own: IpAddr = "10.0.0.1".parse().unwrap();
    let peer: IpAddr = "10.0.0.2".parse().unwrap();
    let mut plane = sandbox.plane(
        vec![
            Write::Address { address: peer, class: Some(5) },
            Write::Workload { local: LOCAL, generation: 0, ingress: 1, egress: 1 },
        ],
        &[own],
    );
    let judged = plane.judge(LOCAL, Direction::Ingress, &packet(peer, own, TCP, &tcp(1000, 80, SYN)), 1).unwrap();
    assert!(judged.accepted);
    for _ in 0..3 {
        let judged =
            plane.judge(LOCAL, Direction::Ingress, &packet(peer, own, TCP, &tcp(1000, 80, 16)), 1_000_000).unwrap();
        println!("{judged:?}");
    }
    println!("{:?}", plane.status());
}
