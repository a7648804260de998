use std::collections::BTreeMap;

use axle_core::{
    log::{Hash, Position},
    model::{Name, Object, Uid},
    state::{Command, Decision, State},
};
use proptest::prelude::*;

use super::common::{Hub, cluster, endpoint, export, gone, name, node, policy, put};

#[derive(Debug, Clone)]
enum Act {
    Add(u8),
    Remove(u8),
    Policy(u8, u16),
    Delete(u8),
    Endpoint(u8, u8),
    Withdraw(u8, u8),
    Export(u8, u8),
    Unexport(u8, u8),
    RemoveNode(u8),
}

fn act() -> impl Strategy<Value = Act> {
    let c = 0_u8..3;
    prop_oneof![
        3 => c.clone().prop_map(Act::Add),
        1 => c.clone().prop_map(Act::Remove),
        2 => (0_u8..3, 0_u16..4).prop_map(|(p, priority)| Act::Policy(p, priority)),
        1 => (0_u8..3).prop_map(Act::Delete),
        4 => (c.clone(), 1_u8..5).prop_map(|(c, e)| Act::Endpoint(c, e)),
        2 => (c.clone(), 1_u8..5).prop_map(|(c, e)| Act::Withdraw(c, e)),
        3 => (c.clone(), 0_u8..3).prop_map(|(c, s)| Act::Export(c, s)),
        2 => (c.clone(), 0_u8..3).prop_map(|(c, s)| Act::Unexport(c, s)),
        1 => c.prop_map(Act::RemoveNode),
    ]
}

fn command(hub: &mut Hub, act: &Act) -> Option<Command> {
    let named = |c: u8| name(&format!("c{c}"));
    let take = |hub: &mut Hub, c: u8, changes: &dyn Fn(Uid) -> Vec<axle_core::log::Change>| {
        let (cluster, _) = hub.state.cluster(&named(c))?;
        Some(hub.next(cluster, changes(cluster)))
    };
    match *act {
        Act::Add(c) => Some(Command::AddCluster { cluster: cluster(&format!("c{c}"), &[&format!("10.{c}.0.0/16")]) }),
        Act::Remove(c) => Some(Command::RemoveCluster { name: named(c) }),
        Act::RemoveNode(c) => Some(Command::RemoveNode { cluster: named(c), node: Name::new("n1").unwrap() }),
        Act::Policy(p, priority) => {
            let policy = axle_core::model::Policy { priority, ..policy(&format!("p{p}")) };
            Some(Command::PutPolicies { policies: vec![policy] })
        }
        Act::Delete(p) => Some(Command::DeletePolicy { namespace: None, name: name(&format!("p{p}")) }),
        Act::Endpoint(c, e) => take(hub, c, &|uid| {
            vec![put(node(uid, "n1", 90 + e)), put(endpoint(uid, e, "n1", &format!("10.{c}.0.{e}")))]
        }),
        Act::Withdraw(c, e) => take(hub, c, &|uid| vec![gone(&endpoint(uid, e, "n1", "10.0.0.1"))]),
        Act::Export(c, s) => take(hub, c, &|uid| vec![put(export(uid, &format!("s{s}"), c.into(), 80))]),
        Act::Unexport(c, s) => take(hub, c, &|uid| vec![gone(&export(uid, &format!("s{s}"), c.into(), 80))]),
    }
}

fn objects(state: &State) -> Vec<Object> {
    state.contents().iter().cloned().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is asked: the records replayed, and the state loaded from a store with any number of them, are the state;
    /// the hashes chain; a hub that takes every record back once writes what one writes that never does; imports and exports agree.
    #[test]
    fn records_are_the_state(acts in prop::collection::vec(act(), 1..40), recent in 0_usize..10) {
        let (mut hub, mut plain) = (Hub::new(), Hub::new());
        for act in &acts {
            let Some(command) = command(&mut hub, act) else { continue };
            let request = hub.request(command);
            for detour in [request.command.clone(), Command::RemoveCluster { name: name("c1") }] {
                let detour = axle_core::state::Request { command: detour, ..request.clone() };
                if let Ok(Decision::Write { record, .. }) = hub.state.decide(&detour, &axle_proto::convert::Wire) {
                    let undo = hub.state.apply(&record).unwrap();
                    hub.state.undo(undo);
                }
            }
            prop_assert_eq!(hub.ask(&request), plain.ask(&request), "what was undone left no trace");
        }
        let mut replayed = State::new(hub.state.position().epoch);
        let mut hash = Hash::default();
        for record in &hub.records {
            prop_assert_eq!(record.hash_after(hash), record.hash);
            hash = record.hash;
            let _ = replayed.apply(record).unwrap();
        }
        prop_assert_eq!(objects(&replayed), objects(&hub.state));
        prop_assert_eq!(replayed.position(), hub.state.position());

        let recent = &hub.records.clone()[hub.records.len().saturating_sub(recent)..];
        let clusters: Vec<Uid> = hub.state.clusters().map(|(uid, _)| uid).collect();
        let intakes = clusters.iter().filter_map(|uid| Some((*uid, hub.state.intake(*uid)?))).collect();
        let loaded = State::load(hub.state.position(), objects(&hub.state), intakes, &hub.given_up, recent);
        for cluster in clusters {
            let own: Vec<usize> = hub.state.contents().iter()
                .filter(|object| object.key.scope == axle_core::model::Scope::Cluster(cluster))
                .map(|object| object.payload.len()).collect();
            let share = (own.len(), own.iter().sum());
            prop_assert_eq!((hub.state.share(cluster), loaded.share(cluster)), (share, share));
            prop_assert_eq!(replayed.share(cluster), share);
            let exports = (3..6).map(|s| put(export(cluster, &format!("s{s}"), 1, 80))).collect();
            let command = hub.next(cluster, exports);
            let request = hub.request(command);
            let wire = &axle_proto::convert::Wire;
            prop_assert_eq!(loaded.decide(&request, wire), hub.state.decide(&request, wire), "addresses rest as before");
        }
        let epoch = hub.state.position().epoch;
        for record in recent {
            let place = record.position(epoch);
            let changes = |state: &State| state.contents().since(&place).map(|delta| {
                let mut changes: Vec<String> = delta.changes.iter().map(|change| format!("{change:?}")).collect();
                changes.sort();
                changes
            });
            prop_assert_eq!(changes(&loaded), changes(&hub.state));
        }
        prop_assert!(loaded.contents().remembers(&hub.state.position()));
        let another_past = Position { hash: Hash([3; 32]), ..hub.state.position() };
        prop_assert!(!loaded.contents().remembers(&another_past));
        imports_match_exports(&hub)?;
    }
}

fn imports_match_exports(hub: &Hub) -> Result<(), TestCaseError> {
    use axle_core::model::{Kind, Resource};
    let mut exported: BTreeMap<String, Vec<Uid>> = BTreeMap::new();
    for object in hub.state.list(Kind::ServiceExport) {
        let axle_core::model::Scope::Cluster(cluster) = object.key.scope else { panic!("an export of a cluster") };
        exported.entry(object.key.name.to_string()).or_default().push(cluster);
    }
    let mut imported = BTreeMap::new();
    let mut addresses = std::collections::BTreeSet::new();
    for object in hub.state.list(Kind::ServiceImport) {
        let Resource::ServiceImport(import) = &*object.resource else { panic!("an import") };
        let mut clusters = import.clusters.clone();
        clusters.sort();
        imported.insert(import.name.to_string(), clusters);
        prop_assert_eq!(import.vips.len(), 2);
        prop_assert!(import.vips.iter().all(|address| addresses.insert(*address)));
    }
    exported.values_mut().for_each(|clusters| clusters.sort());
    prop_assert_eq!(exported, imported);
    Ok(())
}
