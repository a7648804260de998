use std::{fs, path::Path};

use super::*;

/// The files are made by this test with `AXLE_CRDS=write`.
#[test]
fn the_chart_has_the_kinds_as_they_are() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/axle-agent/crds");
    let write = std::env::var("AXLE_CRDS").is_ok_and(|value| value == "write");
    let mut names = Vec::new();
    for definition in definitions().unwrap() {
        let of = |key: &str| definition["spec"][key].as_str().unwrap();
        let name = format!("{}_{}.yaml", of("group"), definition["spec"]["names"]["plural"].as_str().unwrap());
        let made = serde_saphyr::to_string(&definition).unwrap();
        let read: Value = serde_saphyr::from_str(&made).unwrap();
        assert_eq!(read, definition, "{name}: the text says the same");
        if write {
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(&name), &made).unwrap();
        }
        let text = fs::read_to_string(folder.join(&name)).unwrap_or_default();
        assert!(text == made, "{name} is not what the types say: AXLE_CRDS=write cargo test -p axle-agent crd::");
        names.push(name);
    }
    let mut there: Vec<_> =
        fs::read_dir(&folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    there.sort();
    names.sort();
    assert_eq!(there, names, "and no others");
}

/// Whatever the printer of policies writes, its schema knows: else a policy shown could not be applied again.
#[test]
fn the_schema_has_every_field_of_the_reader() {
    let text = r#"
apiVersion: axle.dev/v1alpha1
kind: MeshNetworkPolicy
metadata: {name: all}
spec:
  tier: Admin
  priority: 7
  enforcement: Audit
  disabled: true
  description: everything
  owner: somebody
  subject: {clusters: {regions: [eu], matchLabels: {a: b}}, pods: {namespaceSelector: {}, podSelector: {matchLabels: {a: b}}}}
  ingress:
  - {name: in, action: Pass, from: [{clusters: {names: [a]}, nodes: {}}], protocols: [{icmp: {type: 3, code: 1}}, {icmpv6: {}}]}
  egress:
  - name: out
    action: Accept
    to:
    - namespaces: {matchExpressions: [{key: a, operator: NotIn, values: [b]}, {key: c, operator: Exists}]}
    - networks: ["10.0.0.0/8", {cidr: "10.0.0.0/8", except: ["10.1.0.0/16"]}]
    - clusters: {}
      service: {namespace: a, name: b}
    - identities: ["00000000000000000000000000000001"]
    - domainNames: ["*.example.com"]
    protocols:
    - tcp: {destinationPort: {number: 80}}
    - udp: {destinationPort: {range: {start: 1, end: 2}}}
    - sctp: {destinationNamedPort: web}
    - destinationNamedPort: web
"#;
    axle_core::manifest::parse_policies(text).unwrap();
    let document: Value = serde_saphyr::from_str(text).unwrap();
    let spec: MeshNetworkPolicySpec = serde_json::from_value(document["spec"].clone()).unwrap();
    assert_eq!(serde_json::to_value(spec).unwrap(), document["spec"]);
}
