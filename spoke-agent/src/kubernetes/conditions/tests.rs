use axle_core::{
    manifest,
    model::{Scope, Uid},
    refusal::Refusal,
};
use serde_json::json;

use super::*;

fn policy(priority: u16) -> Policy {
    let text = format!(
        "{{apiVersion: axle.dev/v1alpha1, kind: MeshNetworkPolicy, metadata: {{name: p}}, spec: {{tier: Admin, priority: \
         {priority}, subject: {{namespaces: {{}}}}, ingress: []}}}}"
    );
    manifest::parse_policies(&text).unwrap().remove(0)
}

fn object(policy: Policy) -> Object {
    convert::object(Resource::Policy(policy), Scope::Cluster(Uid([1; 16])), Uid([2; 16]), 7)
}

fn at(revision: u64) -> Position {
    Position { revision, ..Position::default() }
}

fn node(name: &str, revision: u64) -> Held {
    Held { node: name.into(), connected: true, at: Some(at(revision)), applied: None, refused: BTreeMap::new() }
}

fn told(verdict: &Verdict) -> Vec<(Truth, &str, &str)> {
    verdict.said.iter().map(|said| (said.status, &*said.reason, &*said.message)).collect()
}

#[test]
fn programmed_is_what_every_kernel_holds() {
    let (read, held) = (Ok(Arc::new(policy(1))), object(policy(1)));
    let of = |nodes: &[Held]| of_policy(&read, Some(&held), &at(9), nodes);
    let all = of(&[node("n1", 7), node("n2", 9)]);
    assert_eq!(told(&all)[1], (Truth::True, "Programmed", "2 of 2 nodes have it in their kernel"));
    let away = Held { connected: false, ..node("n3", 3) };
    let other = Held { at: Some(Position { epoch: Uid([5; 16]), ..at(99) }), ..node("n4", 0) };
    let some = of(&[node("n1", 7), node("n2", 6), away, other]);
    let message = "1 of 4 nodes have it in their kernel; not yet: n2, n3 (away), n4";
    assert_eq!((told(&some)[1], &*some.nodes), ((Truth::False, "Pending", message), "1/4"));
    assert_eq!(told(&some)[0].0, Truth::True);
    assert_eq!(told(&of(&[]))[1].0, Truth::Unknown);
    let fleets = convert::object(Resource::Policy(policy(1)), Scope::Fleet, Uid([3; 16]), 700);
    let node = Held { applied: Some(at(700)), ..node("n1", 9) };
    assert_eq!(in_kernels(&fleets, &at(705), std::slice::from_ref(&node)).nodes, "1/1", "the hub numbers the fleet's");
    assert_eq!(
        in_kernels(&fleets, &at(705), &[Held { applied: Some(at(699)), at: Some(at(900)), ..node }]).nodes,
        "0/1"
    );
    let newer = of_policy(&Ok(Arc::new(policy(2))), Some(&held), &at(9), &[]);
    assert_eq!(told(&newer)[1].1, "Pending", "the log has the version before");
}

#[test]
fn what_a_parser_or_a_node_refuses_is_not_accepted_and_says_what_stays() {
    let fault = Fault { reason: "UnknownField".into(), message: "spec: got x".into() };
    let before = object(policy(1));
    let refused = of_policy(&Err(fault.clone()), Some(&before), &at(9), &[node("n1", 9)]);
    let message = "spec: got x; the version before stays in force";
    assert_eq!(told(&refused)[0], (Truth::False, "UnknownField", message));
    assert_eq!((told(&refused)[1].1, &*refused.nodes), ("OlderVersion", "0/1"));
    let never = of_policy(&Err(fault), None, &at(9), &[node("n1", 9)]);
    assert!(told(&never)[0].2.ends_with("nothing of it is in force") && told(&never)[1].1 == "NotAccepted");

    let refusal =
        Refusal { key: before.key.clone(), revision: 7, code: "does_not_fit".into(), message: "too large".into() };
    let status = v1::NodeStatus {
        node: "n2".into(),
        connected: true,
        held: Some(convert::position_to_wire(&at(9))),
        refused: vec![convert::refusal_to_wire(&refusal)],
        ..v1::NodeStatus::default()
    };
    let by_node = of_policy(&Ok(Arc::new(policy(1))), Some(&before), &at(9), &[node("n1", 9), Held::of(&status)]);
    let message = "refused by node n2: too large; what was in force there stays";
    assert_eq!(told(&by_node)[0], (Truth::False, "DoesNotFit", message));
    assert_eq!((told(&by_node)[1].1, &*by_node.nodes), ("Refused", "1/2"));
}

#[test]
fn conditions_are_written_when_they_differ_and_keep_their_time() {
    let yes = said("Accepted", Truth::True, "Accepted", String::new());
    let first = renewed(&Value::Null, std::slice::from_ref(&yes), Some(1), "2026-01-01T00:00:00Z").unwrap();
    let status = json!({ "conditions": first });
    assert_eq!(renewed(&status, std::slice::from_ref(&yes), Some(1), "2026-01-02T00:00:00Z"), None);
    let later = renewed(&status, std::slice::from_ref(&yes), Some(2), "2026-01-02T00:00:00Z").unwrap();
    assert_eq!((&*later[0].last_transition_time, later[0].observed_generation), ("2026-01-01T00:00:00Z", Some(2)));
    let no = said("Accepted", Truth::False, "UnknownField", "x".into());
    let last = renewed(&status, &[no], Some(2), "2026-01-03T00:00:00Z").unwrap();
    assert_eq!(last[0].last_transition_time, "2026-01-03T00:00:00Z");
    assert!(said("x", Truth::True, "x", "ä".repeat(LONGEST)).message.len() <= LONGEST);
}
