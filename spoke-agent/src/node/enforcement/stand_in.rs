//! What a node that has never had a version of a policy enforces of one that requires more than it knows. "As before" would
//! be as without it; so what it says is read as strictly as it can be.
use axle_core::{
    model::{Action, Enforcement, Envelope, Object, Peer, Peers, Policy, Ports, Resource, Rule, Tier, Uid},
    session::{ENFORCED, FEATURES},
};
use axle_proto::convert::{self, Wire};

/// No object has it.
const STAND_IN: Uid = Uid([0; 16]);

/// Whether it is no version of its policy, but stands in for one.
pub(super) fn is_stand_in(object: &Object) -> bool {
    object.uid == STAND_IN
}

/// A policy that accepts nothing that this one denies. `None` if its subject cannot be read, or if it denies nothing.
pub(super) fn stand_in(envelope: &Envelope) -> Option<Object> {
    let is_known = envelope.features.iter().all(|feature| FEATURES.contains(&feature.as_str()));
    let object = envelope.clone().open(&Wire).ok()?;
    let Resource::Policy(policy) = &*object.resource else { return None };
    let policy = if is_known { without_what_is_not_enforced(policy.clone()) } else { deny_all(policy.clone())? };
    Some(convert::object(Resource::Policy(policy), object.key.scope, STAND_IN, object.revision))
}

/// Every rule can be read: what leads to a peer that the data plane lacks leads nowhere, and denies everything.
fn without_what_is_not_enforced(mut policy: Policy) -> Policy {
    for rule in policy.ingress.iter_mut().chain(&mut policy.egress).flatten() {
        let Peers::Of(peers) = &mut rule.peers else { continue };
        for peer in peers {
            if let Some(feature) = peer.feature().filter(|feature| !ENFORCED.contains(feature)) {
                *peer = Peer::Unknown(feature.to_owned());
            }
        }
    }
    policy
}

/// What the rules say is not known, only for whom and in which direction.
fn deny_all(mut policy: Policy) -> Option<Policy> {
    if policy.disabled || policy.enforcement == Enforcement::Audit {
        return None;
    }
    for rules in [&mut policy.ingress, &mut policy.egress].into_iter().flatten() {
        let deny = Rule { name: String::new(), action: Action::Deny, peers: Peers::Any, ports: Ports::Any };
        *rules = if policy.tier == Tier::Namespace { vec![] } else { vec![deny] };
    }
    Some(policy)
}

#[cfg(test)]
mod tests {
    use axle_core::{
        manifest::parse_policies,
        model::{Key, Kind, Name, Scope},
    };

    use super::*;

    fn of(spec: &str, features: &[&str]) -> Option<Policy> {
        let text = format!(
            "apiVersion: axle.dev/v1alpha1\nkind: MeshNetworkPolicy\nmetadata: {{name: p}}\n\
             spec: {{priority: 1, subject: {{pods: {{podSelector: {{matchLabels: {{app: a}}}}}}}}, {spec}}}\n"
        );
        let policy = parse_policies(&text).unwrap().remove(0);
        let object = convert::object(Resource::Policy(policy), Scope::Fleet, Uid([7; 16]), 3);
        let features = features.iter().map(ToString::to_string).collect();
        let one = stand_in(&Envelope { features, ..object.envelope() })?;
        assert!(is_stand_in(&one) && !is_stand_in(&object) && (&one.key, one.revision) == (&object.key, 3));
        // As it lies on disk.
        let one = one.envelope().open(&Wire).unwrap();
        let Resource::Policy(policy) = (*one.resource).clone() else { panic!("a policy") };
        assert!(policy.subject.pods.matches(&[("app".to_owned(), "a".to_owned())].into()));
        Some(policy)
    }

    #[test]
    fn a_peer_that_is_not_enforced_leads_nowhere() {
        let rules = "{action: Accept, to: [{domainNames: [example.com]}, {networks: [192.0.2.0/24]}]}, {action: Deny, to: [{networks: [0.0.0.0/0]}]}";
        let policy = of(&format!("tier: Admin, egress: [{rules}]"), &["domain-names"]).unwrap();
        let egress = policy.egress.unwrap();
        assert_eq!((egress.len(), policy.ingress), (2, None));
        let Peers::Of(peers) = &egress[0].peers else { panic!("{egress:?}") };
        assert!(matches!(&peers[..], [Peer::Unknown(_), Peer::Networks(_)]), "{peers:?}");
        assert!(policy.enforcement == Enforcement::Enforce && egress[1].action == Action::Deny);
    }

    #[test]
    fn what_has_unknown_rules_denies_its_directions() {
        let rules = "ingress: [{action: Accept, from: [{networks: [192.0.2.0/24]}]}]";
        let policy = of(&format!("tier: Admin, {rules}"), &["time-of-day"]).unwrap();
        let [rule] = &policy.ingress.unwrap()[..] else { panic!("one rule") };
        assert_eq!((rule.action, &rule.peers, &rule.ports), (Action::Deny, &Peers::Any, &Ports::Any));
        assert_eq!(policy.egress, None);
        assert_eq!(of(&format!("tier: Admin, enforcement: Audit, {rules}"), &["time-of-day"]), None);
    }

    #[test]
    fn what_cannot_be_read_has_none() {
        let name = Name::new("p").unwrap();
        let key = Key { kind: Kind::Policy, scope: Scope::Fleet, namespace: String::new(), name };
        let payload = vec![0xff; 9].into();
        let features = vec!["time-of-day".to_owned()];
        assert_eq!(stand_in(&Envelope { key, uid: Uid([7; 16]), revision: 3, features, payload }), None);
    }
}
