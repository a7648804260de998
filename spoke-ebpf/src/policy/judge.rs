//! The order in which a packet is judged.
use axle_ebpf_common::policy::{Address, EGRESS, Flow, INGRESS, Interface, OWN_ADDRESSES, Outcome, Workload};
use aya_ebpf::programs::TcContext;

use crate::{
    clock, flows, fragments,
    maps::{ADOPTIONS, CONTROL, INDICES, INTERFACES, STRAYS, WORKLOADS},
    packet::{ARP, ETHERNET, ICMPV6, IPV4, IPV6, Packet, Part, TCP, interface, parse, read},
    report::{self, Case},
    tables,
    transport::{Kind, Transport, head, is_error, is_link, tcp_flags, transport},
};

/// Judges one packet that goes in `direction`, seen from its workload.
#[inline(always)]
pub fn packet(context: &TcContext, direction: u8) -> i32 {
    let mut case = Case::new(interface(context), direction);
    let outcome = match decide(context, &mut case) {
        Ok(outcome) | Err(outcome) => outcome,
    };
    report::finish(context, outcome, &case)
}

#[inline(always)]
fn decide(context: &TcContext, case: &mut Case) -> Result<Outcome, Outcome> {
    let interface = known(case.key.interface).ok_or(Outcome::NoWorkload)?;
    case.local = interface.local;
    case.seen = interface.seen;
    let ethertype: u16 = read(context, 12).ok_or(Outcome::Malformed)?;
    if ethertype == ARP {
        return Ok(Outcome::Link);
    }
    let packet = parse(context, ethertype, ETHERNET)?;
    case.set_ends(&packet);
    if packet.protocol == ICMPV6 && packet.part == Part::Whole {
        let kind: u8 = read(context, packet.transport).ok_or(Outcome::Malformed)?;
        if is_link(&packet, kind, case.direction, interface) {
            return Ok(Outcome::Link);
        }
    }
    if case.direction == EGRESS && !owns(interface, &case.key.own) {
        return Err(Outcome::ForeignSource);
    }
    let workload = WORKLOADS.get(interface.local).ok_or(Outcome::NoWorkload)?;
    let control = CONTROL.get(0).ok_or(Outcome::NoWorkload)?;
    // Read once: the rest of this packet's way sees one generation.
    case.generation = control.generation;
    let head = match packet.part {
        Part::Later => match fragments::recall(&packet, case.key.interface, case.direction) {
            Some(head) => head,
            None => return whole_row(workload, case),
        },
        _ => head(context, &packet).ok_or(Outcome::Malformed)?,
    };
    if packet.part == Part::First {
        fragments::remember(&packet, case.key.interface, case.direction, head);
    }
    let mut transport = transport(packet.protocol, head, case.direction);
    if packet.protocol == TCP && packet.part != Part::Later {
        tcp_flags(context, &packet, &mut transport).ok_or(Outcome::Malformed)?;
    }
    let transport = transport.forget().ok_or(Outcome::Malformed)?;
    case.set_ports(&transport);
    if transport.kind == Kind::Single {
        let is_error = packet.part != Part::Later && is_error(packet.protocol, (head.first >> 8) as u8);
        if is_error && is_related(context, &packet, workload, case) {
            return Ok(Outcome::Related);
        }
        return single(workload, &transport, case);
    }
    flow(workload, u64::from(control.share), &transport, case)
}

/// What the agent says of an interface.
#[inline(always)]
fn known(index: u32) -> Option<&'static Interface> {
    let cell = INDICES.get(0)?[index as u16 as usize];
    let interface = INTERFACES.get(cell)?;
    if interface.index == index {
        return Some(interface);
    }
    // SAFETY: one word.
    let cell = unsafe { STRAYS.get(&index) }?;
    INTERFACES.get(*cell).filter(|interface| interface.index == index)
}

/// A later fragment without its first: only a row that accepts every port will do.
#[inline(always)]
fn whole_row(workload: &Workload, case: &mut Case) -> Result<Outcome, Outcome> {
    case.class = tables::class(case.key.family as u8, &case.key.peer);
    if tables::accepts_all(workload, case.generation, case.direction, case.class) {
        Ok(Outcome::Accepted)
    } else {
        Err(Outcome::Fragment)
    }
}

/// Finds the peer's class and, if it is known, the flow.
#[inline(always)]
fn look_up(case: &mut Case) -> Option<*mut Flow> {
    // One branch for both: the verifier follows each to the end.
    let (class, flow) = if case.key.family == 4 {
        (tables::class4(case.key.peer.ipv4()), flows::find4(&case.key))
    } else {
        (tables::class6(&case.key.peer), flows::find6(&case.key))
    };
    case.class = class;
    flow
}

/// Judges a packet that has no flow, by its own direction.
#[inline(always)]
fn single(workload: &Workload, transport: &Transport, case: &mut Case) -> Result<Outcome, Outcome> {
    case.class = tables::class(case.key.family as u8, &case.key.peer);
    if accepted(workload, 1 << (case.direction & 1), transport, case) {
        Ok(Outcome::Accepted)
    } else {
        Err(Outcome::Denied)
    }
}

/// Judges a packet by the present policy of the direction in which its flow began.
#[inline(always)]
fn flow(workload: &Workload, share: u64, transport: &Transport, case: &mut Case) -> Result<Outcome, Outcome> {
    let known = look_up(case);
    let here = 1_u16 << (case.direction & 1);
    let origins = match known {
        // SAFETY: the pointer comes from the map.
        Some(flow) if transport.kind != Kind::Opens => unsafe { (*flow).origins },
        _ => here,
    };
    if known.is_none() && transport.kind == Kind::Continues && is_adopting(case) {
        return adopt(workload, share, transport, case);
    }
    if !accepted(workload, origins, transport, case) {
        return Err(Outcome::Denied);
    }
    match (known, transport.kind) {
        (Some(flow), Kind::Opens) => flows::open_again(flow, here),
        (Some(flow), _) => flows::note(flow, transport, origins & here != 0),
        (None, Kind::Opens | Kind::MayOpen) => {
            flows::open(&case.key, workload, share, here, 0)?;
            return Ok(Outcome::Opened);
        }
        // Without an entry, what answers it has to be accepted by its own direction.
        (None, _) => {}
    }
    Ok(Outcome::Accepted)
}

/// Whether the interface is new to the agent, so that its connections are older than the table of flows.
#[inline(always)]
fn is_adopting(case: &Case) -> bool {
    // SAFETY: one word, written once when the interface is attached.
    unsafe { ADOPTIONS.get(&case.key.interface) }.is_some_and(|until| *until > clock::now())
}

/// Makes an entry for a connection that was there before the agent. If both directions accept it, nothing tells in which
/// it began, and from then on either can cut it.
#[inline(always)]
fn adopt(workload: &Workload, share: u64, transport: &Transport, case: &mut Case) -> Result<Outcome, Outcome> {
    let mut origins = 0_u16;
    for origin in [INGRESS, EGRESS] {
        if accepted(workload, 1 << origin, transport, case) {
            origins |= 1 << origin;
        }
    }
    if origins == 0 {
        return Err(Outcome::Denied);
    }
    flows::open(&case.key, workload, share, origins, Flow::REPLIED | Flow::CONFIRMED)?;
    Ok(Outcome::Adopted)
}

/// Whether the policy of every one of `origins` accepts the flow.
#[inline(always)]
fn accepted(workload: &Workload, origins: u16, transport: &Transport, case: &mut Case) -> bool {
    for origin in [INGRESS, EGRESS] {
        if origins & 1 << origin != 0 {
            let number = transport.numbers[origin as usize];
            let answer = tables::ask(workload, case.generation, origin, case.class, transport.table, number);
            case.decided = origin;
            case.table = transport.table as u8;
            case.number = number;
            case.slot = answer.slot;
            case.port_class = answer.port_class;
            if !answer.accepted {
                return false;
            }
        }
    }
    origins != 0
}

/// Whether an ICMP error is about a flow that is accepted now: it carries the head of a packet of that flow, which went
/// the other way.
#[inline(always)]
fn is_related(context: &TcContext, packet: &Packet, workload: &Workload, case: &mut Case) -> bool {
    let ethertype = if packet.family == 4 { IPV4 } else { IPV6 };
    let Ok(inner) = parse(context, ethertype, packet.transport + 8) else { return false };
    if inner.part == Part::Later {
        return false;
    }
    let direction = if case.direction == EGRESS { INGRESS } else { EGRESS };
    let mut about = Case::new(case.key.interface, direction);
    about.generation = case.generation;
    about.set_ends(&inner);
    // A workload tells of an error only to whom the packet came from; what reaches it may come from a router on the way.
    if about.key.own != case.key.own || (case.direction == EGRESS && about.key.peer != case.key.peer) {
        return false;
    }
    let Some(head) = head(context, &inner) else { return false };
    let Some(transport) = transport(inner.protocol, head, direction).forget() else { return false };
    about.set_ports(&transport);
    let Some(flow) = look_up(&mut about) else { return false };
    // SAFETY: the pointer comes from the map.
    accepted(workload, unsafe { (*flow).origins }, &transport, &mut about)
}

/// Whether the address is one of the workload's.
#[inline(always)]
fn owns(interface: &Interface, address: &Address) -> bool {
    if address.is_unspecified() {
        return false;
    }
    for index in 0..OWN_ADDRESSES {
        if interface.own[index] == *address {
            return true;
        }
    }
    false
}
