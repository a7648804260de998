use axle_core::model::{Name, PortTarget, Scope, Traits};
use axle_proto::convert;
use serde_json::json;

use super::*;

fn import(traits: Traits, vips: &[&str]) -> Object {
    let name = |text: &str| Name::new(text).unwrap();
    let port = ServicePort {
        name: "http".into(),
        protocol: Protocol::Tcp,
        port: 80,
        target: PortTarget::Number(8080),
        app_protocol: String::new(),
    };
    let import = ServiceImport {
        namespace: name("shop"),
        name: name("web"),
        vips: vips.iter().map(|vip| vip.parse().unwrap()).collect(),
        ports: vec![port],
        clusters: vec![Uid([2; 16]), Uid([1; 16])],
        conflicts: vec![],
        traits,
    };
    convert::object(Resource::ServiceImport(import), Scope::Fleet, Uid([7; 16]), 1)
}

fn one(object: Object) -> Mirror<Exporters> {
    let clusters = [(Uid([1; 16]), "oslo".to_owned()), (Uid([2; 16]), "lima".to_owned())].into();
    let mut all = imports(&[object], &["shop".to_owned()].into(), &clusters);
    all.remove(&("shop".to_owned(), "web".to_owned())).unwrap()
}

#[test]
fn an_import_says_what_the_fleet_agreed_on() {
    let traffic =
        Traffic { sticky_s: Some(10), internal: Internal::Local, distribution: Some(Distribution::PreferClose) };
    let traits = Traits { traffic, labels: [("a".to_owned(), "b".to_owned())].into(), ..Traits::default() };
    let mirror = one(import(traits, &["fd00::7", "10.0.0.7"]));
    assert_eq!(
        mirror.spec,
        json!({
            "type": "ClusterSetIP", "ips": ["fd00::7", "10.0.0.7"], "ipFamilies": ["IPv6", "IPv4"],
            "ports": [{"name": "http", "protocol": "TCP", "port": 80}],
            "sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10}},
            "internalTrafficPolicy": "Local", "trafficDistribution": "PreferClose",
        })
    );
    assert_eq!((mirror.labels["a"].as_str(), mirror.labels[MANAGED_BY.0].as_str()), ("b", MANAGED_BY.1));
    let status = status(&Value::Null, &mirror.status, "2026-01-01T00:00:00Z").unwrap();
    assert_eq!(status["clusters"], json!([{"cluster": "lima"}, {"cluster": "oslo"}]));
    assert_eq!(super::status(&status, &mirror.status, "2026-01-02T00:00:00Z"), None);
    let fewer = super::status(&status, &mirror.status[..1], "2026-01-02T00:00:00Z").unwrap();
    assert_eq!(fewer["conditions"][0]["lastTransitionTime"], "2026-01-01T00:00:00Z");

    let families = vec![Family::V6, Family::V4];
    let headless = one(import(Traits { headless: true, families, ..Traits::default() }, &[]));
    assert_eq!((&headless.spec["type"], &headless.spec["ips"]), (&json!("Headless"), &Value::Null));
    assert_eq!(headless.spec["ipFamilies"], json!(["IPv6", "IPv4"]), "those of its backends");
    assert!(imports(&[import(Traits::default(), &[])], &BTreeSet::new(), &BTreeMap::new()).is_empty(), "no namespace");
}

#[test]
fn what_is_no_label_does_not_keep_an_import_away() {
    let of = |pairs: &[(&str, &str)]| -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let traits = Traits {
        labels: of(&[("", ""), ("bad key!", "v"), ("a", "not one!"), ("axle.dev/b", "")]),
        annotations: of(&[("", ""), ("bad key!", "v"), ("a", "any text!")]),
        ..Traits::default()
    };
    let mirror = one(import(traits, &["10.0.0.7"]));
    assert_eq!(mirror.labels, of(&[MANAGED_BY, ("axle.dev/b", "")]));
    assert_eq!(mirror.annotations, of(&[("a", "any text!")]));
}
