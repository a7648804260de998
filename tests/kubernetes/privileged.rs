//! What an agent needs of a node, by way of Helm: the host's network and processes, its cgroups, and a file system for pins.
use std::{fs, time::Duration};

use anyhow::ensure;
use axle_tests::{cgroup, eventually, fabric::Fabric, kubernetes::Cluster, process::run, scenario};

#[test]
#[ignore = "'make test-kubernetes' runs it"]
fn helm_installs_a_daemonset_that_sees_its_node_as_an_agent_must() -> anyhow::Result<()> {
    scenario(Fabric::new, Fabric::folder, helm_installs)
}

fn helm_installs(fabric: &mut Fabric) -> anyhow::Result<()> {
    let cluster = Cluster::start(fabric, "oslo", 1, 2)?;
    let chart = fabric.folder().join("chart");
    fs::create_dir_all(chart.join("templates"))?;
    fs::write(chart.join("Chart.yaml"), "{apiVersion: v2, name: eyes, version: 0.1.0}")?;
    fs::write(chart.join("templates/eyes.yaml"), EYES.replace("CGROUP", &cgroup::root()?.to_string_lossy()))?;
    let mut helm = cluster.admin().command("helm")?;
    helm.args(["install", "eyes"]).arg(&chart).args(["--wait", "--timeout=60s"]);
    run(&mut helm)?;

    for node in &cluster.nodes {
        let name = &node.host.name;
        let seen = cluster.admin().run(&["logs", "daemonset/eyes", "--all-pods"])?;
        ensure!(seen.contains(&format!("{name} kubelet eth0 bpf kubepods")), "{name}: {seen}");
    }
    // What it pins stays on the node when it goes, and is nobody else's.
    let mut helm = cluster.admin().command("helm")?;
    run(helm.args(["uninstall", "eyes", "--wait"]))?;
    for node in &cluster.nodes {
        let pins = node.root()?.join("sys/fs/bpf/eyes");
        eventually("the pins to be there", Duration::from_secs(5), || Ok(fs::metadata(&pins)?))?;
    }
    ensure!(!fs::exists("/sys/fs/bpf/eyes")?, "the node wrote to the machine's own pins");
    Ok(())
}

const EYES: &str = r#"
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: eyes}
spec:
  selector: {matchLabels: {app: eyes}}
  template:
    metadata: {labels: {app: eyes}}
    spec:
      hostNetwork: true
      hostPID: true
      terminationGracePeriodSeconds: 0
      containers:
      - name: eyes
        image: test.local/busybox:1
        securityContext: {privileged: true}
        command:
        - sh
        - -c
        - |
          mkdir -p /sys/fs/bpf/eyes
          echo $(hostname) $(cat /proc/[0-9]*/comm | grep kubelet) $(ls /sys/class/net | grep eth0) \
            $(grep " /sys/fs/bpf " /proc/mounts | cut -d " " -f 3) $(ls /host/cgroup | grep kubepods)
          exec sleep 86400
        volumeMounts:
        - {name: pins, mountPath: /sys/fs/bpf, mountPropagation: Bidirectional}
        - {name: cgroup, mountPath: /host/cgroup}
      volumes:
      - {name: pins, hostPath: {path: /sys/fs/bpf}}
      - {name: cgroup, hostPath: {path: CGROUP}}
"#;
