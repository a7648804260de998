//! The enforcer with the real compiler and the real kernel, in a place of its own. They need root.
mod hooks;
mod unread;

use std::{io, net::IpAddr};

use axle_core::{
    manifest::parse_policies,
    model::{Action, Cluster, Fleet, Labels, Name, Namespace, Node},
    policy::tables::{PortTable, Tables, Write},
};
use axle_proto::convert;

use super::*;
use crate::{dataplane::tests::sandbox::Sandbox, node::enforcement::Translation};

const CLUSTER: Uid = Uid([1; 16]);
const SERVER: Uid = Uid([2; 16]);

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn place() -> Place {
    Place { cluster: CLUSTER, node: name("n1") }
}

fn at(revision: u64) -> Position {
    Position { revision, ..Position::default() }
}

fn endpoint(uid: u8, node: &str, app: &str, address: &str) -> Object {
    let endpoint = Endpoint {
        namespace: name("shop"),
        name: name(&format!("w{uid}")),
        node: name(node),
        service_account: String::new(),
        labels: [("app".to_owned(), app.to_owned())].into(),
        addresses: vec![address.parse().unwrap()],
        named_ports: vec![],
        started_ms: 1,
        ready: true,
        host: None,
    };
    convert::object(Resource::Endpoint(endpoint), Scope::Cluster(CLUSTER), Uid([uid; 16]), 1)
}

/// A fleet with one cluster, whose node `n1` has a server at its loopback interface, and two clients elsewhere.
fn world() -> Vec<Object> {
    let fleet =
        Fleet { vip4: "240.0.0.0/8".parse().unwrap(), vip6: "fdff::/64".parse().unwrap(), excluded_label_keys: vec![] };
    let cluster = Cluster {
        name: name("alpha"),
        region: String::new(),
        labels: Labels::new(),
        prefixes: vec!["10.0.0.0/8".parse().unwrap()],
        default_action: Action::Accept,
        draining: false,
    };
    let namespace = Namespace { name: name("shop"), labels: Labels::new() };
    let node = Node { name: name("n1"), labels: Labels::new(), addresses: vec![] };
    let own = Scope::Cluster(CLUSTER);
    vec![
        convert::object(Resource::Fleet(fleet), Scope::Fleet, Uid([90; 16]), 1),
        convert::object(Resource::Cluster(cluster), Scope::Fleet, CLUSTER, 1),
        convert::object(Resource::Namespace(namespace), own, Uid([91; 16]), 1),
        convert::object(Resource::Node(node), own, Uid([92; 16]), 1),
        endpoint(2, "n1", "server", "10.0.0.2"),
        endpoint(3, "n2", "good", "10.0.0.3"),
        endpoint(4, "n2", "bad", "10.0.0.4"),
    ]
}

/// Denies clients with this label at the server.
fn deny(policy: &str, app: &str, revision: u64) -> Change {
    let text = format!(
        "apiVersion: axle.dev/v1alpha1\nkind: MeshNetworkPolicy\nmetadata: {{name: {policy}}}\n\
         spec:\n  tier: Admin\n  priority: 1\n\
         \x20 subject: {{pods: {{podSelector: {{matchLabels: {{app: server}}}}}}}}\n\
         \x20 ingress:\n  - action: Deny\n    from:\n    - pods: {{podSelector: {{matchLabels: {{app: {app}}}}}}}\n"
    );
    let [policy] = &parse_policies(&text).unwrap()[..] else { panic!("one policy") };
    let mut uid = [0; 16];
    uid.copy_from_slice(&blake3::hash(policy.name.as_str().as_bytes()).as_bytes()[..16]);
    Change::Put(convert::object(Resource::Policy(policy.clone()), Scope::Fleet, Uid(uid), revision))
}

fn object(change: &Change) -> Object {
    match change {
        Change::Put(policy) => policy.clone(),
        Change::Delete { .. } => unreachable!(),
    }
}

struct Stage {
    sandbox: Sandbox,
    held: tempfile::TempDir,
}

impl Stage {
    fn enter() -> Self {
        Self { sandbox: Sandbox::enter(), held: tempfile::tempdir().unwrap() }
    }

    /// The file that pins the hook for what the server sends. Another file is another hook, with a gap in between.
    fn hook(&self) -> Option<u64> {
        let pin = self.sandbox.pins().join("links/1-egress");
        std::fs::metadata(pin).ok().map(|data| std::os::unix::fs::MetadataExt::ino(&data))
    }

    fn enforcer(&self) -> Enforcer {
        let settings = self.sandbox.settings();
        let services = Translation { cluster: CLUSTER, node: place().node, cgroup: None, pins: settings.pins.clone() };
        let plane = DataPlane::open(settings).unwrap();
        let translating = super::super::Translating::new(services);
        let (mut enforcer, damage) = Enforcer::new(
            place(),
            plane,
            translating,
            &self.held.path().join("held"),
            &self.held.path().join("in-force"),
        )
        .unwrap();
        assert!(damage.is_empty(), "{damage:?}");
        enforcer.place([(SERVER, "lo".to_owned())].into(), true);
        enforcer
    }

    fn begun(&self, policies: &[Change]) -> Enforcer {
        let mut enforcer = self.enforcer();
        let mut objects = world();
        objects.extend(policies.iter().map(object));
        enforcer.begin(objects, at(1), &[], &[]);
        enforcer
    }
}

/// Whether the kernel lets a packet from there in, at the server.
fn admits(enforcer: &Enforcer, from: &str) -> bool {
    let mut tables = Tables::new(enforcer.plane.limits());
    for write in enforcer.plane.read_back().unwrap() {
        tables.apply(&write).unwrap();
    }
    let local = enforcer.compiler.locals().find(|workload| workload.endpoint == SERVER).unwrap().local;
    let from: IpAddr = from.parse().unwrap();
    tables.verdict(local, Direction::Ingress, from, PortTable::Tcp, 80)
}

fn revision(number: u64, changes: &[Change]) -> Revision {
    let (changes, origin) = (changes.to_vec(), Some(at(number)));
    Revision { changes, origin, above: None, refused: vec![], gone: vec![], whole: false }
}

fn refused(enforcer: &Enforcer) -> Vec<(String, String)> {
    enforcer.enforced().refused.into_iter().map(|refusal| (refusal.key.name.to_string(), refusal.code)).collect()
}

/// The next write to this table fails, once.
fn fail_next(enforcer: &mut Enforcer, table: fn(&Write) -> bool) {
    let mut armed = true;
    enforcer.plane.set_gate(Some(Box::new(move |write| {
        if armed && table(write) {
            armed = false;
            return Err(io::Error::other("no more memory"));
        }
        Ok(())
    })));
}

const GOOD: &str = "10.0.0.3";
const BAD: &str = "10.0.0.4";

#[test]
fn a_revision_is_acknowledged_once_the_kernel_holds_it() {
    let stage = Stage::enter();
    let mut enforcer = stage.enforcer();
    assert_eq!(enforcer.enforced().applied, None, "nothing is touched before the first complete state");
    enforcer.begin(world(), at(1), &[], &[]);
    assert!(admits(&enforcer, GOOD) && admits(&enforcer, BAD));
    let before = enforcer.enforced();
    assert!(before.workloads[0].enforced, "{before:?}");
    enforcer.revise(&revision(2, &[deny("p", "bad", 2)]));
    assert!(admits(&enforcer, GOOD) && !admits(&enforcer, BAD));
    let after = enforcer.enforced();
    assert_eq!((before.applied, after.applied), (Some(at(1)), Some(at(2))));
    assert_ne!(before.digest, after.digest);
    enforcer.settle();
    // A revision that changes nothing here moves on all the same.
    enforcer.revise(&revision(3, &[]));
    assert_eq!((enforcer.enforced().applied, enforcer.enforced().digest), (Some(at(3)), after.digest));
}

#[test]
fn a_changed_policy_takes_the_place_of_the_one_before() {
    let stage = Stage::enter();
    let mut enforcer = stage.begun(&[deny("p", "bad", 2)]);
    enforcer.revise(&revision(3, &[deny("p", "good", 3)]));
    assert_eq!((admits(&enforcer, GOOD), admits(&enforcer, BAD)), (false, true));
}

#[test]
fn a_write_that_fails_is_a_refusal_and_the_version_before_stays_also_over_a_restart() {
    let stage = Stage::enter();
    let (old, new) = (deny("p", "bad", 2), deny("p", "good", 3));
    let mut enforcer = stage.begun(std::slice::from_ref(&old));
    assert!(admits(&enforcer, GOOD) && !admits(&enforcer, BAD));
    fail_next(&mut enforcer, |write| matches!(write, Write::Workload { .. } | Write::SlotBlock { .. }));
    let newcomer = endpoint(5, "n2", "bad", "10.0.0.5");
    enforcer.revise(&revision(3, &[new.clone(), Change::Put(newcomer.clone())]));
    assert_eq!(refused(&enforcer), [("p".to_owned(), code::MAP_WRITE_FAILED.to_owned())]);
    assert!(admits(&enforcer, GOOD) && !admits(&enforcer, BAD), "the version before");
    assert!(!admits(&enforcer, "10.0.0.5"), "what is no policy takes effect: the newcomer is known");
    assert_eq!(enforcer.enforced().applied, Some(at(3)));
    drop(enforcer);

    // After a restart the log has the new version alone; the old one stays in force until the new one is.
    let mut enforcer = stage.enforcer();
    let (before, _) = enforcer.policies.begin(vec![], &[]);
    assert_eq!(before, std::slice::from_ref(&old), "the version in force is known without the log");
    drop(enforcer);
    let enforcer = stage.begun(std::slice::from_ref(&new));
    assert_eq!(refused(&enforcer), [], "the kernel takes it now");
    assert_eq!((admits(&enforcer, GOOD), admits(&enforcer, BAD)), (false, true));
}

#[test]
fn a_deleted_policy_is_gone_also_where_an_incarnation_of_before_is_in_force() {
    let stage = Stage::enter();
    let mut enforcer = stage.begun(&[deny("p", "bad", 2)]);
    let again = Object { uid: Uid([7; 16]), ..object(&deny("p", "good", 3)) };
    fail_next(&mut enforcer, |write| matches!(write, Write::Workload { .. } | Write::SlotBlock { .. }));
    enforcer.revise(&revision(3, &[Change::Put(again.clone())]));
    assert!(!refused(&enforcer).is_empty() && !admits(&enforcer, BAD), "the incarnation before");
    enforcer.revise(&revision(4, &[Change::Delete { key: again.key, uid: again.uid }]));
    assert!(refused(&enforcer).is_empty() && admits(&enforcer, BAD) && admits(&enforcer, GOOD));
    drop(enforcer);
    let mut enforcer = stage.enforcer();
    assert_eq!(enforcer.policies.begin(vec![], &[]), (vec![], vec![]), "and stays so");
}

#[test]
fn what_was_refused_is_tried_again_when_it_is_due() {
    let stage = Stage::enter();
    let mut enforcer = stage.begun(&[]);
    fail_next(&mut enforcer, |write| matches!(write, Write::Row { .. } | Write::SlotBlock { .. } | Write::Cell { .. }));
    enforcer.revise(&revision(2, &[deny("p", "bad", 2)]));
    assert!(admits(&enforcer, BAD) && !refused(&enforcer).is_empty());
    let now = Instant::now();
    enforcer.tick(now);
    assert!(admits(&enforcer, BAD), "not at once");
    enforcer.tick(now + FIRST_RETRY);
    assert!(!admits(&enforcer, BAD) && refused(&enforcer).is_empty());
}

#[test]
fn a_failed_write_without_policies_heals_by_new_tables() {
    let stage = Stage::enter();
    let mut enforcer = stage.begun(&[deny("p", "bad", 2)]);
    let rebuilds = enforcer.enforced().rebuilds;
    fail_next(&mut enforcer, |write| matches!(write, Write::Address { .. }));
    enforcer.revise(&revision(3, &[Change::Put(endpoint(5, "n2", "bad", "10.0.0.5"))]));
    assert!(!admits(&enforcer, "10.0.0.5"));
    assert_eq!((refused(&enforcer), enforcer.enforced().applied), (vec![], Some(at(3))));
    assert_eq!(enforcer.enforced().rebuilds, rebuilds + 1);
}

/// A policy with more port classes than these tables have.
fn huge(policy: &str) -> Change {
    let rule = |port| {
        format!(
            "  - {{action: Deny, from: [{{networks: [10.0.{port}.0/24]}}], protocols: [{{tcp: {{destinationPort: {{number: {port}}}}}}}]}}\n"
        )
    };
    let rules: String = (1..200).map(rule).collect();
    let text = format!(
        "apiVersion: axle.dev/v1alpha1\nkind: MeshNetworkPolicy\nmetadata: {{name: {policy}}}\nspec:\n  tier: Admin\n  priority: 2\n  \
         subject: {{pods: {{podSelector: {{matchLabels: {{app: server}}}}}}}}\n  ingress:\n{rules}"
    );
    let Change::Put(small) = deny(policy, "good", 3) else { unreachable!() };
    let large = parse_policies(&text).unwrap().remove(0);
    Change::Put(convert::object(Resource::Policy(large), Scope::Fleet, small.uid, 3))
}

/// Its log has the revision, and nothing else is on disk.
#[test]
fn a_version_that_does_not_fit_is_refused_also_by_an_agent_that_was_killed_before_it_could() {
    let stage = Stage::enter();
    drop(stage.begun(&[deny("p", "bad", 2), deny("q", "good", 2)]));
    // The revision took `p` away and made `q` too large.
    let enforcer = stage.begun(&[huge("q")]);
    assert!(!admits(&enforcer, GOOD) && !admits(&enforcer, BAD), "as before");
    let names: Vec<String> = refused(&enforcer).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["p", "q"]);
    drop(enforcer);
    let enforcer = stage.begun(&[deny("q", "good", 4)]);
    assert!(!admits(&enforcer, GOOD) && admits(&enforcer, BAD), "what fits takes effect");
    assert_eq!(refused(&enforcer), []);
}

#[test]
fn a_log_that_was_lost_and_cannot_be_read_whole_changes_no_policy() {
    let stage = Stage::enter();
    drop(stage.begun(&[deny("p", "bad", 2)]));
    let Change::Put(policy) = deny("p", "bad", 3) else { unreachable!() };
    let unreadable =
        Refusal { key: policy.key, revision: 3, code: code::UNKNOWN_FEATURE.into(), message: String::new() };
    let mut enforcer = stage.enforcer();
    let mut objects = world();
    let Change::Put(other) = deny("q", "good", 3) else { unreachable!() };
    objects.push(other);
    enforcer.begin(objects, at(3), &[unreadable], &[]);
    assert!(admits(&enforcer, GOOD) && !admits(&enforcer, BAD));
    assert_eq!(refused(&enforcer).len(), 2);
}

#[test]
fn policies_of_one_revision_that_do_not_fit_are_refused_together_and_others_stay() {
    let stage = Stage::enter();
    let mut enforcer = stage.begun(&[deny("p", "bad", 2)]);
    let huge = huge("huge");
    enforcer.revise(&revision(3, &[deny("q", "good", 3), huge.clone()]));
    let names: Vec<(String, String)> = refused(&enforcer);
    let does_not_fit = code::DOES_NOT_FIT.to_owned();
    assert_eq!(names, [("huge".to_owned(), does_not_fit.clone()), ("q".to_owned(), does_not_fit)]);
    assert!(admits(&enforcer, GOOD) && !admits(&enforcer, BAD), "as before");
    assert_eq!(enforcer.enforced().applied, Some(at(3)));
    // What fits is not held back for good: it comes with the next revision that has it.
    let Change::Put(policy) = &huge else { unreachable!() };
    let gone = Change::Delete { key: policy.key.clone(), uid: policy.uid };
    enforcer.revise(&revision(4, &[gone]));
    let now = Instant::now();
    enforcer.tick(now);
    enforcer.tick(now + FIRST_RETRY);
    assert_eq!(enforcer.enforced().refused, []);
    assert!(!admits(&enforcer, GOOD) && !admits(&enforcer, BAD));
}

#[test]
fn what_cannot_be_read_holds_its_revision_back() {
    let stage = Stage::enter();
    let mut enforcer = stage.begun(&[deny("p", "bad", 2)]);
    let Change::Put(policy) = deny("newer", "good", 3) else { unreachable!() };
    let unreadable = Refusal {
        key: policy.key.clone(),
        revision: 3,
        code: code::UNKNOWN_FEATURE.into(),
        message: "it requires more".into(),
    };
    let with_it = Revision { refused: vec![unreadable], ..revision(3, &[deny("q", "good", 3)]) };
    enforcer.revise(&with_it);
    assert!(admits(&enforcer, GOOD) && !admits(&enforcer, BAD));
    assert_eq!(refused(&enforcer).len(), 2, "the one and what came with it");
    drop(enforcer);
    // What came after that, and which an agent that was killed had not carried out, is carried out.
    let mut enforcer = stage.enforcer();
    let policies = [deny("p", "bad", 2), deny("q", "good", 3), deny("s", "none", 4)];
    enforcer.begin([world(), policies.iter().map(object).collect()].concat(), at(4), &with_it.refused, &[]);
    assert!(admits(&enforcer, GOOD) && !admits(&enforcer, BAD));
    assert_eq!(refused(&enforcer).len(), 2);
    drop(enforcer);
    // A restart of the same program changes nothing; a whole copy of the log without it does.
    let mut enforcer = stage.begun(&policies);
    assert!(admits(&enforcer, GOOD) && !admits(&enforcer, BAD));
    assert_eq!(refused(&enforcer).len(), 2);
    enforcer.revise(&revision(3, &[Change::Put(endpoint(5, "n2", "other", "10.0.0.5"))]));
    // One in which it is not new changes what it has nothing to do with.
    enforcer.revise(&Revision { whole: true, refused: with_it.refused, ..revision(4, &[deny("r", "other", 4)]) });
    assert_eq!(refused(&enforcer).len(), 2);
    assert!(!admits(&enforcer, "10.0.0.5") && admits(&enforcer, GOOD));
    enforcer.revise(&Revision { whole: true, ..revision(5, &[]) });
    assert_eq!(refused(&enforcer), []);
    assert!(!admits(&enforcer, GOOD) && !admits(&enforcer, BAD));
}
