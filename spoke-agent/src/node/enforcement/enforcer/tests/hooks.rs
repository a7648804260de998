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
    enforcer.begin(world(), at(1), &[]);
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
