//! What a change costs: the writes of each kind, counted.
use crate::{
    model::{
        Action, ClusterSelector, Endpoint, IpBlock, LabelSelector, NamedPort, Peer, Peers, PortMatch, Ports, Protocol,
        Rule, Scope, Tier,
    },
    policy::{
        compile::tests::rig::{
            ROOMY, Rig, cluster, delete, endpoint, fleet, labels, name, namespace, node, policy, put_endpoint,
            put_policy, service, uid,
        },
        tables::{Counts, Write},
    },
};

fn selects(app: &str) -> LabelSelector {
    LabelSelector { match_labels: labels(&[("app", app)]), ..Default::default() }
}

fn pods(app: &str) -> Peers {
    Peers::Of(vec![Peer::Pods {
        clusters: ClusterSelector::Any,
        namespaces: LabelSelector::default(),
        pods: selects(app),
    }])
}

fn rule(action: Action, peers: Peers, port: u16) -> Rule {
    let ports = Ports::Of(vec![PortMatch::Range { protocol: Protocol::Tcp, first: port, last: port }]);
    Rule { name: String::new(), action, peers, ports }
}

/// A namespace policy about the workloads of an app: `from` may reach `port`.
fn allow(of: &str, app: &str, from: &str, port: u16) -> crate::model::Policy {
    let rules = vec![rule(Action::Accept, pods(from), port)];
    let mut policy = policy(of, Tier::Namespace, Some(rules), None);
    policy.namespace = Some(name("a"));
    policy.subject.pods = selects(app);
    policy
}

fn remote(number: u8, app: &str) -> Endpoint {
    endpoint(number, 1, "n0", app, &[&format!("10.1.0.{number}")])
}

/// Two workloads here, `web` and `db`; `web` lets `front` in, `db` lets `web` in; one `front` elsewhere.
fn start() -> Rig {
    let mut rig = Rig::new(ROOMY);
    rig.peers = ["10.0.0.1", "10.0.0.2", "10.1.0.20", "10.1.0.21", "10.1.0.22", "10.1.9.9", "8.8.8.8"]
        .map(|text| text.parse().unwrap())
        .to_vec();
    rig.count(&[
        fleet(),
        cluster(0, Action::Accept),
        cluster(1, Action::Accept),
        namespace(0, "a", "p"),
        namespace(1, "a", "p"),
        node(0, "n0", "192.168.0.1", "u"),
        put_endpoint(10, 0, endpoint(0, 0, "n0", "web", &["10.0.0.1"])),
        put_endpoint(11, 0, endpoint(1, 0, "n0", "db", &["10.0.0.2"])),
        put_endpoint(20, 1, remote(20, "front")),
        put_policy(Scope::Fleet, 50, 1, allow("web", "web", "front", 80)),
        put_policy(Scope::Fleet, 51, 1, allow("db", "db", "web", 443)),
    ]);
    rig
}

#[test]
fn an_endpoint_of_a_known_class_costs_one_write_per_address() {
    let mut rig = start();
    let one = Counts { addresses: 1, ..Counts::default() };
    let add = put_endpoint(21, 1, remote(21, "front"));
    assert_eq!(rig.count(std::slice::from_ref(&add)), one);
    assert_eq!(rig.count(&[delete(&add)]), one);
    let both = endpoint(22, 1, "n0", "front", &["10.1.0.22", "fd00:1::22"]);
    assert_eq!(rig.count(&[put_endpoint(22, 1, both)]), Counts { addresses: 2, ..Counts::default() });
}

#[test]
fn a_new_class_costs_a_cell_in_the_slots_that_know_of_it_only() {
    let mut rig = start();
    rig.count(&[put_policy(Scope::Fleet, 52, 1, allow("more", "web", "guest", 80))]);
    let guest = put_endpoint(21, 1, remote(21, "guest"));
    let one = Counts { cells: 1, addresses: 1, ..Counts::default() };
    assert_eq!(rig.count(std::slice::from_ref(&guest)), one, "the db's slot says of guests what it says of all");
    let usage = rig.compiler.usage();
    rig.count(&[delete(&guest)]);
    assert_eq!(rig.compiler.usage().classes, usage.classes - 1);
    assert_eq!(rig.count(&[guest]), one, "its number and its row are there for the next");
    assert_eq!(rig.compiler.usage(), usage);
}

#[test]
fn other_ports_that_rules_name_already_move_no_port() {
    let mut rig = start();
    let counts = rig.count(&[put_policy(Scope::Fleet, 50, 2, allow("web", "web", "front", 443))]);
    assert_eq!((counts.ports, counts.addresses, counts.flips), (0, 0, 1), "80 goes back after the flip: {counts:?}");
    let both = |revision, ports: &[u16]| {
        let mut policy = allow("web", "web", "front", 80);
        let rules = ports.iter().map(|port| rule(Action::Accept, pods("front"), *port));
        policy.ingress = Some(rules.collect());
        put_policy(Scope::Fleet, 50, revision, policy)
    };
    rig.count(&[put_policy(Scope::Fleet, 53, 1, allow("ports", "db", "front", 8080)), both(3, &[443, 8080])]);
    let counts = rig.count(&[both(4, &[8080])]);
    assert_eq!((counts.ports, counts.flips), (0, 1), "{counts:?}");
}

#[test]
fn an_endpoint_that_nothing_selects_costs_no_write() {
    let mut rig = start();
    let add = put_endpoint(21, 1, remote(21, "stranger"));
    assert_eq!(rig.count(std::slice::from_ref(&add)).total(), 0);
    assert_eq!(rig.count(&[delete(&add)]).total(), 0);
}

#[test]
fn an_endpoint_needs_an_entry_once_a_label_rule_denies_what_is_not_known() {
    let mut rig = start();
    assert_eq!(rig.count(&[put_endpoint(21, 1, remote(21, "stranger"))]).total(), 0);
    let deny = policy("deny", Tier::Admin, Some(vec![rule(Action::Deny, pods("evil"), 80)]), None);
    // What is unresolved may be evil and is denied; the stranger and the db are known not to be (nor are the others, but
    // those have entries).
    assert_eq!(rig.count(&[put_policy(Scope::Fleet, 52, 1, deny)]).addresses, 2);
    assert_eq!(rig.count(&[put_endpoint(22, 1, remote(22, "stranger"))]).total(), 1);
}

#[test]
fn a_label_change_to_a_known_class_costs_one_write() {
    let mut rig = start();
    rig.count(&[put_endpoint(21, 1, remote(21, "stranger"))]);
    assert_eq!(rig.count(&[put_endpoint(21, 1, remote(21, "front"))]), Counts { addresses: 1, ..Counts::default() });
    assert_eq!(rig.count(&[put_endpoint(21, 1, remote(21, "stranger"))]).total(), 1);
    assert_eq!(rig.count(&[put_endpoint(21, 1, remote(21, "stranger"))]).total(), 0, "nothing new");
}

#[test]
fn a_policy_change_writes_its_own_slots_and_the_words_only() {
    let mut rig = start();
    let before: Vec<_> = rig.compiler.locals().collect();
    let change = put_policy(Scope::Fleet, 50, 2, allow("web", "web", "front", 443));
    let outcome = rig.apply(&[change]);
    rig.check();
    let after: Vec<_> = rig.compiler.locals().collect();
    let (web, db) = (after[0], after[1]);
    assert_eq!(db, before[1], "the other workload's slots are as they were");
    assert_ne!(web.ingress, before[0].ingress);
    for write in &outcome.plan.writes {
        match write {
            Write::SlotBlock { slot, .. } => assert_eq!(*slot, web.ingress),
            Write::Workload { local, generation, .. } => assert_eq!((*local, *generation), (web.local, 1)),
            Write::Block { .. } | Write::Row { .. } | Write::Flip { generation: 1 } => {}
            other => panic!("{other:?} is none of its business"),
        }
    }
    let counts = Counts::of(&outcome.plan.writes);
    assert_eq!((counts.blocks, counts.slot_blocks, counts.workloads, counts.flips), (1, 1, 1, 1));
    let settle = Counts::of(&outcome.plan.settle);
    assert_eq!((settle.workloads, settle.slot_blocks, settle.total()), (1, 1, 3), "{:?}", outcome.plan.settle);
}

#[test]
fn a_change_of_words_for_people_costs_no_write() {
    let mut rig = start();
    let mut same = allow("web", "web", "front", 80);
    same.description = "lets the front in".into();
    assert_eq!(rig.count(&[put_policy(Scope::Fleet, 50, 7, same)]).total(), 0);
}

#[test]
fn a_policy_about_nobody_here_costs_no_write() {
    let mut rig = start();
    let change = put_policy(Scope::Fleet, 53, 1, allow("other", "nobody", "front", 1234));
    assert_eq!(rig.count(std::slice::from_ref(&change)).total(), 0);
    assert_eq!(rig.count(&[delete(&change)]).total(), 0);
}

#[test]
fn what_comes_and_goes_leaves_nothing_behind() {
    let mut rig = start();
    let (usage, digest) = (rig.compiler.usage(), rig.compiler.digest());
    let mut block = allow("more", "web", "guest", 8080);
    let network = Peer::Networks(vec![IpBlock { cidr: "10.1.0.0/24".parse().unwrap(), except: vec![] }]);
    block.ingress =
        Some(vec![rule(Action::Accept, pods("guest"), 8080), rule(Action::Accept, Peers::Of(vec![network]), 9090)]);
    let mut guest = remote(21, "guest");
    guest.named_ports.push(NamedPort { name: "web".into(), protocol: Protocol::Tcp, port: 81 });
    let changes = [
        put_policy(Scope::Fleet, 54, 1, block),
        put_endpoint(21, 1, guest),
        put_endpoint(12, 0, endpoint(2, 0, "n0", "web", &["10.0.0.3"])),
    ];
    for round in 0..3 {
        rig.count(&changes);
        assert_ne!(rig.compiler.usage(), usage, "round {round}");
        assert_ne!(rig.compiler.digest(), digest, "round {round}");
        for change in &changes {
            rig.count(&[delete(change)]);
        }
        assert_eq!(rig.compiler.usage(), usage, "round {round}");
        assert_eq!(rig.compiler.digest(), digest, "round {round}");
    }
    assert_eq!(rig.compiler.locals().map(|local| local.endpoint).collect::<Vec<_>>(), [uid(10), uid(11)]);
}

/// A block that others are led to must not be changed for those that were there.
#[test]
fn a_block_that_is_due_to_change_is_nobody_elses() {
    let mut rig = Rig::new(ROOMY);
    rig.peers = ["10.1.0.20", "10.1.0.21", "10.1.0.22", "8.8.8.8"].map(|text| text.parse().unwrap()).to_vec();
    rig.count(&[fleet(), cluster(0, Action::Accept), cluster(1, Action::Accept)]);
    rig.count(&[namespace(0, "a", "p"), namespace(1, "a", "p")]);
    let x = put_endpoint(21, 1, remote(21, "x"));
    rig.count(&[put_endpoint(20, 1, remote(20, "mon")), x.clone()]);
    let callers: [&[&str]; 4] = [&["mon", "x"], &["mon", "x", "z"], &["mon", "x", "z", "w"], &["mon", "z"]];
    for (number, callers) in (0u8..).zip(callers) {
        let app = format!("s{number}");
        let address = format!("10.0.0.{}", number + 1);
        let mut policy = allow(&app, &app, "nobody", 80);
        policy.ingress = Some(callers.iter().map(|caller| rule(Action::Accept, pods(caller), 80)).collect());
        rig.count(&[
            put_endpoint(10 + number, 0, endpoint(number, 0, "n0", &app, &[&address])),
            put_policy(Scope::Fleet, 50 + number, 1, policy),
        ]);
    }
    // The number of x means nothing any more to those that knew x, and nothing special to the last.
    rig.count(&[delete(&x)]);
    rig.count(&[put_endpoint(22, 1, remote(22, "z"))]);
    rig.check_rebuild(ROOMY);
}

/// A packet with the address of a cluster's service leads to who knows whom: whoever may not send everything sends none.
#[test]
fn a_clusters_service_is_an_address_each() {
    let mut rig = start();
    rig.peers.push("10.0.9.9".parse().unwrap());
    let added = rig.count(&[service(0, &["8.8.8.8"])]);
    assert_eq!((added.addresses, added.flips), (1, 0), "{added:?}");
    let moved = rig.count(&[service(0, &["10.0.9.9"])]);
    assert_eq!((moved.addresses, moved.flips), (2, 0), "{moved:?}");
    let elsewhere = rig.count(&[service(1, &["8.8.8.8"])]);
    assert_eq!(elsewhere.addresses, 0, "another cluster's is none here");
    let gone = rig.count(&[delete(&service(0, &["10.0.9.9"]))]);
    assert_eq!(gone.addresses, 1, "{gone:?}");
}
