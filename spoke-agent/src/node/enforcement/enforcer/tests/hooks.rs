//! Which hooks are held, over restarts and changes of the inventory.
use super::*;

/// A restart that does not know where workloads are attached, until the inventory is read.
#[test]
fn hooks_stay_while_the_inventory_is_incomplete() {
    let stage = Stage::enter();
    let enforcer = stage.begun(&[deny("p", "bad", 2)]);
    let hook = stage.hook();
    assert!(hook.is_some());
    drop(enforcer);
    let mut enforcer = stage.enforcer();
    enforcer.place(Interfaces::new(), false);
    enforcer.begin(world(), at(1), &[], &[]);
    enforcer.attach();
    assert_eq!(stage.hook(), hook, "whoever runs there stays protected");
    assert!(!enforcer.enforced().workloads[0].enforced);
    enforcer.place([(SERVER, "lo".to_owned())].into(), true);
    assert!(stage.hook() == hook && enforcer.enforced().workloads[0].enforced);
    let server = endpoint(2, "n1", "server", "10.0.0.2");
    enforcer.place(Interfaces::new(), true);
    assert_eq!(stage.hook(), hook, "not before the log says that it is gone");
    enforcer.revise(&revision(2, &[Change::Delete { key: server.key, uid: server.uid }]));
    assert_eq!(stage.hook(), None);
}

#[test]
fn a_workload_that_takes_anothers_place_is_protected_all_the_time() {
    let stage = Stage::enter();
    let mut enforcer = stage.begun(&[]);
    let hook = stage.hook();
    let (old, new) = (endpoint(2, "n1", "server", "10.0.0.2"), endpoint(9, "n1", "server", "10.0.0.2"));
    enforcer.place([(new.uid, "lo".to_owned())].into(), true);
    assert_eq!(stage.hook(), hook);
    enforcer.revise(&revision(2, &[Change::Delete { key: old.key, uid: old.uid }, Change::Put(new)]));
    assert!(hook.is_some() && stage.hook() == hook);
    assert!(enforcer.enforced().workloads[0].enforced);
}

/// Whoever may write on the BPF file system can end enforcement: that is seen at once, and mended.
#[test]
fn hooks_that_somebody_took_away_are_attached_again() {
    let stage = Stage::enter();
    let mut enforcer = stage.begun(&[deny("p", "bad", 2)]);
    let pins = stage.sandbox.pins().to_owned();
    for lost in [pins.join("links/1-ingress"), pins.join("links"), pins.clone()] {
        let hook = stage.hook();
        if lost.is_dir() {
            std::fs::remove_dir_all(&lost).unwrap()
        } else {
            std::fs::remove_file(&lost).unwrap()
        }
        enforcer.tick(Instant::now());
        assert!(pins.join("links/1-ingress").exists() && stage.hook().is_some(), "without {lost:?}");
        assert!(lost.ends_with("1-ingress") || stage.hook() != hook);
        let enforced = enforcer.enforced();
        assert!(enforced.workloads[0].enforced && enforced.applied == Some(at(1)), "{enforced:?}");
        assert!(!admits(&enforcer, "10.0.0.4") && admits(&enforcer, "10.0.0.3"));
    }
    assert!(DataPlane::open(stage.sandbox.settings()).is_err(), "the new directory is locked too");
}

#[test]
fn a_hook_on_former_tables_is_not_acknowledged() {
    let stage = Stage::enter();
    let enforcer = stage.begun(&[]);
    drop(enforcer);
    let links = stage.sandbox.pins().join("links");
    std::fs::rename(links.join("1-egress"), links.join("1-aside")).unwrap();
    std::fs::hard_link(stage.sandbox.pins().join("maps/COUNTERS"), links.join("1-egress")).unwrap();
    let mut enforcer = stage.begun(&[deny("p", "bad", 2)]);
    let enforced = enforcer.enforced();
    assert_eq!(enforced.applied, None);
    assert!(enforced.workloads[0].reason.contains("policy of before"), "{enforced:?}");
    enforcer.revise(&revision(3, &[]));
    assert_eq!(enforcer.enforced().applied, None);
    std::fs::rename(links.join("1-aside"), links.join("1-egress")).unwrap();
    enforcer.attach();
    assert_eq!(enforcer.enforced().applied, Some(at(3)));
    assert!(enforcer.enforced().workloads[0].enforced);
}

#[test]
fn more_addresses_than_the_programs_know_leave_a_workload_protected() {
    let stage = Stage::enter();
    let mut many = endpoint(2, "n1", "server", "10.0.0.2");
    let Resource::Endpoint(mut endpoint) = (*many.resource).clone() else { unreachable!() };
    endpoint.addresses = (10..20).map(|last| IpAddr::from([10, 0, 0, last])).collect();
    many = convert::object(Resource::Endpoint(endpoint), many.key.scope, many.uid, 2);
    let mut enforcer = stage.begun(&[]);
    enforcer.revise(&revision(2, &[Change::Put(many)]));
    let workload = &enforcer.enforced().workloads[0];
    assert!(workload.enforced && workload.reason.contains("8 addresses"), "{workload:?}");
}

/// Makes a veth of this name and index, and takes the one of before away.
fn fresh_veth(name: &str, index: u32) {
    let ip = |text: String| std::process::Command::new("ip").args(text.split(' ')).output().unwrap();
    ip(format!("link delete {name}"));
    let made = ip(format!("link add {name} index {index} type veth peer name {name}-peer"));
    assert!(made.status.success(), "{made:?}");
}

fn programs_at(index: u32) -> [usize; 2] {
    use aya::programs::{SchedClassifier, TcAttachType};
    [TcAttachType::Ingress, TcAttachType::Egress].map(|hook| SchedClassifier::query_tcx(index, hook).unwrap().1.len())
}

/// As a runtime does that makes a pod's interface anew, and the kernel if nobody else took the index.
#[test]
fn an_interface_made_anew_with_its_index_is_hooked_again() {
    let stage = Stage::enter();
    let index = 77;
    fresh_veth("server", index);
    let mut enforcer = stage.begun(&[]);
    enforcer.place([(SERVER, "server".to_owned())].into(), true);
    assert_eq!(programs_at(index), [1, 1]);
    fresh_veth("server", index);
    assert_eq!(programs_at(index), [0, 0]);
    enforcer.attach();
    assert_eq!(programs_at(index), [1, 1], "by the tick");
    let before = std::fs::metadata(stage.sandbox.pins().join("links/77-egress")).unwrap();
    enforcer.attach();
    let after = std::fs::metadata(stage.sandbox.pins().join("links/77-egress")).unwrap();
    let inode = |data: &std::fs::Metadata| std::os::unix::fs::MetadataExt::ino(data);
    assert_eq!(inode(&before), inode(&after), "once");
    fresh_veth("server", index);
    enforcer.mend();
    assert_eq!(programs_at(index), [1, 1], "by new tables");
    assert!(enforcer.enforced().workloads[0].enforced);
}
