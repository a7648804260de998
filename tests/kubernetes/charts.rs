//! The charts: rendered by Helm with many values, and taken by an API server; what contradicts is refused with a sentence.
use std::fs;

use anyhow::{Context as _, ensure};
use axle_tests::kubernetes::{ApiServer, program, rehearse, template};
use serde_json::{Value, json};

const NAMESPACE: &str = "axle-system";

/// Kinds of others that a chart may make, as their authors define them.
const FOREIGN: [&str; 4] = ["certificates", "issuers", "servicemonitors", "podmonitors"];

/// What `helm template` makes of a chart with these values, each as `--set` takes it.
fn render(chart: &str, values: &[&str]) -> anyhow::Result<String> {
    let values = values.iter().flat_map(|value| ["--set", value]);
    template(chart, &["--namespace", NAMESPACE].into_iter().chain(values).collect::<Vec<_>>())
}

/// An API server with these accounts in a namespace whose pods may have `level`'s rights, as the Pod Security Standards name
/// them.
fn server(level: &str, accounts: &[&str]) -> anyhow::Result<ApiServer> {
    let server = ApiServer::start()?;
    server.namespace(NAMESPACE)?;
    for account in accounts {
        server.admin().run(&["create", "serviceaccount", account, "-n", NAMESPACE])?;
    }
    let label = format!("pod-security.kubernetes.io/enforce={level}");
    server.admin().run(&["label", "namespace", NAMESPACE, &label])?;
    for kind in FOREIGN {
        let definition = fs::read_to_string(program(&format!("{kind}.yaml"))?)?;
        server.admin().feed(&["apply", "--server-side", "-f", "-"], &definition)?;
    }
    server.admin().run(&["wait", "--for=condition=Established", "crd", "--all"])?;
    Ok(server)
}

/// The objects of a rendered chart, as the API server would make them.
fn taken(server: &ApiServer, documents: &str) -> anyhow::Result<Vec<Value>> {
    let arguments = ["apply", "--dry-run=server", "--validate=strict", "-n", NAMESPACE, "-o", "json", "-f", "-"];
    let list: Value = serde_json::from_str(&server.admin().feed(&arguments, documents)?)?;
    // Of one object there is no list.
    let objects = list["items"].as_array().cloned().unwrap_or_else(|| vec![list]);
    for object in &objects {
        // Whoever makes pods of a template is only warned: a pod itself is refused.
        let template = &object["spec"]["template"];
        if template.is_object() {
            let mut pod =
                json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": template["spec"]});
            pod["spec"]["serviceAccountName"] = json!("default");
            for claim in object["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten() {
                let volume = json!({"name": claim["metadata"]["name"], "emptyDir": {}});
                pod["spec"]["volumes"].as_array_mut().context("volumes")?.push(volume);
            }
            server.admin().feed(&arguments, &pod.to_string())?;
        }
    }
    Ok(objects)
}

fn find<'a>(objects: &'a [Value], kind: &str) -> Option<&'a Value> {
    objects.iter().find(|object| object["kind"] == kind)
}

const POSTGRES: [&str; 2] = ["database.kind=postgres", "database.postgres.existingSecret=database"];

#[test]
fn the_hubs_chart_is_taken_with_restricted_rights() -> anyhow::Result<()> {
    let server = server("restricted", &["test-axle-hub"])?;
    let objects = taken(&server, &render("axle-hub", &[])?)?;
    ensure!(find(&objects, "StatefulSet").is_some() && find(&objects, "PodDisruptionBudget").is_none(), "{objects:?}");

    let more = [
        "replicas=3",
        "updateStrategy=RollingUpdate",
        "advertise={hub.example:7443,[2001:db8::1]:7443}",
        "listenAddress=::",
        "database.postgres.ca.existingSecret=database",
        "database.postgres.ca.key=root.pem",
    ];
    let objects = taken(&server, &render("axle-hub", &[&POSTGRES[..], &more].concat())?)?;
    let hub = find(&objects, "Deployment").context("a Deployment")?;
    let environment = hub["spec"]["template"]["spec"]["containers"][0]["env"].to_string();
    for wanted in ["hub.example:7443,[2001:db8::1]:7443", "[::]:7443", r#""key":"url","name":"database""#, "/root.pem"]
    {
        ensure!(environment.contains(wanted), "{wanted} in {environment}");
    }
    ensure!(find(&objects, "PodDisruptionBudget").is_some());

    let everything = [
        "service.type=LoadBalancer",
        "service.nodePort=30443",
        "ingress.enabled=true",
        "ingress.className=nginx",
        "ingress.host=hub.example",
        "ingress.tls.secretName=hub-tls",
        "ingress.tls.certManager.enabled=true",
        "ingress.tls.certManager.issuerName=letsencrypt",
        "metrics.serviceMonitor.enabled=true",
        "metrics.serviceMonitor.tokenSecret.name=prometheus",
        "metrics.serviceMonitor.labels.release=prometheus",
        "networkPolicy.from[0].ipBlock.cidr=10.0.0.0/8",
        "settings.heartbeat=5s",
        "settings.log-format=json",
        "podLabels.team=net",
        "podAnnotations.a=b",
        "tolerations[0].operator=Exists",
        "nodeSelector.disk=ssd",
        "priorityClassName=system-cluster-critical",
        "imagePullSecrets[0].name=registry",
        "image.tag=other",
        "database.sqlite.storageClassName=fast",
    ];
    let objects = taken(&server, &render("axle-hub", &everything)?)?;
    let monitor = find(&objects, "ServiceMonitor").context("a ServiceMonitor")?;
    ensure!(monitor["spec"]["endpoints"][0]["authorization"]["credentials"]["name"] == "prometheus", "{monitor}");
    let certificate = find(&objects, "Certificate").context("a Certificate")?;
    ensure!(certificate["spec"]["dnsNames"] == json!(["hub.example"]), "{certificate}");
    ensure!(find(&objects, "Ingress").is_some());
    let hub = find(&objects, "StatefulSet").context("a StatefulSet")?.to_string();
    for wanted in ["AXLE_HUB_HEARTBEAT", "AXLE_HUB_LOG_FORMAT", "axle.dev/axle-hub:other", "fast"] {
        ensure!(hub.contains(wanted), "{wanted} in {hub}");
    }
    Ok(())
}

#[test]
fn values_of_the_hub_that_contradict_are_refused_with_a_sentence() -> anyhow::Result<()> {
    for (values, sentence) in [
        (&["replicas=2"][..], "SQLite is for one hub"),
        (&["database.kind=postgres"], "name the Secret that holds its URL"),
        (&["database.postgres.existingSecret=x"], "set database.kind to postgres"),
        (&["database.postgres.ca.existingSecret=x"], "with the root of a PostgreSQL"),
        (&[POSTGRES[0], POSTGRES[1], "database.sqlite.storageClassName=x"], "is for SQLite's volume"),
        (&["updateStrategy=RollingUpdate"], "the one hub must end"),
        (&["networkPolicy.enabled=false", "networkPolicy.from[0].ipBlock.cidr=10.0.0.0/8"], "who may connect"),
        (&["ingress.host=hub.example"], "enable it, or leave the host out"),
        (&["ingress.enabled=true", "ingress.tls.secretName=x"], "give the host"),
        (&["ingress.enabled=true", "ingress.host=hub.example"], "name the Secret of its certificate"),
        (&["ingress.tls.certManager.enabled=true", "ingress.tls.certManager.issuerName=x"], "enable the ingress too"),
        (&["ingress.tls.certManager.enabled=true"], "name its issuer"),
        (&["metrics.serviceMonitor.enabled=true"], "a viewer's token"),
        (&["service.nodePort=30443"], "has no node port"),
        (&["advertise={hub}"], "/advertise/0"),
        (&["settings.heartbeet=3s"], "heartbeet"),
        (&["replica=3"], "additional properties 'replica'"),
        (&["database.kind=mysql"], "value must be one of 'sqlite', 'postgres'"),
    ] {
        let refused = render("axle-hub", values).err().with_context(|| format!("{values:?} was taken"))?.to_string();
        ensure!(refused.replace('\\', "").contains(sentence), "{values:?}: {refused}");
    }
    Ok(())
}

const HUB: [&str; 2] = ["hub.address=hub.example:7443", "hub.cluster=oslo"];

#[test]
fn the_agents_chart_is_taken_and_only_nodes_need_rights() -> anyhow::Result<()> {
    let server = server("privileged", &["axle-agent", "axle-relay", "axle-cleanup"])?;
    let everything = [
        "uninstall.cleanup=true",
        "networkPolicies=ignore",
        "cgroupRoot=/sys/fs/cgroup/unified",
        "podsCgroup=kubepods",
        "cni.enabled=false",
        "dns.enabled=false",
        "settings.heartbeat=5s",
        "agent.maxUnavailable=3",
        "agent.podLabels.team=net",
        "relay.replicas=1",
        "relay.nodeSelector.disk=ssd",
        "imagePullSecrets[0].name=registry",
        "metrics.enabled=true",
        "metrics.from[0].podSelector.matchLabels.app=prometheus",
        "metrics.podMonitor.enabled=true",
        "metrics.podMonitor.labels.release=prometheus",
    ];
    for values in [&[][..], &everything] {
        let objects = taken(&server, &render("axle-agent", &[&HUB[..], values].concat())?)?;
        let agent =
            objects.iter().find(|object| object["metadata"]["name"] == "axle-agent" && object["kind"] == "DaemonSet");
        let capabilities =
            &agent.context("a DaemonSet")?["spec"]["template"]["spec"]["containers"][0]["securityContext"];
        ensure!(
            capabilities["privileged"].is_null() && capabilities["capabilities"]["drop"] == json!(["ALL"]),
            "{capabilities}"
        );
        let cleanup =
            objects.iter().find(|object| object["metadata"]["name"] == "axle-cleanup" && object["kind"] == "DaemonSet");
        let cleanup = &cleanup.context("a DaemonSet")?["spec"]["template"]["spec"]["initContainers"][0]["args"];
        let wanted = if values.is_empty() { json!(["cleanup", "--chain-only"]) } else { json!(["cleanup"]) };
        ensure!(*cleanup == wanted, "enforcement is ended by who asks for that: {cleanup}");
        ensure!(find(&objects, "PodDisruptionBudget").is_some() == values.is_empty());
        let dns = objects.iter().find(|object| object["metadata"]["name"] == "axle-dns");
        ensure!(dns.is_some() == values.is_empty(), "{dns:?}");
        ensure!(dns.is_none_or(|dns| dns["spec"]["internalTrafficPolicy"] == "Local"), "{dns:?}");

        // The relay's pods would run where the strictest rules are.
        server.admin().run(&[
            "label",
            "--overwrite",
            "namespace",
            NAMESPACE,
            "pod-security.kubernetes.io/enforce=restricted",
        ])?;
        let relay = find(&objects, "Deployment").context("a Deployment")?;
        taken(&server, &relay.to_string())?;
        let refused = taken(&server, &agent.context("a DaemonSet")?.to_string());
        ensure!(
            refused.is_err_and(|error| error.to_string().contains("violates PodSecurity")),
            "the rules are in force"
        );
        server.admin().run(&[
            "label",
            "--overwrite",
            "namespace",
            NAMESPACE,
            "pod-security.kubernetes.io/enforce=privileged",
        ])?;
    }
    Ok(())
}

#[test]
fn the_agents_may_do_what_they_do_and_no_more() -> anyhow::Result<()> {
    let server = server("privileged", &[])?;
    server.agents(NAMESPACE)?;
    let may = |account: &str, what: &[&str]| {
        let who = format!("--as=system:serviceaccount:{NAMESPACE}:{account}");
        server.admin().run(&[&["auth", "can-i", who.as_str()], what].concat()).is_ok()
    };
    for (account, allowed, what) in [
        ("axle-agent", true, &["list", "pods", "-A"][..]),
        ("axle-agent", true, &["get", "configmaps/axle-relay", "-n", NAMESPACE]),
        ("axle-agent", false, &["get", "secrets/axle-relay", "-n", NAMESPACE]),
        ("axle-agent", false, &["patch", "pods", "-A"]),
        ("axle-relay", true, &["create", "tokenreviews.authentication.k8s.io"]),
        ("axle-relay", true, &["patch", "secrets/axle-relay", "-n", NAMESPACE]),
        ("axle-relay", false, &["get", "secrets/other", "-n", NAMESPACE]),
        ("axle-relay", false, &["get", "secrets", "-n", "default"]),
        ("axle-relay", true, &["create", "endpointslices.discovery.k8s.io", "-n", "default"]),
        ("axle-relay", false, &["patch", "endpointslices.discovery.k8s.io", "-n", "default"]),
        ("axle-agent", false, &["create", "endpointslices.discovery.k8s.io", "-n", "default"]),
        ("axle-relay", false, &["delete", "pods", "-n", NAMESPACE]),
        ("axle-relay", false, &["patch", "pods", "-n", NAMESPACE]),
        ("axle-relay", true, &["patch", "pods", "--subresource=status", "-n", NAMESPACE]),
    ] {
        ensure!(may(account, what) == allowed, "{account} {what:?}: wanted {allowed}");
    }
    Ok(())
}

#[test]
fn values_of_the_agents_that_contradict_are_refused_with_a_sentence() -> anyhow::Result<()> {
    for (values, sentence) in [
        (&[][..], "give the hub's address"),
        (&["hub.address=h:1"], "give the cluster's name"),
        (&["hub.address=h", "hub.cluster=a"], "/hub/address"),
        (&["hub.address=h:1", "hub.cluster=A"], "/hub/cluster"),
        (&["hub.address=h:1", "hub.cluster=a", "metrics.podMonitor.enabled=true"], "enable the metrics"),
        (&["hub.address=h:1", "hub.cluster=a", "metrics.enabled=true", "metrics.port=7444"], "give another one"),
        (&["hub.address=h:1", "hub.cluster=a", "metrics.from[0].ipBlock.cidr=10.0.0.0/8"], "enable them, or leave"),
        (
            &[
                "hub.address=h:1",
                "hub.cluster=a",
                "metrics.enabled=true",
                "networkPolicy.enabled=false",
                "metrics.from[0].ipBlock.cidr=10.0.0.0/8",
            ],
            "enable the policy too",
        ),
        (&["hub.address=h:1", "hub.cluster=a", "cni.enabled=false", "cni.unprotected=allowed"], "without the plugin"),
        (
            &[
                "hub.address=h:1",
                "hub.cluster=a",
                "relay.replicas=1",
                "relay.topologySpreadConstraints[0].topologyKey=zone",
            ],
            "cannot be spread",
        ),
        (&["hub.address=h:1", "hub.cluster=a", "networkPolicies=maybe"], "'enforce', 'ignore'"),
        (&["hub.address=h:1", "hub.cluster=a", "settings.cluster=b"], "cluster"),
        (&["hub.address=h:1", "hub.cluster=a", "dns.port=53"], "/dns/port"),
    ] {
        let refused = render("axle-agent", values).err().with_context(|| format!("{values:?} was taken"))?.to_string();
        ensure!(refused.replace('\\', "").contains(sentence), "{values:?}: {refused}");
    }
    Ok(())
}

#[test]
fn agents_do_not_come_beside_what_ends_enforcement() -> anyhow::Result<()> {
    let server = server("privileged", &[])?;
    let values = ["--namespace", NAMESPACE, "--set", HUB[0], "--set", HUB[1]];
    rehearse(server.admin(), "axle-agent", &values)?;
    let rendered = render("axle-agent", &HUB)?;
    let cleanup =
        rendered.split("\n---\n").find(|text| text.contains("kind: DaemonSet\n") && text.contains("axle-cleanup"));
    server.admin().apply(cleanup.context("a DaemonSet")?)?;
    let refused = rehearse(server.admin(), "axle-agent", &values).err().context("it was taken")?.to_string();
    ensure!(refused.contains("delete daemonset axle-cleanup"), "{refused}");
    Ok(())
}
