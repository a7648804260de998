//! From a pod to a workload.
use std::net::IpAddr;

use axle_core::{
    manifest::{Incarnation, Workload},
    model::{Host, Name, NamedPort, Protocol, Uid},
};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use kube::ResourceExt;

use super::attachment::Place;

/// Where the kubelet notes the uid under which a pod runs that a file on its machine describes: the API server has a mirror
/// of it, with another uid.
const RUNS_AS: &str = "kubernetes.io/config.hash";

/// Takes away what nobody here needs.
pub fn trim(pod: &mut Pod) {
    pod.metadata.annotations.get_or_insert_default().retain(|key, _| key == RUNS_AS);
    if let Some(spec) = &mut pod.spec {
        spec.volumes = None;
        let containers = spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten());
        for container in containers {
            let Container { name, ports, restart_policy, .. } = std::mem::take(container);
            *container = Container { name, ports, restart_policy, ..Container::default() };
        }
    }
    if let Some(status) = &mut pod.status {
        status.container_statuses = None;
        status.init_container_statuses = None;
    }
}

/// The uid by which a pod's cgroup is named, in the API server's spelling.
#[must_use]
pub fn runs_as(pod: &Pod) -> String {
    pod.annotations().get(RUNS_AS).or(pod.metadata.uid.as_ref()).cloned().unwrap_or_default()
}

/// The workload that the pod is, attached at `place`; `None` if it is none: it has no address yet, has ended (evicted pods
/// have failed), or is on its node's network and so is the node. The API server hears of a pod's addresses last: before that
/// they are those of its place.
///
/// # Errors
/// What the model cannot say, in a sentence.
pub fn workload(pod: &Pod, place: Option<&Place>) -> Result<Option<Workload>, String> {
    let (Some(spec), Some(status)) = (&pod.spec, &pod.status) else { return Ok(None) };
    let ended = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    let texts: Vec<&String> = match &status.pod_ips {
        Some(all) if !all.is_empty() => all.iter().map(|one| &one.ip).collect(),
        _ => status.pod_ip.iter().collect(),
    };
    if ended || spec.host_network == Some(true) {
        return Ok(None);
    }
    let called = || format!("pod {}/{}", pod.namespace().unwrap_or_default(), pod.name_any());
    let wrong = |what: &str, why: String| format!("{}: its {what} cannot be understood: {why}", called());
    let name = |what: &str, text: Option<String>| {
        Name::new(text.unwrap_or_default()).map_err(|error| wrong(what, error.to_string()))
    };
    let addresses = texts.into_iter().map(|text| text.parse().map_err(|_| wrong("address", format!("{text:?}"))));
    let mut addresses: Vec<IpAddr> = addresses.collect::<Result<_, _>>()?;
    if addresses.is_empty() {
        addresses = place.map(|place| place.addresses.clone()).unwrap_or_default();
    }
    if addresses.is_empty() {
        return Ok(None);
    }
    let uid: Uid = pod.uid().unwrap_or_default().parse().map_err(|why| wrong("uid", why))?;
    let started_ms = pod.creation_timestamp().map_or(0, |made| made.0.as_millisecond().try_into().unwrap_or_default());
    let ready = status.conditions.iter().flatten().any(|one| one.type_ == "Ready" && one.status == "True");
    Ok(Some(Workload {
        namespace: name("namespace", pod.namespace())?,
        name: name("name", pod.metadata.name.clone())?,
        labels: pod.labels().clone(),
        service_account: spec.service_account_name.clone().unwrap_or_default(),
        interface: place.map(|place| place.interface.clone()),
        addresses,
        named_ports: named_ports(spec.containers.iter().chain(sidecars(spec.init_containers.as_deref()))),
        // One that is asked to go still answers, and gets nothing new.
        ready: ready && pod.metadata.deletion_timestamp.is_none(),
        host: host(spec),
        incarnation: Some(Incarnation { uid, started_ms }),
    }))
}

/// Its name in the domain of the headless service that it names.
fn host(spec: &PodSpec) -> Option<Host> {
    let name = |text: &Option<String>| text.as_deref().and_then(|text| Name::new(text).ok());
    Some(Host { name: name(&spec.hostname)?, service: name(&spec.subdomain)? })
}

/// Init containers that go on beside the others.
fn sidecars(init: Option<&[Container]>) -> impl Iterator<Item = &Container> {
    init.unwrap_or_default().iter().filter(|container| container.restart_policy.as_deref() == Some("Always"))
}

/// Of two ports of one name and protocol the first one counts, as Kubernetes has it.
fn named_ports<'a>(containers: impl Iterator<Item = &'a Container>) -> Vec<NamedPort> {
    let mut found: Vec<NamedPort> = Vec::new();
    for port in containers.flat_map(|container| container.ports.iter().flatten()) {
        let protocol = match port.protocol.as_deref() {
            None | Some("TCP") => Protocol::Tcp,
            Some("UDP") => Protocol::Udp,
            Some("SCTP") => Protocol::Sctp,
            // The API server takes no other.
            Some(_) => continue,
        };
        let (Some(name), Ok(number @ 1..)) = (&port.name, u16::try_from(port.container_port)) else { continue };
        if !found.iter().any(|held| held.name == *name && held.protocol == protocol) {
            found.push(NamedPort { name: name.clone(), protocol, port: number });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(change: impl FnOnce(&mut Value)) -> Pod {
        let mut pod = json!({
            "metadata": {
                "namespace": "shop", "name": "web-1", "labels": {"app": "web"}, "uid": "0b2f6c3e-1d7a-4c64-9d3e-5a1f0e9b7c21",
                "creationTimestamp": "2026-01-02T03:04:05Z", "annotations": {"a": "b"}
            },
            "spec": {
                "nodeName": "n1", "hostname": "web-1", "subdomain": "web", "serviceAccountName": "web", "volumes": [{"name": "v"}],
                "containers": [
                    {"name": "a", "image": "i", "ports": [{"name": "http", "containerPort": 8080}, {"containerPort": 1}]},
                    {"name": "b", "ports": [{"name": "dns", "containerPort": 53, "protocol": "UDP"}]},
                    {"name": "c", "ports": [{"name": "http", "containerPort": 9090}]}
                ],
                "initContainers": [
                    {"name": "once", "ports": [{"name": "once", "containerPort": 7}]},
                    {"name": "beside", "restartPolicy": "Always", "ports": [{"name": "proxy", "containerPort": 15001}]}
                ]
            },
            "status": {
                "phase": "Running", "podIP": "10.1.0.7", "podIPs": [{"ip": "10.1.0.7"}, {"ip": "fd00::7"}],
                "conditions": [{"type": "Ready", "status": "True"}]
            }
        });
        change(&mut pod);
        serde_json::from_value(pod).unwrap()
    }

    fn place() -> Place {
        Place { interface: "veth1".into(), addresses: vec![IpAddr::from([10, 1, 0, 9])] }
    }

    fn of(change: impl FnOnce(&mut Value)) -> Option<Workload> {
        workload(&pod(change), Some(&place())).unwrap()
    }

    #[test]
    fn a_running_pod_with_all_that_it_has() {
        let found = of(|_| {}).unwrap();
        assert_eq!(
            (found.namespace.as_str(), found.name.as_str(), found.service_account.as_str()),
            ("shop", "web-1", "web")
        );
        assert_eq!(found.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.1.0.7", "fd00::7"]);
        let ports: Vec<_> =
            found.named_ports.iter().map(|port| (port.name.as_str(), port.port, port.protocol)).collect();
        let wanted = [("http", 8080, Protocol::Tcp), ("dns", 53, Protocol::Udp), ("proxy", 15001, Protocol::Tcp)];
        assert_eq!(ports, wanted, "of the first container, and of sidecars");
        assert_eq!(found.host.as_ref().map(|host| host.service.as_str()), Some("web"));
        assert!(found.ready && found.interface.as_deref() == Some("veth1"));
        let Incarnation { uid, started_ms } = found.incarnation.unwrap();
        assert_eq!((uid.to_string().as_str(), started_ms), ("0b2f6c3e-1d7a-4c64-9d3e-5a1f0e9b7c21", 1_767_323_045_000));
        let mut trimmed = pod(|_| {});
        trim(&mut trimmed);
        assert_eq!(workload(&trimmed, Some(&place())).unwrap().unwrap(), found, "what is taken away is not needed");
        assert!(trimmed.annotations().is_empty() && trimmed.spec.unwrap().containers[0].image.is_none());
    }

    #[test]
    fn who_is_none_and_who_is_not_ready() {
        for phase in ["Succeeded", "Failed"] {
            assert_eq!(of(|pod| pod["status"]["phase"] = json!(phase)), None, "{phase}");
        }
        assert_eq!(of(|pod| pod["spec"]["hostNetwork"] = json!(true)), None, "it is the node");
        let starting = |place| workload(&pod(|pod| pod["status"] = json!({"phase": "Pending"})), place).unwrap();
        assert_eq!(starting(None), None, "no address yet");
        assert_eq!(starting(Some(&place())).unwrap().addresses, place().addresses, "its network is there already");
        let one = of(|pod| drop(pod["status"].as_object_mut().unwrap().remove("podIPs"))).unwrap();
        assert_eq!(one.addresses.len(), 1);
        let going = of(|pod| pod["metadata"]["deletionTimestamp"] = json!("2026-01-02T03:05:00Z")).unwrap();
        assert!(!going.ready, "asked to go");
        assert!(!of(|pod| pod["status"]["conditions"] = json!([])).unwrap().ready);
        assert!(!of(|pod| pod["status"]["conditions"][0]["status"] = json!("False")).unwrap().ready);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (change, wanted) in [
            (json!({"metadata": {"uid": "none"}}), "pod shop/web-1: its uid cannot be understood"),
            (json!({"status": {"podIPs": [{"ip": "10.1.0"}]}}), "its address cannot be understood: \"10.1.0\""),
        ] {
            let faulty = pod(|pod| {
                for (part, fields) in change.as_object().unwrap() {
                    for (field, value) in fields.as_object().unwrap() {
                        pod[part][field] = value.clone();
                    }
                }
            });
            let why = workload(&faulty, None).unwrap_err();
            assert!(why.contains(wanted), "{why}");
        }
    }

    #[test]
    fn a_static_pod_runs_under_another_uid_than_its_mirror_has() {
        assert_eq!(runs_as(&pod(|_| {})), "0b2f6c3e-1d7a-4c64-9d3e-5a1f0e9b7c21");
        let mut mirror =
            pod(|pod| pod["metadata"]["annotations"] = json!({"kubernetes.io/config.hash": "ab12", "x": "y"}));
        trim(&mut mirror);
        assert_eq!(runs_as(&mirror), "ab12");
    }
}
