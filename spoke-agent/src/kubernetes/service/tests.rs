use serde_json::{Value, json};

use super::*;

fn read(change: impl FnOnce(&mut Value)) -> Result<Vec<Document>, String> {
    let mut object = json!({
        "metadata": {
            "namespace": "shop", "name": "web", "creationTimestamp": "2026-01-02T03:04:05Z", "labels": {"a": "b"},
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"}
        },
        "spec": {
            "type": "ClusterIP", "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7", "fd00:96::7"],
            "ipFamilies": ["IPv4", "IPv6"], "selector": {"app": "web"}, "sessionAffinity": "ClientIP",
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10}}, "internalTrafficPolicy": "Local",
            "trafficDistribution": "PreferSameZone", "ports": [
                {"name": "http", "port": 80, "targetPort": "web", "appProtocol": "h2c"},
                {"name": "dns", "protocol": "UDP", "port": 53}, {"name": "alt", "port": 81, "targetPort": 8081}
            ]
        }
    });
    change(&mut object);
    let mut read: core::Service = serde_json::from_value(object).unwrap();
    let whole = service(&read);
    trim(&mut read);
    assert_eq!(service(&read), whole, "what is taken away is not needed");
    whole
}

fn one(change: impl FnOnce(&mut Value)) -> Service {
    match &read(change).unwrap()[..] {
        [Document::Service(service)] => service.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_service_with_all_that_it_says() {
    let service = one(|_| {});
    assert_eq!(service.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.96.0.7", "fd00:96::7"]);
    assert_eq!(service.traits.families, [Family::V4, Family::V6]);
    let traffic =
        Traffic { sticky_s: Some(10), internal: Internal::Local, distribution: Some(Distribution::PreferSameZone) };
    assert_eq!((service.traits.traffic, service.traits.headless, service.sliced), (traffic, false, true));
    let ports: Vec<_> = service.ports.iter().map(|port| (port.port, port.protocol, port.target.clone())).collect();
    let wanted = [
        (80, Protocol::Tcp, PortTarget::Name("web".into())),
        (53, Protocol::Udp, PortTarget::Number(53)),
        (81, Protocol::Tcp, PortTarget::Number(8081)),
    ];
    assert_eq!((ports.as_slice(), service.ports[0].app_protocol.as_str()), (&wanted[..], "h2c"));
    assert_eq!((service.affinity, service.global), (Affinity::Local, None));
    let plain = one(|object| object["spec"]["sessionAffinityConfig"] = json!(null));
    assert_eq!(plain.traits.traffic.sticky_s, Some(10_800), "three hours if nobody says");
}

#[test]
fn who_is_published_before_being_ready_is_known_by_slices_alone() {
    assert_eq!(one(|_| {}).selector.len(), 1);
    assert!(one(|object| object["spec"]["publishNotReadyAddresses"] = json!(true)).selector.is_empty());
}

#[test]
fn headless_has_no_address_and_another_name_is_no_service() {
    let headless = one(|object| {
        (object["spec"]["clusterIP"], object["spec"]["clusterIPs"]) = (json!("None"), json!(["None"]));
    });
    assert!(headless.addresses.is_empty() && headless.traits.headless);
    assert_eq!(read(|object| object["spec"]["type"] = json!("ExternalName")), Ok(vec![]));
    let many: Vec<_> = (1..=101).map(|port| json!({"name": format!("p{port}"), "port": port})).collect();
    let why = read(|object| object["spec"]["ports"] = json!(many)).unwrap_err();
    assert!(why.contains("Service shop/web is left out: it has 101 ports"), "{why}");
}

#[test]
fn ciliums_annotations_export_it() {
    let says = |annotations: Value| read(|object| object["metadata"]["annotations"] = annotations).unwrap();
    let global = says(json!({"service.cilium.io/global": "true"}));
    let [Document::ServiceExport(export), Document::Service(service)] = &global[..] else { panic!("{global:?}") };
    assert_eq!((export.created_ms, service.global), (Some(1_767_323_045_000), Some(Affinity::None)));
    let shy = says(json!({"service.cilium.io/global": "true", "service.cilium.io/shared": "false",
        "service.cilium.io/affinity": "remote"}));
    let [Document::Service(service)] = &shy[..] else { panic!("{shy:?}") };
    assert_eq!(service.global, Some(Affinity::Remote));
    assert_eq!(says(json!({"service.cilium.io/global": "false", "service.cilium.io/shared": "true"})).len(), 1);
}

fn read_slice(change: impl FnOnce(&mut Value)) -> Vec<Document> {
    let mut object = json!({
        "metadata": {"namespace": "shop", "name": "web-x1", "labels": {SERVICE: "web", "a": "b"}},
        "addressType": "IPv4", "ports": [{"name": "", "protocol": "TCP", "port": 8080}, {"name": "any"}],
        "endpoints": [
            {"addresses": ["10.1.0.7"], "conditions": {"ready": true, "serving": true, "terminating": false},
             "nodeName": "n1", "zone": "a", "hostname": "web-0", "targetRef": {"kind": "Pod", "name": "web-0"}},
            {"addresses": ["10.1.0.8"]},
            {"addresses": ["10.1.0.9"], "conditions": {"ready": false, "serving": true, "terminating": true}}
        ]
    });
    change(&mut object);
    let mut read: discovery::EndpointSlice = serde_json::from_value(object).unwrap();
    let whole = slice(&read).unwrap();
    trim_slice(&mut read);
    assert_eq!(slice(&read).unwrap(), whole, "what is taken away is not needed");
    whole
}

#[test]
fn a_slice_with_its_backends() {
    let documents = read_slice(|_| {});
    let [Document::EndpointSlice(slice)] = &documents[..] else { panic!("{documents:?}") };
    assert_eq!((slice.service.as_str(), slice.name.as_str()), ("web", "web-x1"));
    assert_eq!(slice.backends.ports, [NamedPort { name: String::new(), protocol: Protocol::Tcp, port: 8080 }]);
    let states: Vec<_> = slice.backends.endpoints.iter().map(|one| (one.ready, one.serving, one.terminating)).collect();
    assert_eq!(states, [(true, true, false), (true, true, false), (false, true, true)]);
    let first = &slice.backends.endpoints[0];
    assert_eq!((first.node.as_str(), first.zone.as_str(), first.hostname.as_str()), ("n1", "a", "web-0"));
    assert!(read_slice(|object| object["addressType"] = json!("FQDN")).is_empty());
    assert!(read_slice(|object| object["metadata"]["labels"] = json!({})).is_empty(), "nobody's");
}
