//! Each kind of finding, and a fleet without any.
use super::*;
use crate::{
    model::Scope,
    policy::fixture::{EAST, WEST, namespace, policy, workload, world},
};

fn fleet() -> World {
    let mut world = world();
    for home in [EAST, WEST] {
        namespace(&mut world, home, "shop", &[("team", "red")]);
    }
    workload(&mut world, EAST, "shop", "10.1.1.1", &[("app", "a")]);
    workload(&mut world, EAST, "shop", "10.1.1.2", &[("app", "b")]);
    workload(&mut world, WEST, "shop", "10.2.1.1", &[("app", "c")]);
    world
}

const SUBJECT: &str = "subject: {pods: {podSelector: {matchLabels: {app: b}}}}";

fn found(world: &World) -> Vec<(&'static str, Option<u32>)> {
    let findings = lint(world, &world.policies().collect::<Vec<_>>(), None);
    findings.iter().for_each(|one| assert!(!one.why.is_empty() && !one.fix.is_empty(), "{one:?}"));
    findings.iter().map(|one| (one.code, one.rule.map(|rule| rule.index))).collect()
}

fn one(spec: &str) -> Vec<(&'static str, Option<u32>)> {
    let mut world = fleet();
    policy(&mut world, Scope::Fleet, "p", &format!("tier: Admin, priority: 5, {spec}"));
    found(&world)
}

#[test]
fn what_is_meant_is_left_alone() {
    let rules = "ingress: [{action: Accept, from: [{pods: {podSelector: {matchLabels: {app: a}}}}], protocols: [{tcp: {destinationPort: {number: 80}}}]},
                           {action: Deny, from: [{namespaces: {}}]}]";
    assert_eq!(one(&format!("{SUBJECT}, {rules}")), []);
}

#[test]
fn names_that_lead_nowhere() {
    let subject = "subject: {clusters: {names: [eats]}, namespaces: {}}, ingress: [{action: Deny, from: [{networks: [192.0.2.0/24]}]}]";
    assert_eq!(one(subject), [("unknown_cluster", None), ("selects_nothing", None)]);
    let from = "ingress: [{action: Deny, from: [{namespaces: {matchLabels: {kubernetes.io/metadata.name: shup}}}]},
                          {action: Deny, from: [{namespaces: {}}], protocols: [{destinationNamedPort: webb}]}]";
    let codes = one(&format!("{SUBJECT}, {from}"));
    let wanted = [("unknown_namespace", Some(0)), ("peers_match_nobody", Some(0)), ("unknown_port_name", Some(1))];
    assert_eq!(codes, wanted);
    let world = {
        let mut world = fleet();
        policy(&mut world, Scope::Fleet, "p", &format!("tier: Admin, priority: 5, {SUBJECT}, {from}"));
        world
    };
    let findings = lint(&world, &world.policies().collect::<Vec<_>>(), None);
    assert!(findings[0].fix.contains("\"shop\"") && findings[2].fix.contains("\"web\""), "{findings:#?}");
}

#[test]
fn too_much_and_too_little() {
    assert_eq!(
        one("subject: {namespaces: {}}, ingress: [{action: Deny, from: [{networks: [192.0.2.0/24]}]}]"),
        [("selects_everything", None)]
    );
    assert_eq!(one(&format!("{SUBJECT}, ingress: []")), [("no_rules", None)]);
}

#[test]
fn rules_that_never_decide() {
    let rules = "ingress: [{name: all, action: Deny, from: [{namespaces: {}}]},
                           {action: Accept, from: [{pods: {podSelector: {matchLabels: {app: a}}}}]},
                           {action: Deny, from: [{pods: {podSelector: {matchLabels: {app: c}}}}]}]";
    assert_eq!(one(&format!("{SUBJECT}, {rules}")), [("shadowed", Some(1)), ("redundant", Some(2))]);
    let mut world = fleet();
    policy(&mut world, Scope::Fleet, "first", &format!("tier: Admin, priority: 1, {SUBJECT}, {rules}"));
    let later = "ingress: [{action: Accept, from: [{namespaces: {}}]}, {action: Pass, from: [{namespaces: {}}]}]";
    policy(&mut world, Scope::Fleet, "later", &format!("tier: Baseline, priority: 1, {SUBJECT}, {later}"));
    let wanted = [("shadowed", Some(1)), ("redundant", Some(2)), ("unreachable", None), ("pass_to_nobody", Some(1))];
    assert_eq!(found(&world), wanted);
}

#[test]
fn rules_of_equal_priority_that_contradict() {
    let mut world = fleet();
    for (name, action) in [("yes", "Accept"), ("no", "Deny")] {
        let rules =
            format!("ingress: [{{action: {action}, from: [{{pods: {{podSelector: {{matchLabels: {{app: a}}}}}}}}]}}]");
        policy(&mut world, Scope::Fleet, name, &format!("tier: Admin, priority: 1, {SUBJECT}, {rules}"));
    }
    let findings = lint(&world, &world.policies().collect::<Vec<_>>(), None);
    let contradiction = findings.iter().find(|one| one.code == "contradiction").unwrap();
    assert_eq!(contradiction.policy.name.as_str(), "yes", "the weaker rule is named");
    assert!(
        contradiction.why.starts_with("no ingress[0] of equal priority does the contrary, and deny wins"),
        "{contradiction:?}"
    );
}
