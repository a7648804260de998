use axle_core::{
    manifest,
    model::{Cluster, Scope},
};
use axle_proto::convert;

use super::*;
use crate::kubernetes::crd;

fn object((resource, uid): (Resource, u8)) -> Object {
    convert::object(resource, Scope::Fleet, Uid([uid; 16]), 1)
}

type Edit = fn(&mut Value);

fn called(name: &str) -> Called {
    (String::new(), name.to_owned())
}

fn policy(text: &str) -> Resource {
    Resource::Policy(manifest::parse_policies(text).unwrap().remove(0))
}

const ADMIN: &str = "{apiVersion: axle.dev/v1alpha1, kind: MeshNetworkPolicy, metadata: {name: p}, spec: {tier: Admin, \
                     priority: 3, subject: {namespaces: {}}, ingress: []}}";
const OF_NAMESPACE: &str = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: p, namespace: shop}, \
                            spec: {podSelector: {}}}";

#[test]
fn each_policy_has_a_name_of_its_own() {
    let all = [(policy(ADMIN), 3), (policy(OF_NAMESPACE), 4)].map(object);
    let mut printed = Printed::default();
    let mirrors = policies(&all, &Position::default(), &[], &mut printed);
    let names: Vec<&str> = mirrors.keys().map(|(_, name)| name.as_str()).collect();
    let uid = "04040404-0404-0404-0404-040404040404";
    assert_eq!(names, ["p", &format!("shop.p.{uid}")]);
    assert_eq!(mirrors[&called("p")].spec["policy"]["priority"], 3);
    assert_eq!(policies(&all, &Position::default(), &[], &mut printed), mirrors);
    assert!(policies(&[], &Position::default(), &[], &mut printed).is_empty() && printed.0.is_empty());
    let long = Name::new("a".repeat(253)).unwrap();
    let name = mirrored_name(Some(&long), &long, Uid([4; 16]));
    assert!(Name::new(name.clone()).is_ok() && name.ends_with(uid), "{name}");
}

#[test]
fn only_what_differs_is_written_and_strays_go() {
    let cluster = |name: &str| {
        Resource::Cluster(Cluster {
            name: Name::new(name).unwrap(),
            region: "eu".into(),
            labels: [("env".to_owned(), "prod".to_owned())].into(),
            prefixes: vec!["10.1.0.0/16".parse().unwrap()],
            default_action: Action::Accept,
            draining: false,
        })
    };
    let fleet = [(cluster("oslo"), 1), (cluster("lima"), 2)].map(object).map(|object| (object, 3));
    let wanted = clusters(&fleet, Uid([1; 16]));
    assert!(wanted[&called("oslo")].status.here && !wanted[&called("lima")].status.here);
    let there = |changes: &[(&str, Edit)]| -> BTreeMap<Called, Arc<Raw<crd::Cluster>>> {
        let mut all = BTreeMap::new();
        for (called, mirror) in &wanted {
            all.insert(called.1.clone(), document::<crd::Cluster, _>(called, mirror));
        }
        for (name, change) in changes {
            change(all.entry((*name).to_owned()).or_insert_with(|| json!({"metadata": {"name": name, "uid": "u1"}})));
        }
        all.into_iter()
            .map(|(name, document)| (called(&name), Arc::new(serde_json::from_value(document).unwrap())))
            .collect()
    };
    let (stray, lima, oslo) = (called("stray"), called("lima"), called("oslo"));
    assert_eq!(steps(&wanted, &there(&[]), |_| true), []);
    let edited = there(&[
        ("oslo", |document| document["spec"]["region"] = "us".into()),
        ("lima", |document| document["metadata"]["labels"] = json!({"mine": "yes"})),
        ("stray", |_| {}),
    ]);
    assert_eq!(
        steps(&wanted, &edited, |_| true),
        [Step::Delete(&stray, Some("u1")), Step::Write(&lima), Step::Write(&oslo)]
    );
    let labelled = there(&[("lima", |document| document["metadata"]["labels"]["mine"] = "yes".into())]);
    assert_eq!(steps(&wanted, &labelled, |_| true), [], "somebody's own label does no harm");
    assert_eq!(steps(&wanted, &edited, |_| false), [Step::Leave(&lima), Step::Leave(&oslo)], "somebody else's");
    let extended = there(&[("oslo", |document| document["spec"]["more"] = "x".into())]);
    assert_eq!(steps(&wanted, &extended, |_| true), [Step::Write(&oslo)]);
    assert_eq!(steps(&wanted, &BTreeMap::<_, Arc<Raw<crd::Cluster>>>::new(), |_| true).len(), 2);
}
