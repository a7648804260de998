//! Policies that this version cannot read, and what came with them.
use super::*;

/// `deny(policy, app)`, from a version that knows more.
fn unread(policy: &str, app: &str) -> (Refusal, Envelope) {
    let Change::Put(object) = deny(policy, app, 3) else { unreachable!() };
    let (key, message) = (object.key.clone(), "it requires more".to_owned());
    let envelope = Envelope { features: vec!["time-of-day".to_owned()], ..object.envelope() };
    (Refusal { key, revision: 3, code: code::UNKNOWN_FEATURE.into(), message }, envelope)
}

#[test]
fn what_was_held_back_comes_once_what_could_not_be_read_is_gone() {
    let stage = Stage::enter();
    let mut enforcer = stage.begun(&[deny("p", "bad", 2)]);
    let (first, second) = (unread("x", "good").0, unread("y", "good").0);
    let change = [deny("q", "good", 3), deny("p", "other", 3)];
    enforcer.revise(&Revision { refused: vec![first.clone(), second.clone()], ..revision(3, &change) });
    assert_eq!(refused(&enforcer).len(), 4);
    enforcer.revise(&Revision { gone: vec![first.key], ..revision(4, &[]) });
    assert!(refused(&enforcer).len() == 3 && admits(&enforcer, GOOD) && !admits(&enforcer, BAD), "not yet");
    // The other one comes in a version that can be read.
    enforcer.revise(&revision(5, &[deny("y", "another", 5)]));
    assert_eq!(refused(&enforcer), []);
    assert!(!admits(&enforcer, GOOD) && admits(&enforcer, BAD), "the whole revision");
}

#[test]
fn a_node_that_never_had_a_version_denies_what_the_policy_may_deny() {
    let stage = Stage::enter();
    let (refusal, envelope) = unread("x", "bad");
    let mut enforcer = stage.enforcer();
    enforcer.begin(world(), at(3), std::slice::from_ref(&refusal), &[envelope]);
    assert!(!admits(&enforcer, BAD) && !admits(&enforcer, GOOD), "whom it denies is not known");
    assert_eq!(refused(&enforcer), [("x".to_owned(), code::UNKNOWN_FEATURE.to_owned())]);
    drop(enforcer);

    let mut enforcer = stage.begun(&[]);
    assert!(!admits(&enforcer, BAD) && refused(&enforcer).len() == 1, "also after a restart");
    enforcer.revise(&Revision { whole: true, refused: vec![refusal.clone()], ..revision(4, &[]) });
    assert!(!admits(&enforcer, BAD) && refused(&enforcer).len() == 1);
    enforcer.revise(&Revision { gone: vec![refusal.key], ..revision(5, &[]) });
    assert!(admits(&enforcer, BAD) && refused(&enforcer).is_empty(), "it ends with the policy");
}

#[test]
fn a_version_that_can_be_read_takes_the_place_of_what_stood_in() {
    let stage = Stage::enter();
    let (refusal, envelope) = unread("x", "bad");
    let mut enforcer = stage.enforcer();
    enforcer.begin(world(), at(3), std::slice::from_ref(&refusal), std::slice::from_ref(&envelope));
    enforcer.revise(&Revision { whole: true, ..revision(4, &[deny("x", "bad", 3)]) });
    assert!(!admits(&enforcer, BAD) && admits(&enforcer, GOOD) && refused(&enforcer).is_empty());
    drop(enforcer);
    // A node that has been in force without it stays so: nothing passes that did not.
    let mut enforcer = stage.begun(&[deny("x", "bad", 3)]);
    let (newer, _) = unread("y", "good");
    enforcer.revise(&Revision { whole: true, refused: vec![newer], ..revision(5, &[]) });
    assert!(!admits(&enforcer, BAD) && admits(&enforcer, GOOD));
}

#[test]
fn what_was_refused_before_a_restart_is_tried_again_by_revision() {
    let stage = Stage::enter();
    let mut enforcer = stage.begun(&[deny("p", "bad", 2)]);
    enforcer.revise(&revision(3, &[deny("q", "good", 3), huge("huge")]));
    fail_next(&mut enforcer, |write| matches!(write, Write::Row { .. } | Write::SlotBlock { .. } | Write::Cell { .. }));
    enforcer.revise(&revision(4, &[deny("r", "other", 4)]));
    assert_eq!(refused(&enforcer).len(), 3);
    drop(enforcer);
    let Change::Put(huge) = huge("huge") else { unreachable!() };
    let enforcer = stage.begun(&[deny("p", "bad", 2), deny("q", "good", 3), Change::Put(huge), deny("r", "other", 4)]);
    let names: Vec<String> = refused(&enforcer).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["huge", "q"], "what came together stays together, and another revision does not wait for it");
    assert!(!admits(&enforcer, BAD) && admits(&enforcer, GOOD));
}
