//! What a restart begins with, when files say less than they should.
use axle_core::{
    manifest::parse_policies,
    model::{Resource, Scope, Uid},
};
use axle_proto::{
    convert::{self, change_to_wire},
    v1,
};

use super::*;
use crate::journal::Journal;

fn policy(name: &str, revision: u64) -> Change {
    let text = format!(
        "apiVersion: axle.dev/v1alpha1\nkind: MeshNetworkPolicy\nmetadata: {{name: {name}}}\n\
         spec: {{tier: Admin, priority: 1, subject: {{namespaces: {{}}}}, ingress: [{{action: Deny, from: [{{pods: {{podSelector: {{}}}}}}]}}]}}\n"
    );
    let policy = parse_policies(&text).unwrap().remove(0);
    let mut uid = [0; 16];
    uid[..name.len()].copy_from_slice(name.as_bytes());
    Change::Put(convert::object(Resource::Policy(policy), Scope::Fleet, Uid(uid), revision))
}

fn object(change: &Change) -> Object {
    let Change::Put(policy) = change else { panic!("{change:?}") };
    policy.clone()
}

fn open(directory: &Path) -> (Policies, Vec<String>) {
    Policies::open(&directory.join("held"), &directory.join("in-force")).unwrap()
}

#[test]
fn what_is_known_to_be_held_back_stays_back_also_where_the_journal_lost_what_is_in_force() {
    let directory = tempfile::tempdir().unwrap();
    let (old, new) = (policy("p", 2), policy("p", 3));
    let (mut policies, _) = open(directory.path());
    policies.store();
    policies.loaded(std::slice::from_ref(&old));
    policies.store();
    policies.hold_all(std::slice::from_ref(&new), code::DOES_NOT_FIT, "too large");
    policies.store();
    assert_eq!(policies.trouble, None);
    drop(policies);
    // A power cut: the entries were never synced.
    std::fs::write(directory.path().join("in-force/entries"), []).unwrap();
    let (mut policies, damage) = open(directory.path());
    assert!(damage.is_empty(), "{damage:?}");
    assert_eq!(policies.begin(vec![object(&new)], &[]), (vec![old], vec![]));
}

#[test]
fn one_policy_that_this_version_cannot_read_says_nothing_about_the_others() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(&directory.path().join("in-force")).unwrap();
    let mut unreadable = change_to_wire(&policy("a", 2));
    let Some(v1::change::Change::Put(envelope)) = &mut unreadable.change else { panic!("{unreadable:?}") };
    envelope.payload = vec![0xff; 9].into();
    let entry = |changes: &[v1::Change]| {
        let mut bytes = Vec::new();
        changes.iter().for_each(|change| prost::encoding::message::encode(1, change, &mut bytes));
        bytes
    };
    journal.compact(&entry(&[unreadable, change_to_wire(&policy("b", 2))])).unwrap();
    journal.append(&entry(&[change_to_wire(&policy("c", 3))])).unwrap();
    let (mut policies, damage) = open(directory.path());
    assert!(damage.len() == 1 && damage[0].contains("/a: "), "{damage:?}");
    let (before, newer) = policies.begin(["b", "c", "d"].map(|name| object(&policy(name, 3))).to_vec(), &[]);
    assert_eq!((before, newer), (vec![policy("b", 2), policy("c", 3)], vec![policy("b", 3), policy("d", 3)]));
}
