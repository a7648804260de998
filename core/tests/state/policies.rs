use axle_core::{
    model::{Kind, LabelSelector, Operator, Peer, Peers, Policy, Requirement, Resource, Rule, Tier},
    state::{Command, RejectionKind},
};

use super::common::{Hub, name, policy};

fn put(hub: &mut Hub, policies: Vec<Policy>) -> Result<(), axle_core::state::Rejection> {
    hub.write(Command::PutPolicies { policies }).map(drop)
}

fn only(hub: &Hub) -> (axle_core::model::Uid, u64, Policy) {
    let object = hub.state.list(Kind::Policy).next().unwrap();
    let Resource::Policy(policy) = &*object.resource else { panic!("a policy") };
    (object.uid, object.revision, policy.clone())
}

#[test]
fn a_changed_policy_keeps_its_uid_and_an_unchanged_one_writes_nothing() {
    let mut hub = Hub::new();
    put(&mut hub, vec![policy("web")]).unwrap();
    let (uid, revision, _) = only(&hub);
    put(&mut hub, vec![policy("web")]).unwrap();
    assert_eq!(only(&hub).1, revision);
    put(&mut hub, vec![Policy { priority: 11, ..policy("web") }]).unwrap();
    let (same, later, changed) = only(&hub);
    assert_eq!((same, later, changed.priority), (uid, revision + 1, 11));
    hub.write(Command::DisablePolicy { namespace: None, name: name("web"), disabled: true }).unwrap();
    assert!(only(&hub).2.disabled);
    hub.write(Command::DeletePolicy { namespace: None, name: name("web") }).unwrap();
    put(&mut hub, vec![policy("web")]).unwrap();
    assert_ne!(only(&hub).0, uid, "a deleted policy's uid is never used again");
}

#[test]
fn several_policies_are_one_revision_or_none() {
    let mut hub = Hub::new();
    put(&mut hub, vec![policy("a"), policy("b")]).unwrap();
    assert_eq!(hub.records.last().unwrap().changes.len(), 2);
    assert_eq!(hub.records.last().unwrap().action, "policy apply a, b");
    let error = put(&mut hub, vec![policy("c"), policy("c")]).unwrap_err();
    assert_eq!(error.code, "duplicate_name");
    assert_eq!(hub.keys(Kind::Policy), ["Policy/a", "Policy/b"]);
}

#[test]
fn a_selector_on_an_excluded_label_is_refused_wherever_it_hides() {
    let expression = Requirement { key: "pod-template-hash".into(), operator: Operator::Exists };
    let selector = LabelSelector { match_expressions: vec![expression], ..LabelSelector::default() };
    let peer =
        Peer::Pods { clusters: Default::default(), namespaces: LabelSelector::default(), pods: selector.clone() };
    let mut by_subject = policy("subject");
    by_subject.subject.pods = selector;
    let with_peer = |rules: &mut Option<Vec<Rule>>| {
        let rule = policy("x").ingress.unwrap().remove(0);
        *rules = Some(vec![Rule { peers: Peers::Of(vec![peer.clone()]), ..rule }]);
    };
    let (mut by_ingress, mut by_egress) = (policy("ingress"), policy("egress"));
    with_peer(&mut by_ingress.ingress);
    with_peer(&mut by_egress.egress);
    let mut hub = Hub::new();
    for policy in [by_subject, by_ingress, by_egress] {
        let error = put(&mut hub, vec![policy]).unwrap_err();
        assert_eq!(error.code, "excluded_label");
        assert!(error.to_string().contains("pod-template-hash"), "{error}");
    }
}

#[test]
fn an_unknown_policy_is_refused() {
    let mut hub = Hub::new();
    for command in [
        Command::DeletePolicy { namespace: None, name: name("web") },
        Command::DisablePolicy { namespace: None, name: name("web"), disabled: false },
    ] {
        let error = hub.write(command).unwrap_err();
        assert_eq!((error.kind, error.code), (RejectionKind::NotFound, "unknown_policy"));
    }
}

#[test]
fn policies_of_namespaces_are_others_than_those_of_none() {
    let mut hub = Hub::new();
    let of = |namespace: &str| Policy {
        namespace: Some(name(namespace)),
        tier: Tier::Namespace,
        priority: 0,
        ..policy("web")
    };
    put(&mut hub, vec![policy("web"), of("shop"), of("back")]).unwrap();
    assert_eq!(hub.records.last().unwrap().action, "policy apply web, shop/web, back/web");
    hub.write(Command::DisablePolicy { namespace: Some(name("back")), name: name("web"), disabled: true }).unwrap();
    hub.write(Command::DeletePolicy { namespace: Some(name("shop")), name: name("web") }).unwrap();
    assert_eq!(hub.records.last().unwrap().action, "policy delete shop/web");
    assert_eq!(hub.keys(Kind::Policy), ["Policy/web", "Policy/back/web"]);
    let error = hub.write(Command::DeletePolicy { namespace: Some(name("shop")), name: name("web") }).unwrap_err();
    assert!(error.to_string().contains("shop/web"), "{error}");
}

#[test]
fn what_was_checked_against_other_policies_is_refused() {
    let mut hub = Hub::new();
    let put = |of: &str| Command::PutPolicies { policies: vec![policy(of)] };
    let checked = |of: &str, at| Command::Checked { command: Box::new(put(of)), at, note: String::new() };
    hub.write(put("web")).unwrap();
    let at = hub.state.position().revision;
    hub.write(checked("db", at)).unwrap();
    let late = hub.write(checked("dns", at)).unwrap_err();
    assert_eq!((late.kind, late.code), (RejectionKind::Conflict, axle_core::state::CHANGED_SINCE));
    hub.write(checked("dns", at + 1)).unwrap();
}
