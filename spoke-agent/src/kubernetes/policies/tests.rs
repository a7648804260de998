use super::*;
use crate::kubernetes::{
    crd::MeshNetworkPolicy,
    raw::{ClusterNetworkPolicy, NetworkPolicy},
};

fn raw<K: Kinded>(text: &str) -> Raw<K> {
    serde_saphyr::from_str(text).unwrap()
}

fn mesh(name: &str, created: &str, spec: &str) -> Raw<MeshNetworkPolicy> {
    raw(&format!(
        "{{metadata: {{name: {name}, uid: u-{name}, generation: {}, creationTimestamp: \"{created}\", \
         labels: {{a: b}}, managedFields: []}}, spec: {spec}}}",
        spec.len()
    ))
}

const DENY: &str =
    "{tier: Admin, priority: 1, subject: {namespaces: {}}, ingress: [{action: Deny, from: [{namespaces: {}}]}]}";
const MISSPELT: &str = "{tier: Admin, priority: 1, subject: {pods: {podSelector: {matchLabel: {a: b}}}}, ingress: []}";
const THEN: &str = "2026-01-01T00:00:00Z";
const LATER: &str = "2026-02-01T00:00:00Z";

#[test]
fn one_that_is_refused_holds_up_no_other_and_is_held() {
    let mut policies = Policies::default();
    let bad = mesh("bad", THEN, MISSPELT);
    policies.take([mesh("good", THEN, DENY), bad].iter());
    let allowed: Raw<NetworkPolicy> =
        raw("{metadata: {name: web, namespace: shop, creationTimestamp: \"2026-01-01T00:00:00Z\"}, \
          spec: {podSelector: {}, policyTypes: [Ingress], ingress: [{ports: [{protocol: TCP, port: 80}]}]}}");
    policies.take([allowed].iter());
    let (documents, held, problems) = policies.documents();
    let titles: Vec<String> = documents.iter().map(Policy::title).collect();
    assert_eq!(titles, ["good", "shop/web"]);
    assert_eq!(held, [(None, Name::new("bad").unwrap())].into());
    let wanted = "MeshNetworkPolicy bad is not accepted (UnknownField): spec.subject.pods.podSelector: got the unknown \
                  field \"matchLabel\"";
    assert!(problems.len() == 1 && problems[0].starts_with(wanted), "{problems:?}");
    assert!(problems[0].contains("did you mean \"matchLabels\"?"), "{problems:?}");

    policies.take([mesh("good", THEN, DENY), mesh("bad", THEN, DENY)].iter());
    let (documents, held, problems) = policies.documents();
    assert!(documents.len() == 3 && held.is_empty() && problems.is_empty(), "mended: {problems:?}");
    policies.take(std::iter::empty::<&Raw<NetworkPolicy>>());
    assert_eq!(policies.documents().0.len(), 2);
}

#[test]
fn an_object_without_specification_or_with_an_unknown_version_of_a_peer() {
    let mut policies = Policies::default();
    let empty: Raw<MeshNetworkPolicy> = raw("{metadata: {name: empty}}");
    policies.take([empty].iter());
    let later: Raw<ClusterNetworkPolicy> =
        raw("{metadata: {name: later}, spec: {tier: Admin, priority: 5, subject: {namespaces: {}}, \
          egress: [{action: Accept, to: [{moon: {}}]}]}}");
    policies.take([later].iter());
    let (documents, held, problems) = policies.documents();
    assert_eq!((documents.len(), held.len()), (1, 1), "a peer of a later version fails closed, as specified");
    assert!(problems[0].contains("empty is not accepted (MissingField): spec"), "{problems:?}");
}

fn cluster(name: &str, spec: &str) -> Raw<ClusterNetworkPolicy> {
    raw(&format!("{{metadata: {{name: {name}, creationTimestamp: \"{THEN}\"}}, spec: {spec}}}"))
}

fn names(policies: &Policies) -> Vec<String> {
    policies.documents().0.iter().map(Policy::title).collect()
}

#[test]
fn each_kind_has_its_own_names() {
    let mut policies = Policies::default();
    policies.take([mesh("web", LATER, DENY)].iter());
    policies.take([cluster("web", DENY)].iter());
    assert_eq!(names(&policies), ["clusternetworkpolicy.web", "web"]);
    assert!(policies.outcomes().values().all(Result::is_ok));
    policies.take(std::iter::empty::<&Raw<MeshNetworkPolicy>>());
    assert_eq!(names(&policies), ["clusternetworkpolicy.web"]);
}

#[test]
fn of_two_with_one_name_at_the_hub_the_older_counts() {
    let mut policies = Policies::default();
    policies.take([mesh("clusternetworkpolicy.web", LATER, DENY)].iter());
    policies.take([cluster("web", DENY)].iter());
    let fault = policies.outcomes().into_values().find_map(Result::err).unwrap();
    assert!(fault.reason == "NameTaken" && fault.message.contains("ClusterNetworkPolicy web is older"), "{fault:?}");
    assert_eq!(policies.documents().0.len(), 1);
    policies.take(std::iter::empty::<&Raw<ClusterNetworkPolicy>>());
    assert!(policies.outcomes().values().all(Result::is_ok), "it comes into force when the older one goes");
}

/// What is in force by the name of before stays so, if what is there now cannot be read.
#[test]
fn a_refused_one_is_held_also_by_the_name_of_before() {
    let held = |policies: &Policies| policies.documents().1.into_iter().map(|(_, name)| name.to_string()).collect();
    let mut policies = Policies::default();
    policies.take([cluster("web", MISSPELT)].iter());
    let both: Vec<String> = held(&policies);
    assert_eq!(both, ["clusternetworkpolicy.web", "web"]);
    // The name is another's: what is in the log by it goes with that one.
    policies.take([mesh("web", LATER, DENY)].iter());
    policies.take(std::iter::empty::<&Raw<MeshNetworkPolicy>>());
    let own: Vec<String> = held(&policies);
    assert_eq!(own, ["clusternetworkpolicy.web"]);
}

#[test]
fn a_name_that_gets_too_long_is_refused() {
    let mut policies = Policies::default();
    policies.take([cluster(&"a".repeat(253), DENY)].iter());
    let fault = policies.outcomes().into_values().find_map(Result::err).unwrap();
    assert!(fault.reason == "NameTooLong" && fault.message.contains("it has 274 characters"), "{fault:?}");
}

#[test]
fn codes_are_spelt_as_reasons() {
    for (code, spelt) in [("unknown-field", "UnknownField"), ("does_not_fit", "DoesNotFit"), ("syntax", "Syntax")] {
        assert_eq!(reason(code), spelt);
    }
}
