//! How plans reach the kernel: whole, in order, or not at all.
use std::{
    io,
    net::IpAddr,
    os::unix::fs::PermissionsExt as _,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use axle_core::policy::tables::{Direction, Plan, Tables, Write};

use super::{
    packet::{SYN, tcp, udp},
    sandbox::{ACCEPT, DENY, LOCAL, Sandbox, WEB, address, attachment, families, limits, receives, sends, slots, web},
};
use crate::dataplane::{Attachment, DataPlane, Error, Settings, cleanup, pinned};

fn plan(writes: Vec<Write>) -> Plan {
    Plan { writes, settle: Vec::new() }
}

fn flip(generation: u8) -> Write {
    Write::Flip { generation }
}

fn workload(generation: u8, ingress: u32, egress: u32) -> Write {
    Write::Workload { local: LOCAL, generation, ingress, egress }
}

#[test]
fn a_flip_puts_both_directions_in_force_at_once() {
    let sandbox = Sandbox::enter();
    let mut plane = sandbox.web(DENY, DENY);
    let (own, peer) = families()[0];
    plane.apply(&plan(vec![workload(1, WEB, WEB)])).unwrap();
    assert!(!receives(&mut plane, &tcp(peer, 1, own, 80, SYN)) && !sends(&mut plane, &tcp(own, 1, peer, 80, SYN)));
    plane.apply(&plan(vec![flip(1)])).unwrap();
    assert!(receives(&mut plane, &tcp(peer, 1, own, 80, SYN)) && sends(&mut plane, &tcp(own, 1, peer, 80, SYN)));
    plane.apply(&plan(vec![flip(0)])).unwrap();
    assert!(!receives(&mut plane, &tcp(peer, 1, own, 80, SYN)) && !sends(&mut plane, &tcp(own, 1, peer, 80, SYN)));
}

#[test]
fn what_is_to_settle_is_written_before_the_next_plan() {
    let sandbox = Sandbox::enter();
    let mut plane = sandbox.web(DENY, DENY);
    let (own, peer) = families()[0];
    let settle = vec![Write::Address { address: peer, class: None }];
    plane.apply(&Plan { writes: vec![workload(1, WEB, DENY), flip(1)], settle: settle.clone() }).unwrap();
    assert!(receives(&mut plane, &udp(peer, 1, own, 80)), "not yet");
    plane.apply(&plan(Vec::new())).unwrap();
    assert!(!receives(&mut plane, &udp(peer, 1, own, 80)));
    plane.apply(&Plan { writes: vec![Write::Address { address: peer, class: Some(5) }], settle }).unwrap();
    assert!(receives(&mut plane, &udp(peer, 1, own, 80)));
    plane.settle().unwrap();
    assert!(!receives(&mut plane, &udp(peer, 1, own, 80)));
}

#[test]
fn a_write_that_fails_is_named_and_changes_no_verdict() {
    let sandbox = Sandbox::enter();
    let (own, peer) = families()[0];
    let writes = vec![workload(1, ACCEPT, ACCEPT), Write::Cell { block: 2, index: 9, row: 2 }, flip(1)];
    for failing in 0..writes.len() {
        let mut plane = sandbox.web(WEB, DENY);
        let mut position = 0;
        plane.set_gate(Some(Box::new(move |_| {
            position += 1;
            if position == failing + 1 { Err(io::Error::from_raw_os_error(libc::ENOMEM)) } else { Ok(()) }
        })));
        let error = plane.apply(&plan(writes.clone())).unwrap_err();
        let Error::Write { index, count, write, .. } = &error else { panic!("{error}") };
        assert_eq!((*index, *count, &**write), (failing, 3, &writes[failing]));
        assert!(error.to_string().contains("Cannot allocate memory"), "{error}");
        assert!(receives(&mut plane, &tcp(peer, 1, own, 80, SYN)));
        assert!(!receives(&mut plane, &tcp(peer, 1, own, 81, SYN)) && !sends(&mut plane, &tcp(own, 1, peer, 80, SYN)));
        // New tables mend it.
        plane.set_gate(None);
        plane.replace(&plan(web(DENY, WEB)), &[attachment(Duration::ZERO)]).unwrap();
        assert!(sends(&mut plane, &tcp(own, 2, peer, 80, SYN)) && !receives(&mut plane, &tcp(peer, 2, own, 80, SYN)));
    }
}

#[test]
fn a_replacement_that_fails_leaves_the_former_tables_in_force() {
    let sandbox = Sandbox::enter();
    let mut plane = sandbox.web(WEB, DENY);
    let (own, peer) = families()[0];
    let beyond = plan([web(ACCEPT, ACCEPT), vec![Write::Cell { block: 99, index: 0, row: 0 }]].concat());
    plane.replace(&beyond, &[attachment(Duration::ZERO)]).unwrap_err();
    let mut refuse = plan(web(ACCEPT, ACCEPT)).writes.len();
    plane.set_gate(Some(Box::new(move |_| {
        refuse -= 1;
        if refuse == 0 { Err(io::Error::other("no")) } else { Ok(()) }
    })));
    plane.replace(&plan(web(ACCEPT, ACCEPT)), &[attachment(Duration::ZERO)]).unwrap_err();
    plane.set_gate(None);
    assert!(receives(&mut plane, &tcp(peer, 1, own, 80, SYN)) && !sends(&mut plane, &tcp(own, 1, peer, 80, SYN)));
    plane.apply(&plan(slots(DENY, DENY).to_vec())).unwrap();
    assert!(!receives(&mut plane, &tcp(peer, 1, own, 80, SYN)), "and they can be written");
}

/// Which program is at the loopback interface's ingress hook, if one is.
fn at_lo() -> Option<u32> {
    let programs = aya::programs::SchedClassifier::query_tcx(1, aya::programs::TcAttachType::Ingress).unwrap().1;
    assert!(programs.len() < 2);
    programs.first().map(aya::programs::ProgramInfo::id)
}

#[test]
fn hooks_that_nobody_names_stay_until_they_are_released() {
    let sandbox = Sandbox::enter();
    let plane = sandbox.web(WEB, DENY);
    let before = at_lo();
    drop(plane);
    // An agent that does not know yet what runs here.
    let mut plane = DataPlane::open(sandbox.settings()).unwrap();
    assert!(plane.replace(&plan(web(ACCEPT, ACCEPT)), &[]).unwrap().is_empty());
    assert!(before.is_some() && at_lo() == before, "on its former tables");
    plane.release(&[attachment(Duration::ZERO)]).unwrap();
    assert_eq!(at_lo(), before, "somebody wants it");
    plane.release(&[]).unwrap();
    assert_eq!((at_lo(), pinned(&sandbox.pins()).unwrap().interfaces), (None, vec![]));
}

#[test]
fn a_hook_that_cannot_be_switched_is_named_and_the_others_are_in_force() {
    let sandbox = Sandbox::enter();
    let mut plane = sandbox.web(WEB, DENY);
    let (own, peer) = families()[0];
    let veth = ["link", "add", "other", "type", "veth", "peer", "name", "inside"];
    assert!(Command::new("ip").args(veth).status().unwrap().success());
    let other = Attachment { local: 2, interface: "other".to_owned(), ..attachment(Duration::ZERO) };
    plane.attach(&other).unwrap();
    // Something that is no link is in the place of a pinned one.
    let links = sandbox.pins().join("links");
    let index = plane.attached(2).unwrap().0;
    let (link, aside) = (links.join(format!("{index}-egress")), links.join(format!("{index}-aside")));
    std::fs::rename(&link, &aside).unwrap();
    std::fs::hard_link(sandbox.pins().join("maps/COUNTERS"), &link).unwrap();
    let failed = plane.replace(&plan(web(DENY, WEB)), &[other.clone(), attachment(Duration::ZERO)]).unwrap();
    assert!(failed.len() == 1 && failed[0].local == 2 && plane.is_stale(&other), "{failed:?}");
    assert!(sends(&mut plane, &tcp(own, 2, peer, 80, SYN)) && !receives(&mut plane, &tcp(peer, 2, own, 80, SYN)));
    plane.apply(&plan(slots(DENY, DENY).to_vec())).unwrap();
    assert!(!sends(&mut plane, &tcp(own, 3, peer, 80, SYN)), "the new tables are written from then on");
    plane.attach(&other).unwrap_err();
    std::fs::rename(&aside, &link).unwrap();
    plane.attach(&other).unwrap();
    assert!(!plane.is_stale(&other));
}

#[test]
fn whoever_takes_a_workloads_place_takes_over_its_hooks() {
    let sandbox = Sandbox::enter();
    let mut plane = sandbox.web(WEB, DENY);
    plane.attach(&Attachment { local: 2, ..attachment(Duration::ZERO) }).unwrap();
    plane.detach(LOCAL).unwrap();
    assert!(at_lo().is_some());
    plane.detach(2).unwrap();
    assert_eq!(at_lo(), None);
}

#[test]
fn a_plan_that_does_not_fit_is_refused_before_it_is_written() {
    let sandbox = Sandbox::enter();
    let mut plane = sandbox.web(DENY, DENY);
    let written = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&written);
    plane.set_gate(Some(Box::new(move |_| {
        counter.fetch_add(1, Relaxed);
        Ok(())
    })));
    let set = |address: IpAddr| Write::Address { address, class: Some(7) };
    let before = plane.read_back().unwrap();
    for (what, writes) in [
        ("rows", vec![Write::Row { row: 64, bits: Box::default() }]),
        ("blocks", vec![Write::Cell { block: 32, index: 0, row: 0 }]),
        ("slots", vec![Write::SlotBlock { slot: 16, index: 0, block: 0 }]),
        ("workloads", vec![Write::Workload { local: 8, generation: 0, ingress: 0, egress: 0 }]),
        ("classes", vec![Write::Address { address: address("10.0.0.9"), class: Some(1_024) }]),
        ("IPv4 addresses (/24)", (0..65_u8).map(|third| set(IpAddr::from([10, 9, third, 1]))).collect()),
        ("IPv6 addresses", (0..65_u16).map(|last| set(IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 9, last]))).collect()),
        (
            "IPv4 prefixes",
            (0..65_u8)
                .map(|first| Write::Prefix { prefix: format!("{first}.0.0.0/16").parse().unwrap(), class: Some(7) })
                .collect(),
        ),
    ] {
        let mut writes = writes;
        writes.insert(0, workload(1, ACCEPT, ACCEPT));
        let error = plane.apply(&plan(writes)).unwrap_err();
        assert!(matches!(error, Error::Capacity(_)) && error.to_string().contains(what), "{what}: {error}");
    }
    assert_eq!(written.load(Relaxed), 0);
    assert_eq!(plane.read_back().unwrap(), before);
}

#[test]
fn blocks_of_addresses_are_used_again() {
    let sandbox = Sandbox::enter();
    let mut plane = sandbox.web(ACCEPT, ACCEPT);
    // Twenty times as many /24s as there are blocks, each gone before the next comes.
    for round in 0..1_280_u32 {
        let address = IpAddr::from((0x0b00_0001 + (round << 12)).to_be_bytes());
        for class in [Some(9), None] {
            plane.apply(&plan(vec![Write::Address { address, class }])).unwrap();
        }
    }
    let mut tables = Tables::new(limits());
    plane.read_back().unwrap().iter().for_each(|write| tables.apply(write).unwrap());
    assert_eq!(tables.addresses(), 2, "the peers alone are left");
}

#[test]
fn an_address_that_is_denied_outright_does_not_follow_its_prefix() {
    let sandbox = Sandbox::enter();
    let mut writes = web(ACCEPT, ACCEPT);
    let set = |address, class| Write::Address { address, class };
    // Any address is accepted, the peers by an entry of their own.
    let mut plane = sandbox.plane(writes.clone());
    for (own, peer) in families() {
        for (class, passes) in [(Some(0), false), (None, true), (Some(0), false), (Some(5), true), (Some(0), false)] {
            writes.push(set(peer, class));
            plane.apply(&plan(vec![set(peer, class)])).unwrap();
            assert_eq!(receives(&mut plane, &udp(peer, 1, own, 80)), passes, "{peer} {class:?}");
            assert_eq!(sends(&mut plane, &udp(own, 1, peer, 81)), passes, "{peer} {class:?}");
            assert_eq!(plane.verify(&plan(writes.clone())).unwrap(), None);
        }
    }
}

#[test]
fn a_pin_directory_is_of_one_agent_and_of_root_alone() {
    let sandbox = Sandbox::enter();
    let plane = sandbox.web(DENY, DENY);
    assert!(matches!(DataPlane::open(sandbox.settings()), Err(Error::Locked(_))));
    assert!(matches!(cleanup(&sandbox.pins()), Err(Error::Locked(_))));
    let mode = std::fs::metadata(sandbox.pins()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    drop(plane);
    std::fs::set_permissions(sandbox.pins(), std::fs::Permissions::from_mode(0o750)).unwrap();
    let error = DataPlane::open(sandbox.settings()).err().expect("refused");
    assert!(error.to_string().contains("mode 750"), "{error}");
    let elsewhere = tempfile::tempdir_in("/run").unwrap();
    let error = DataPlane::open(Settings::new(elsewhere.path().join("axle"))).err().expect("refused");
    assert!(error.to_string().contains("mount -t bpf"), "{error}");
}

#[test]
fn cleanup_leaves_nothing() {
    let sandbox = Sandbox::enter();
    let plane = sandbox.web(DENY, DENY);
    drop(plane);
    assert_eq!(pinned(&sandbox.pins()).unwrap().interfaces, [1]);
    let cleaned = cleanup(&sandbox.pins()).unwrap();
    assert_eq!(cleaned.links, 2);
    assert!(!sandbox.pins().exists());
    assert_eq!(cleanup(&sandbox.pins()).unwrap().links, 0, "twice does no harm");
}

#[test]
fn a_workload_that_the_tables_have_no_room_for_is_denied() {
    let sandbox = Sandbox::enter();
    let mut plane = sandbox.web(ACCEPT, ACCEPT);
    let (own, peer) = families()[0];
    let local = u32::MAX;
    plane.detach(LOCAL).unwrap();
    plane.attach(&Attachment { local, ..attachment(Duration::ZERO) }).unwrap();
    for direction in [Direction::Ingress, Direction::Egress] {
        let (from, to) = if direction == Direction::Egress { (own, peer) } else { (peer, own) };
        assert!(!plane.judge(local, direction, &udp(from, 1, to, 2), 1).unwrap().accepted);
    }
}

#[test]
fn the_kernels_tables_are_compared_with_what_they_should_be() {
    let sandbox = Sandbox::enter();
    let plane = sandbox.web(WEB, DENY);
    assert_eq!(plane.verify(&plan(web(WEB, DENY))).unwrap(), None);
    let difference = plane.verify(&plan(web(ACCEPT, DENY))).unwrap().expect("another slot");
    assert!(difference.contains("workload 1, Ingress"), "{difference}");
    // Somebody else writes to the map.
    plane.set.as_ref().unwrap().tables.rows[2 * 8].store(u64::MAX, Relaxed);
    assert!(plane.verify(&plan(web(WEB, DENY))).unwrap().is_some());
}

/// Set for the child that is to be killed: before how many writes, and the pin directory.
const KILLED: &str = "AXLE_TEST_KILLED_AT";

#[test]
fn a_kill_between_two_writes_leaves_the_former_verdicts() {
    if let Ok(killed) = std::env::var(KILLED) {
        return be_killed(&killed);
    }
    let sandbox = Sandbox::enter();
    let (own, peer) = families()[0];
    drop(sandbox.web(WEB, DENY));
    // While tables are built aside, and before every write to those in force.
    let aside = web(WEB, DENY).len();
    for position in [1, aside / 2, aside, aside + 1, aside + 2, aside + 3] {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "dataplane::tests::plans::a_kill_between_two_writes_leaves_the_former_verdicts"]);
        child.env(KILLED, format!("{position} {}", sandbox.pins().display()));
        let output = child.output().unwrap();
        let signal = std::os::unix::process::ExitStatusExt::signal(&output.status);
        assert_eq!(signal, Some(libc::SIGKILL), "{}", String::from_utf8_lossy(&output.stdout));
        // What is pinned judges on; a new agent only looks at it, then takes it over.
        let programs = aya::programs::SchedClassifier::query_tcx(1, aya::programs::TcAttachType::Ingress).unwrap().1;
        assert_eq!(programs.len(), 1);
        let mut plane = sandbox.web(WEB, DENY);
        assert!(receives(&mut plane, &tcp(peer, 1, own, 80, SYN)) && !sends(&mut plane, &tcp(own, 1, peer, 80, SYN)));
    }
}

/// A child: takes over, then applies a plan, and dies before the write of this number.
fn be_killed(killed: &str) {
    let (position, pins) = killed.split_once(' ').expect("a position and a path");
    let mut left: usize = position.parse().expect("a position");
    let settings = Settings {
        limits: limits(),
        blocks4: 64,
        flows: 4_096,
        flow_share: 4_096,
        event_bytes: 1 << 16,
        ..Settings::new(pins)
    };
    let mut plane = DataPlane::open(settings).expect("the pins of the killed one before");
    plane.set_gate(Some(Box::new(move |_| {
        left -= 1;
        if left == 0 {
            // SAFETY: no pointers; it is meant to end the process here.
            unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
        }
        Ok(())
    })));
    plane.replace(&plan(web(WEB, DENY)), &[attachment(Duration::ZERO)]).expect("tables");
    plane
        .apply(&plan(vec![workload(1, ACCEPT, ACCEPT), Write::Cell { block: 2, index: 9, row: 2 }, flip(1)]))
        .expect("a plan");
}
