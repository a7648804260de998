//! The kernel's verdicts are the model's, after every single write of random sequences.
use std::{cell::Cell, net::IpAddr};

use axle_core::policy::tables::{Direction, PortTable, RowBits, Tables, Write};
use axle_ebpf_common::policy::Flow;
use aya::maps::{HashMap, MapData};
use ipnet::IpNet;
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, TestRunner},
};

use super::{
    packet::{GRE, ICMP, ICMPV6, SCTP, SYN, TCP, UDP, icmp, packet, ports, tcp_header},
    sandbox::{LOCAL, OWN4, OWN6, Sandbox, address, limits},
};
use crate::dataplane::DataPlane;

/// Addresses of packets, chosen so that prefixes nest and blocks are shared and not.
const PEERS: [&str; 10] = [
    "10.0.0.2",
    "10.0.0.255",
    "10.0.1.1",
    "10.1.0.0",
    "192.168.255.255",
    "0.0.0.1",
    "fd00::2",
    "fd00::1:2",
    "2001:db8::",
    "ffff::1",
];
const PREFIXES: [&str; 10] = [
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.0.0.0/24",
    "10.0.0.2/32",
    "192.168.255.0/25",
    "::/0",
    "fd00::/8",
    "fd00::/112",
    "2001:db8::/32",
    "fd00::2/128",
];
/// Classes at the edges of blocks.
const CLASSES: [u32; 7] = [1, 2, 255, 256, 257, 511, 1_023];
const NUMBERS: [u16; 6] = [0, 79, 80, 443, 8 << 8, u16::MAX];

#[derive(Debug, Clone)]
struct Probe {
    direction: Direction,
    peer: IpAddr,
    table: PortTable,
    number: u16,
}

impl Probe {
    /// A packet that begins a flow whose policy is asked for this number.
    fn packet(&self) -> Vec<u8> {
        let own = address(if self.peer.is_ipv4() { OWN4 } else { OWN6 });
        let (from, to) = if self.direction == Direction::Egress { (own, self.peer) } else { (self.peer, own) };
        let [kind, code] = self.number.to_be_bytes();
        let (protocol, payload) = match self.table {
            PortTable::Tcp => (TCP, tcp_header(40_000, self.number, SYN)),
            PortTable::Udp => (UDP, ports(40_000, self.number)),
            PortTable::Sctp => (SCTP, ports(40_000, self.number)),
            PortTable::Icmp => (ICMP, icmp(kind, code, 7, &[])),
            PortTable::Icmpv6 => (ICMPV6, icmp(kind, code, 7, &[])),
            PortTable::Other => (GRE, ports(0, 0)),
        };
        packet(from, to, protocol, &payload)
    }
}

fn probe() -> impl Strategy<Value = Probe> {
    let direction = prop_oneof![Just(Direction::Ingress), Just(Direction::Egress)];
    let parts = (direction, prop::sample::select(&PEERS), prop::sample::select(&PortTable::ALL[..]), number());
    let parts = parts.prop_filter("not the tables' to decide", |(_, _, table, number)| !is_above(*table, *number));
    parts.prop_map(|(direction, peer, table, number)| {
        // The numbers of other protocols are theirs: the packet has one.
        let number = if table == PortTable::Other { u16::from(GRE) } else { number };
        Probe { direction, peer: address(peer), table, number }
    })
}

/// ICMP that no table decides: errors, and what the link itself says.
fn is_above(table: PortTable, number: u16) -> bool {
    match (table, number >> 8) {
        (PortTable::Icmp, kind) => matches!(kind, 3 | 11 | 12),
        (PortTable::Icmpv6, kind) => matches!(kind, 1..=4 | 130..=137 | 143),
        _ => false,
    }
}

fn number() -> impl Strategy<Value = u16> {
    prop_oneof![4 => prop::sample::select(&NUMBERS[..]), 1 => any::<u16>()]
}

fn class() -> impl Strategy<Value = Option<u32>> {
    prop::option::weighted(0.8, prop_oneof![1 => Just(0), 9 => prop::sample::select(&CLASSES[..])])
}

/// Any write that the tables of [`limits`] could be given. Numbers are few, so that writes meet.
fn write() -> impl Strategy<Value = Write> {
    let bits = prop::array::uniform8(prop_oneof![Just(0), Just(u64::MAX), any::<u64>()]);
    let rows = vec(0_u32..6, 256).prop_map(|rows| std::array::from_fn(|index| rows[index]));
    let index = prop::sample::select(&CLASSES[..]).prop_map(|class| (class % 256) as u8);
    prop_oneof![
        (2_u32..6, bits).prop_map(|(row, bits): (_, RowBits)| Write::Row { row, bits: Box::new(bits) }),
        (2_u32..6, rows).prop_map(|(block, rows)| Write::Block { block, rows: Box::new(rows) }),
        (2_u32..6, index, 0_u32..6).prop_map(|(block, index, row)| Write::Cell { block, index, row }),
        (2_u32..5, 0_u8..4, 0_u32..6).prop_map(|(slot, index, block)| Write::SlotBlock { slot, index, block }),
        (prop::sample::select(&PEERS), class())
            .prop_map(|(peer, class)| Write::Address { address: address(peer), class }),
        (prop::sample::select(&PREFIXES), class())
            .prop_map(|(prefix, class)| Write::Prefix { prefix: prefix.parse::<IpNet>().expect("a prefix"), class }),
        (prop::sample::select(&PortTable::ALL[..]), number(), number(), 0_u16..64)
            .prop_map(|(table, a, b, class)| Write::Ports { table, first: a.min(b), last: a.max(b), class }),
        (0_u8..2, 0_u32..5, 0_u32..5).prop_map(|(generation, ingress, egress)| Write::Workload {
            local: LOCAL,
            generation,
            ingress,
            egress
        }),
        (0_u8..2).prop_map(|generation| Write::Flip { generation }),
    ]
}

/// Every write and packet that begin a case so that something is accepted at all.
fn begin() -> Vec<Write> {
    let mut writes: Vec<Write> = PREFIXES
        .iter()
        .filter(|prefix| prefix.ends_with("/0"))
        .map(|prefix| Write::Prefix { prefix: prefix.parse().expect("a prefix"), class: Some(1) })
        .collect();
    writes.extend((2..6).map(|row| Write::Row { row, bits: Box::new([0x5555_5555_5555_5555 << (row & 1); 8]) }));
    writes.extend((2..6).map(|block| Write::Block { block, rows: Box::new([block; 256]) }));
    writes.extend((2..5).flat_map(|slot| (0..4).map(move |index| Write::SlotBlock { slot, index, block: slot })));
    writes.extend([0, 1].map(|generation| Write::Workload { local: LOCAL, generation, ingress: 2, egress: 3 }));
    writes
}

/// Forgets all flows: these tests are about the tables.
pub(super) fn forget(plane: &mut DataPlane) {
    fn clear<K: aya::Pod>(flows: &mut HashMap<MapData, K, Flow>) {
        let keys: Vec<_> = flows.keys().filter_map(Result::ok).collect();
        keys.iter().for_each(|key| flows.remove(key).expect("a flow"));
    }
    let flows = &mut plane.set.as_mut().expect("tables").flows;
    clear(&mut flows.flows4);
    clear(&mut flows.flows6);
}

fn check(plane: &mut DataPlane, model: &Tables, probes: &[Probe]) -> Result<usize, TestCaseError> {
    let mut accepted = 0;
    for probe in probes {
        let wanted = model.verdict(LOCAL, probe.direction, probe.peer, probe.table, probe.number);
        let judged = plane.judge(LOCAL, probe.direction, &probe.packet(), 1).expect("a verdict");
        prop_assert_eq!(judged.accepted, wanted, "{:?}", probe);
        accepted += usize::from(wanted);
        forget(plane);
    }
    Ok(accepted)
}

#[test]
fn every_verdict_is_the_models_after_every_write() {
    let sandbox = Sandbox::enter();
    let mut runner = TestRunner::new(Config { cases: 32, failure_persistence: None, ..Config::default() });
    let (accepted, asked) = (Cell::new(0), Cell::new(0));
    let result = runner.run(&(vec(write(), 1..30), vec(probe(), 12)), |(writes, probes)| {
        let mut model = Tables::new(limits());
        let mut plane = sandbox.plane(Vec::new());
        for (position, write) in begin().iter().chain(&writes).enumerate() {
            if model.apply(write).is_err() {
                continue;
            }
            plane.set.as_mut().expect("tables").tables.write(write).expect("a write that fits");
            if position >= begin().len() {
                accepted.set(accepted.get() + check(&mut plane, &model, &probes)?);
                asked.set(asked.get() + probes.len());
            }
        }
        let mut copy = Tables::new(limits());
        for write in plane.read_back().expect("the kernel's tables") {
            copy.apply(&write).expect("a write that the model takes");
        }
        prop_assert_eq!(copy.difference(&model), None);
        check(&mut plane, &copy, &probes)?;
        prop_assert_eq!(copy.generation(), model.generation());
        Ok(())
    });
    result.unwrap();
    let (accepted, asked) = (accepted.get(), asked.get());
    // Were all denied, agreement would mean little.
    assert!(accepted * 10 > asked && accepted * 10 < asked * 9, "{accepted} of {asked} accepted");
}
