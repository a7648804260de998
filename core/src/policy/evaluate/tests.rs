use super::*;
use crate::{
    log::Change,
    model::{Kind, LabelSelector, Peer, Peers, Ports, Subject, Uid},
    policy::{
        fixture::{EAST, WEST, cluster, flow, name, namespace, policy, put_policy, tcp, workload, world},
        tables::PortTable,
    },
};

const A: &str = "10.1.1.1";
const B: &str = "10.1.1.2";
const FAR: &str = "10.2.1.1";
const ALL: &str = "subject: {namespaces: {}}";

/// `A` (app a, namespace shop) and `B` (app b, namespace back) in east, `FAR` (app a, namespace shop) in west.
fn three() -> World {
    let mut world = world();
    for home in [EAST, WEST] {
        namespace(&mut world, home, "shop", &[("team", "red")]);
        namespace(&mut world, home, "back", &[("team", "blue")]);
    }
    workload(&mut world, EAST, "shop", A, &[("app", "a")]);
    workload(&mut world, EAST, "back", B, &[("app", "b")]);
    workload(&mut world, WEST, "shop", FAR, &[("app", "a")]);
    world
}

fn verdict(world: &World, flow: Flow) -> Verdict {
    evaluate(world, flow).verdict()
}

fn reason(side: Option<Side>) -> Reason {
    side.expect("this end is a workload").ruling.reason
}

fn rule(policy: Uid, direction: Direction, index: u32) -> Reason {
    Reason::Rule(RuleId { policy, revision: 7, direction, index })
}

fn isolate(world: &mut World, scope: Scope, accept: Option<Peers>) -> Uid {
    let rule = |peers| Rule { name: String::new(), action: Action::Accept, peers, ports: Ports::Any };
    put_policy(
        world,
        scope,
        Policy {
            name: name("isolate"),
            namespace: Some(name("back")),
            tier: Tier::Namespace,
            priority: 0,
            subject: Subject::default(),
            ingress: Some(accept.map(rule).into_iter().collect()),
            egress: None,
            enforcement: Enforcement::Enforce,
            disabled: false,
            description: String::new(),
            owner: String::new(),
        },
    )
}

#[test]
fn without_policy_the_clusters_default_decides() {
    let mut world = three();
    let decision = evaluate(&world, tcp(A, B, 80));
    assert_eq!((decision.verdict(), reason(decision.egress)), (Verdict::Accept, Reason::Default));
    cluster(&mut world, WEST, "west", 2, Action::Deny);
    let decision = evaluate(&world, tcp(A, FAR, 80));
    assert_eq!(decision.egress.unwrap().ruling.verdict, Verdict::Accept, "east accepts by default");
    assert_eq!(decision.ingress.unwrap().ruling, Ruling { verdict: Verdict::Deny, reason: Reason::Default });
    let decision = evaluate(&world, tcp("192.0.2.1", "192.0.2.2", 80));
    assert_eq!((decision.egress, decision.ingress, decision.verdict()), (None, None, Verdict::Accept), "not ours");
}

#[test]
fn both_ends_must_accept_and_each_names_its_rule() {
    let mut world = three();
    let deny = policy(
        &mut world,
        Scope::Fleet,
        "deny-a",
        "tier: Admin, priority: 5, subject: {pods: {podSelector: {matchLabels: {app: b}}}}, ingress: [
          {action: Accept, from: [{namespaces: {matchLabels: {team: green}}}]},
          {action: Deny, from: [{clusters: {}, pods: {podSelector: {matchLabels: {app: a}}}}], protocols: [{tcp: {destinationPort: {range: {start: 80, end: 81}}}}]}]",
    );
    let decision = evaluate(&world, tcp(A, B, 81));
    assert_eq!(reason(decision.egress), Reason::Default);
    assert_eq!(reason(decision.ingress), rule(deny, Direction::Ingress, 1));
    assert_eq!(verdict(&world, tcp(FAR, B, 80)), Verdict::Deny, "the same identity of another cluster");
    assert_eq!(verdict(&world, tcp(A, B, 82)), Verdict::Accept, "after the range's end");
    assert_eq!(verdict(&world, flow(A, B, PortTable::Udp, 80)), Verdict::Accept, "another protocol, equal port");
    assert_eq!(verdict(&world, tcp(B, A, 80)), Verdict::Accept, "the other way is another flow");
}

#[test]
fn the_five_steps_in_their_order() {
    let to_b = |action: &str, tier: &str| {
        format!(
            "tier: {tier}, priority: 5, {ALL}, ingress: [{{action: {action}, from: [{{clusters: {{}}, namespaces: {{}}}}]}}]"
        )
    };
    let mut world = three();
    let fleet_baseline = policy(&mut world, Scope::Fleet, "fb", &to_b("Deny", "Baseline"));
    assert_eq!(reason(evaluate(&world, tcp(A, B, 1)).ingress), rule(fleet_baseline, Direction::Ingress, 0));
    let cluster_baseline = policy(&mut world, Scope::Cluster(EAST), "cb", &to_b("Accept", "Baseline"));
    assert_eq!(reason(evaluate(&world, tcp(A, B, 1)).ingress), rule(cluster_baseline, Direction::Ingress, 0));
    let isolating = isolate(&mut world, Scope::Cluster(EAST), None);
    let isolated = Reason::Isolated { policy: isolating, revision: 7, direction: Direction::Ingress };
    assert_eq!(reason(evaluate(&world, tcp(A, B, 1)).ingress), isolated, "no Baseline opens what a namespace closed");
    let cluster_admin = policy(&mut world, Scope::Cluster(EAST), "ca", &to_b("Accept", "Admin"));
    assert_eq!(reason(evaluate(&world, tcp(A, B, 1)).ingress), rule(cluster_admin, Direction::Ingress, 0));
    let fleet_admin = policy(&mut world, Scope::Fleet, "fa", &to_b("Deny", "Admin"));
    assert_eq!(reason(evaluate(&world, tcp(A, B, 1)).ingress), rule(fleet_admin, Direction::Ingress, 0));
    policy(&mut world, Scope::Fleet, "fa", &to_b("Pass", "Admin"));
    let decision = evaluate(&world, tcp(A, B, 1));
    assert_eq!(reason(decision.ingress), rule(cluster_admin, Direction::Ingress, 0), "a Pass leaves its step");
    policy(&mut world, Scope::Cluster(EAST), "ca", &to_b("Pass", "Admin"));
    assert_eq!(reason(evaluate(&world, tcp(A, B, 1)).ingress), isolated);
}

#[test]
fn a_pass_in_baseline_leads_to_the_next() {
    let mut world = three();
    let spec = |action, more| {
        format!("tier: Baseline, priority: 5, {ALL}, egress: [{{action: {action}, to: [{{namespaces: {{}}}}]}}{more}]")
    };
    let deny_all = ", {action: Deny, to: [{namespaces: {}}]}";
    policy(&mut world, Scope::Cluster(EAST), "cb", &spec("Pass", deny_all));
    assert_eq!(reason(evaluate(&world, tcp(A, B, 1)).egress), Reason::Default);
    let fleet = policy(&mut world, Scope::Fleet, "fb", &spec("Deny", ""));
    assert_eq!(reason(evaluate(&world, tcp(A, B, 1)).egress), rule(fleet, Direction::Egress, 0));
}

#[test]
fn several_baselines_by_priority_then_action_then_name() {
    let spec = |priority, action| {
        format!(
            "tier: Baseline, priority: {priority}, {ALL}, egress: [{{action: {action}, to: [{{namespaces: {{}}}}]}}]"
        )
    };
    let mut world = three();
    policy(&mut world, Scope::Fleet, "later", &spec(9, "Deny"));
    let first = policy(&mut world, Scope::Fleet, "zz", &spec(3, "Accept"));
    assert_eq!(reason(evaluate(&world, tcp(A, B, 1)).egress), rule(first, Direction::Egress, 0), "lower decides");
    let pass = policy(&mut world, Scope::Fleet, "yy", &spec(3, "Pass"));
    assert_eq!(verdict(&world, tcp(A, B, 1)), Verdict::Accept, "Pass before Accept, then default: {pass}");
    let deny = policy(&mut world, Scope::Fleet, "xx", &spec(3, "Deny"));
    assert_eq!(reason(evaluate(&world, tcp(A, B, 1)).egress), rule(deny, Direction::Egress, 0), "Deny before all");
    let by_name = policy(&mut world, Scope::Fleet, "aa", &spec(3, "Deny"));
    assert_eq!(reason(evaluate(&world, tcp(A, B, 1)).egress), rule(by_name, Direction::Egress, 0));
}

#[test]
fn equal_priority_compares_each_policys_first_match() {
    let mut world = three();
    let spec = "tier: Admin, priority: 3, subject: {namespaces: {}}, egress: [
        {action: Accept, to: [{pods: {podSelector: {matchLabels: {app: b}}}}]}, {action: Deny, to: [{clusters: {}, namespaces: {}}]}]";
    let one = policy(&mut world, Scope::Fleet, "one", spec);
    assert_eq!(reason(evaluate(&world, tcp(A, B, 1)).egress), rule(one, Direction::Egress, 0));
    let pass = "tier: Admin, priority: 3, subject: {namespaces: {}}, egress: [{action: Pass, to: [{clusters: {}, namespaces: {}}]}]";
    policy(&mut world, Scope::Fleet, "two", pass);
    assert_eq!(reason(evaluate(&world, tcp(A, B, 1)).egress), Reason::Default, "its Accept loses to the Pass");
    assert_eq!(reason(evaluate(&world, tcp(A, FAR, 1)).egress), rule(one, Direction::Egress, 1), "its Deny wins");
}

#[test]
fn networks_match_any_address_and_labels_only_workloads() {
    let mut world = three();
    let spec = |peer: &str| format!("tier: Admin, priority: 3, {ALL}, egress: [{{action: Deny, to: [{peer}]}}]");
    policy(&mut world, Scope::Fleet, "p", &spec("{networks: [{cidr: 10.2.0.0/16, except: [10.2.9.0/24]}]}"));
    assert_eq!(verdict(&world, tcp(A, FAR, 1)), Verdict::Deny, "a workload of another cluster");
    assert_eq!(verdict(&world, tcp(A, "10.2.0.1", 1)), Verdict::Deny, "a node");
    assert_eq!(verdict(&world, tcp(A, "10.2.8.8", 1)), Verdict::Deny, "an unresolved address");
    assert_eq!(verdict(&world, tcp(A, "10.2.9.8", 1)), Verdict::Accept, "in a hole");
    let not_in = "{clusters: {}, pods: {podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [zz]}]}}}";
    policy(&mut world, Scope::Fleet, "p", &spec(not_in));
    assert_eq!(verdict(&world, tcp(A, FAR, 1)), Verdict::Deny);
    assert_eq!(verdict(&world, tcp(A, "192.0.2.1", 1)), Verdict::Accept, "outside has no labels to lack");
    assert_eq!(verdict(&world, tcp(A, "10.2.0.1", 1)), Verdict::Accept, "nor has a node");
    policy(&mut world, Scope::Fleet, "p", &spec("{nodes: {matchLabels: {os: linux}}}"));
    assert_eq!(verdict(&world, tcp(A, "10.2.0.1", 1)), Verdict::Deny);
    assert_eq!(verdict(&world, tcp(A, FAR, 1)), Verdict::Accept, "a workload is no node");
}

#[test]
fn clusters_of_subjects_and_peers() {
    let deny = |clusters: &str| {
        format!("tier: Admin, priority: 3, {ALL}, egress: [{{action: Deny, to: [{{{clusters}namespaces: {{}}}}]}}]")
    };
    let mut world = three();
    policy(&mut world, Scope::Cluster(EAST), "own", &deny(""));
    assert_eq!(verdict(&world, tcp(A, B, 1)), Verdict::Deny);
    assert_eq!(verdict(&world, tcp(A, FAR, 1)), Verdict::Accept, "a cluster's policy means its own cluster");
    let cases = [
        ("clusters: {}, ", Verdict::Deny),
        ("clusters: {names: [west]}, ", Verdict::Deny),
        ("clusters: {names: [east, nowhere]}, ", Verdict::Accept),
        ("clusters: {matchLabels: {env: test}}, ", Verdict::Deny),
        ("clusters: {matchLabels: {axle.dev/region: region-2}}, ", Verdict::Deny),
        ("clusters: {matchLabels: {axle.dev/region: region-1}}, ", Verdict::Accept),
    ];
    for (clusters, wanted) in cases {
        policy(&mut world, Scope::Cluster(EAST), "own", &deny(clusters));
        assert_eq!(verdict(&world, tcp(A, FAR, 1)), wanted, "{clusters}");
    }
    let any_subject = "tier: Admin, priority: 1, subject: {clusters: {}, namespaces: {}}, ingress: [{action: Deny, from: [{clusters: {}, namespaces: {}}]}]";
    policy(&mut world, Scope::Cluster(WEST), "reach", any_subject);
    assert_eq!(verdict(&world, tcp(FAR, A, 1)), Verdict::Accept, "west has no say over workloads of east");
}

#[test]
fn named_ports_are_the_destinations() {
    let mut world = three();
    let egress = format!(
        "tier: Admin, priority: 3, {ALL}, egress: [{{action: Deny, to: [{{clusters: {{}}, namespaces: {{}}}}], protocols: [{{destinationNamedPort: web}}]}}]"
    );
    policy(&mut world, Scope::Fleet, "p", &egress);
    assert_eq!(verdict(&world, tcp(A, B, 80)), Verdict::Deny);
    assert_eq!(verdict(&world, flow(A, B, PortTable::Udp, 80)), Verdict::Accept, "web is TCP");
    assert_eq!(verdict(&world, tcp(A, B, 53)), Verdict::Accept, "dns is another name");
    assert_eq!(verdict(&world, tcp(A, "10.2.8.8", 9999)), Verdict::Deny, "unresolved: it could be its web");
    assert_eq!(verdict(&world, tcp(A, "192.0.2.1", 80)), Verdict::Accept, "outside names no ports");
    let ingress = egress.replace("egress", "ingress").replace("to:", "from:");
    policy(&mut world, Scope::Fleet, "p", &ingress);
    assert_eq!(verdict(&world, tcp("10.2.8.8", A, 80)), Verdict::Deny, "unresolved sender, known receiver");
    assert_eq!(verdict(&world, tcp("10.2.8.8", A, 9999)), Verdict::Accept);
}

#[test]
fn protocols_and_icmp() {
    let mut world = three();
    let spec = |protocols: &str| {
        format!("tier: Admin, priority: 3, {ALL}, egress: [{{action: Deny, to: [{{namespaces: {{}}}}]{protocols}}}]")
    };
    let denied = |world: &World, table, number| verdict(world, flow(A, B, table, number)) == Verdict::Deny;
    policy(&mut world, Scope::Fleet, "p", &spec(", protocols: [{icmp: {type: 8, code: 0}}, {icmpv6: {}}]"));
    assert!(denied(&world, PortTable::Icmp, 8 << 8) && !denied(&world, PortTable::Icmp, (8 << 8) + 1));
    assert!(denied(&world, PortTable::Icmpv6, 0x8001) && !denied(&world, PortTable::Tcp, 8 << 8));
    policy(&mut world, Scope::Fleet, "p", &spec(", protocols: [{sctp: {}}]"));
    assert!(denied(&world, PortTable::Sctp, 0) && !denied(&world, PortTable::Other, 47));
    policy(&mut world, Scope::Fleet, "p", &spec(""));
    assert!(denied(&world, PortTable::Other, 47) && denied(&world, PortTable::Icmp, 0), "no protocols is every one");
}

#[test]
fn unresolved_is_judged_strictest() {
    let mut world = three();
    let spec = |rules: &str| format!("tier: Admin, priority: 3, {ALL}, ingress: [{rules}]");
    let to_b = |world: &World| evaluate(world, tcp("10.2.8.8", B, 1)).ingress.unwrap().ruling;
    let app_a = "{clusters: {}, pods: {podSelector: {matchLabels: {app: a}}}}";
    let everyone = "{clusters: {}, namespaces: {}}";
    let deny = policy(&mut world, Scope::Fleet, "p", &spec(&format!("{{action: Deny, from: [{app_a}]}}")));
    assert_eq!(to_b(&world).reason, rule(deny, Direction::Ingress, 0), "it could be an a");
    policy(
        &mut world,
        Scope::Fleet,
        "p",
        &spec(&format!("{{action: Accept, from: [{app_a}]}}, {{action: Deny, from: [{everyone}]}}")),
    );
    assert_eq!(to_b(&world).reason, rule(deny, Direction::Ingress, 1), "it could be another");
    policy(
        &mut world,
        Scope::Fleet,
        "p",
        &spec(&format!("{{action: Accept, from: [{everyone}]}}, {{action: Deny, from: [{everyone}]}}")),
    );
    assert_eq!(to_b(&world).verdict, Verdict::Accept, "an empty selector matches whatever it is");
    let pass_or_deny = spec(&format!("{{action: Pass, from: [{app_a}]}}, {{action: Accept, from: [{everyone}]}}"));
    policy(&mut world, Scope::Fleet, "p", &pass_or_deny);
    assert_eq!(to_b(&world).verdict, Verdict::Accept, "both ways lead to Accept");
    isolate(&mut world, Scope::Cluster(EAST), None);
    assert_eq!(to_b(&world).verdict, Verdict::Deny, "one of both ways leads to the isolation");
    policy(
        &mut world,
        Scope::Fleet,
        "p",
        &spec("{action: Deny, from: [{pods: {podSelector: {matchLabels: {app: a}}}, clusters: {names: [east]}}]}"),
    );
    isolate(&mut world, Scope::Cluster(EAST), Some(Peers::Any));
    assert_eq!(to_b(&world).verdict, Verdict::Accept, "its cluster is known, and it is another");
}

#[test]
fn namespaces_isolate_what_they_select_but_not_from_the_own_node() {
    let mut world = three();
    let isolating = isolate(&mut world, Scope::Cluster(EAST), None);
    let isolated = Reason::Isolated { policy: isolating, revision: 7, direction: Direction::Ingress };
    assert_eq!(reason(evaluate(&world, tcp(A, B, 1)).ingress), isolated);
    assert_eq!(verdict(&world, tcp(B, A, 1)), Verdict::Accept, "the other direction is not selected");
    assert_eq!(verdict(&world, tcp(FAR, A, 1)), Verdict::Accept, "another namespace");
    assert_eq!(reason(evaluate(&world, tcp("10.1.0.1", B, 1)).ingress), Reason::OwnNode);
    assert_eq!(reason(evaluate(&world, tcp("10.2.0.1", B, 1)).ingress), isolated, "another node");
    let pods = LabelSelector { match_labels: [("app".to_owned(), "a".to_owned())].into(), ..Default::default() };
    let peer = Peer::Pods { clusters: Default::default(), namespaces: LabelSelector::default(), pods };
    isolate(&mut world, Scope::Cluster(EAST), Some(Peers::Of(vec![peer])));
    assert_eq!(reason(evaluate(&world, tcp(A, B, 1)).ingress), rule(isolating, Direction::Ingress, 0));
    assert_eq!(reason(evaluate(&world, tcp(FAR, B, 1)).ingress), isolated, "an a of another cluster is another");
}

#[test]
fn default_deny_spares_the_own_node_and_admin_rules_need_not() {
    let mut world = three();
    cluster(&mut world, EAST, "east", 1, Action::Deny);
    assert_eq!(reason(evaluate(&world, tcp("10.1.0.1", B, 1)).ingress), Reason::OwnNode);
    let spec = format!("tier: Baseline, priority: 1, {ALL}, ingress: [{{action: Deny, from: [{{nodes: {{}}}}]}}]");
    let deny = policy(&mut world, Scope::Fleet, "p", &spec);
    assert_eq!(reason(evaluate(&world, tcp("10.1.0.1", B, 1)).ingress), rule(deny, Direction::Ingress, 0));
}

#[test]
fn audit_reports_and_decides_nothing() {
    let mut world = three();
    let spec = |mode: &str| {
        format!("tier: Admin, priority: 1, {ALL}, egress: [{{action: Deny, to: [{{namespaces: {{}}}}]}}]{mode}")
    };
    let p = policy(&mut world, Scope::Fleet, "p", &spec(", enforcement: Audit"));
    let side = evaluate(&world, tcp(A, B, 1)).egress.unwrap();
    assert_eq!(side.ruling.verdict, Verdict::Accept);
    assert_eq!(side.audit, Some(Ruling { verdict: Verdict::Deny, reason: rule(p, Direction::Egress, 0) }));
    policy(&mut world, Scope::Fleet, "p", &spec(", disabled: true"));
    assert_eq!(evaluate(&world, tcp(A, B, 1)).egress.unwrap().audit, None);
    assert_eq!(verdict(&world, tcp(A, B, 1)), Verdict::Accept);
}

#[test]
fn unknown_peers_fail_closed() {
    let mut world = three();
    let unknown = |action| Policy {
        name: name("new"),
        namespace: None,
        tier: Tier::Admin,
        priority: 1,
        subject: Subject::default(),
        ingress: Some(vec![Rule {
            name: String::new(),
            action,
            peers: Peers::Of(vec![Peer::Unknown("x".into())]),
            ports: Ports::Of(vec![]),
        }]),
        egress: None,
        enforcement: Enforcement::Enforce,
        disabled: false,
        description: String::new(),
        owner: String::new(),
    };
    for (action, wanted) in
        [(Action::Accept, Reason::Default), (Action::Deny, Reason::OwnNode), (Action::Pass, Reason::OwnNode)]
    {
        let id = put_policy(&mut world, Scope::Fleet, unknown(action));
        let wanted = if wanted == Reason::OwnNode { rule(id, Direction::Ingress, 0) } else { wanted };
        let ruling = evaluate(&world, tcp(A, B, 1)).ingress.unwrap().ruling;
        assert_eq!(ruling.reason, wanted, "{action:?}");
        assert_eq!(ruling.verdict == Verdict::Accept, action == Action::Accept);
    }
}

#[test]
fn what_is_not_known_is_denied() {
    let world = three();
    assert_eq!(reason(evaluate(&world, tcp(A, "240.0.0.9", 80)).egress), Reason::ServiceAddress);
    let workload = world.workloads().find(|one| one.endpoint.addresses == [A.parse::<IpAddr>().unwrap()]).unwrap();
    let target = Target { table: PortTable::Tcp, number: 1 };
    let without = |kind: Kind| {
        let mut less = world.clone();
        let doomed: Vec<_> = world.objects(kind).map(|object| (object.key.clone(), object.uid)).collect();
        doomed.into_iter().for_each(|(key, uid)| less.apply(&Change::Delete { key, uid }));
        judge(&less, &workload, Direction::Egress, B.parse().unwrap(), target).ruling
    };
    assert_eq!(without(Kind::Cluster), Ruling { verdict: Verdict::Deny, reason: Reason::UnknownCluster });
    assert_eq!(without(Kind::Namespace), Ruling { verdict: Verdict::Deny, reason: Reason::UnknownNamespace });
    assert_eq!(without(Kind::Policy).verdict, Verdict::Accept);
    let mut homeless = world.clone();
    let object = world.objects(Kind::Namespace).find(|object| object.key.name.as_str() == "shop").unwrap();
    homeless.apply(&Change::Delete { key: object.key.clone(), uid: object.uid });
    assert_eq!(reason(evaluate(&homeless, tcp(A, B, 1)).egress), Reason::UnknownNamespace, "it is judged all the same");
}

#[test]
fn a_host_network_workload_is_its_node() {
    let mut world = three();
    workload(&mut world, EAST, "shop", "10.1.0.1", &[("app", "a")]);
    let spec = format!(
        "tier: Admin, priority: 1, {ALL}, ingress: [{{action: Deny, from: [{{namespaces: {{}}}}]}}], egress: [{{action: Deny, to: [{{namespaces: {{}}}}]}}]"
    );
    policy(&mut world, Scope::Fleet, "p", &spec);
    let decision = evaluate(&world, tcp("10.1.0.1", B, 1));
    assert_eq!(decision.egress, None, "no policy is about it");
    assert_eq!(decision.verdict(), Verdict::Accept, "and no label peer is it");
}

#[test]
fn a_relabelled_namespace_changes_the_verdict() {
    let mut world = three();
    let spec = "tier: Admin, priority: 1, subject: {namespaces: {matchLabels: {team: blue}}}, ingress: [{action: Deny, from: [{namespaces: {matchLabels: {team: red}}}]}]";
    policy(&mut world, Scope::Fleet, "p", spec);
    assert_eq!(verdict(&world, tcp(A, B, 1)), Verdict::Deny);
    namespace(&mut world, EAST, "shop", &[("team", "green")]);
    assert_eq!(verdict(&world, tcp(A, B, 1)), Verdict::Accept);
}
