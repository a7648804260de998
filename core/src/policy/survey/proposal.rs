//! A change of policies that nobody has made yet.
use crate::{
    codec::Codec,
    log::Change,
    manifest::suggest,
    model::{Kind, Object, Policy, PolicyTest, Resource, Scope, Uid},
    policy::{Misunderstood, World, evaluate::Written},
};

/// What applying and deleting policies of the fleet, those by title, would write. What is new has no uid yet: its name stands for it.
///
/// # Errors
/// A policy to delete is not there; a similar name is suggested.
pub fn propose(
    world: &World,
    policies: &[Policy],
    deleted: &[String],
    codec: &dyn Codec,
) -> Result<Vec<Change>, Vec<Misunderstood>> {
    let of_fleet = || world.policies().filter(|(object, _)| object.key.scope == Scope::Fleet);
    let put = |policy: &Policy| {
        let fresh = Object::new(Resource::Policy(policy.clone()), Scope::Fleet, Uid::default(), 0, codec);
        let held = of_fleet().find(|(object, _)| object.key == fresh.key);
        let uid = held.map_or_else(|| stand_in(&fresh), |(object, _)| object.uid);
        Change::Put(Object { uid, ..fresh })
    };
    let gone = |name: &String| match of_fleet().find(|(_, policy)| policy.title() == *name) {
        Some((object, _)) => Ok(Change::Delete { key: object.key.clone(), uid: object.uid }),
        None => {
            let names: Vec<_> = of_fleet().map(|(_, policy)| policy.title()).collect();
            let fix = suggest(name, names.iter().map(String::as_str));
            let fix = fix.unwrap_or_else(|| "see axle policy list".into());
            let want = "the name of a policy of the fleet";
            Err(vec![Misunderstood::new("unknown_policy", "delete", name, want, fix)])
        }
    };
    policies.iter().map(|policy| Ok(put(policy))).chain(deleted.iter().map(gone)).collect()
}

fn stand_in(object: &Object) -> Uid {
    let mut uid = Uid::default();
    let key = object.key.to_string();
    blake3::Hasher::new_derive_key("axle proposed policy v1").update(key.as_bytes()).finalize_xof().fill(&mut uid.0);
    uid
}

/// The policies after some changes.
#[must_use]
pub fn policies_after<'w>(world: &'w World, changes: &'w [Change]) -> Vec<Written<'w>> {
    let policy = |object: &'w Object| match object.resource.as_ref() {
        Resource::Policy(policy) => Some((object, policy)),
        _ => None,
    };
    after(world, changes, Kind::Policy).filter_map(policy).collect()
}

/// The tests of policies after some changes.
#[must_use]
pub fn tests_after<'w>(world: &'w World, changes: &'w [Change]) -> Vec<&'w PolicyTest> {
    let test = |object: &'w Object| match object.resource.as_ref() {
        Resource::PolicyTest(test) => Some(test),
        _ => None,
    };
    after(world, changes, Kind::PolicyTest).filter_map(test).collect()
}

fn after<'w>(world: &'w World, changes: &'w [Change], kind: Kind) -> impl Iterator<Item = &'w Object> {
    let touched: std::collections::BTreeSet<_> = changes.iter().map(Change::key).collect();
    let put = changes.iter().filter_map(|change| if let Change::Put(object) = change { Some(object) } else { None });
    world.objects(kind).filter(move |object| !touched.contains(&object.key)).chain(put)
}
