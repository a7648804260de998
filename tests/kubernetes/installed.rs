//! Axle in a cluster, by its charts, and what pods there can reach.
use std::path::Path;

use anyhow::{Context as _, bail};
use axle_tests::{
    binaries, eventually,
    fleet::{Fleet, PATIENCE},
    kubernetes::{Cluster, Image},
    process::output,
};

/// A cluster with Axle in it, registered and on its way to join.
pub(crate) fn install(fleet: &mut Fleet, name: &str, number: u8, nodes: usize) -> anyhow::Result<Cluster> {
    let mut cluster = Cluster::start(&mut fleet.fabric, name, number, nodes)?;
    load_agent(&mut cluster)?;
    fleet.cluster(name, &[])?;
    let token = fleet.hub.json(&["token", "create", "--cluster", name])?;
    let token = token["token"].as_str().context("`axle token create -o json` shows no token")?;
    kubectl(&cluster, "create namespace axle-system")?;
    kubectl(&cluster, &format!("create secret generic axle-join -n axle-system --from-literal=token={token}"))?;
    agents(&cluster, &fleet.hub.address(), name, &[])?;
    Ok(cluster)
}

/// The image that the agents' chart wants.
pub(crate) fn load_agent(cluster: &mut Cluster) -> anyhow::Result<()> {
    load(cluster, "axle-agent:0.1.0", ["axle-agent", "axle-cni"])
}

/// An image as a chart wants it, of programs under test, of which the first is run; `name` has a tag.
pub(crate) fn load(cluster: &mut Cluster, name: &str, programs: [&str; 2]) -> anyhow::Result<()> {
    let mut image = Image::new(&format!("axle.dev/{name}"), &[&format!("/usr/bin/{}", programs[0])]);
    for program in programs {
        image = image.program(&binaries()?.join(program), &format!("/usr/bin/{program}"))?;
    }
    cluster.load(&image)
}

/// Installs the agents' chart, or changes what is installed; `more` are arguments of helm.
pub(crate) fn agents(cluster: &Cluster, hub: &str, name: &str, more: &[&str]) -> anyhow::Result<()> {
    let values = format!("hub.address={hub},hub.cluster={name},metrics.enabled=true");
    let arguments = ["upgrade", "--install", "agents", "axle-agent", "--namespace=axle-system", "--set", &values];
    helm(cluster, &[&arguments, more].concat())
}

/// The networks of the cluster's pods, as `axle cluster add` takes them.
pub(crate) fn prefixes(cluster: &Cluster) -> anyhow::Result<String> {
    let prefixes = "get nodes -o jsonpath={range.items[*]}{range.spec.podCIDRs[*]}--prefix.{@}..{end}{end}";
    Ok(kubectl(cluster, prefixes)?.replace("--prefix.", "--prefix ").replace("..", " ").trim().to_owned())
}

/// Runs kubectl with the words of `line`.
pub(crate) fn kubectl(cluster: &Cluster, line: &str) -> anyhow::Result<String> {
    cluster.admin().run(&line.split(' ').collect::<Vec<_>>())
}

/// Runs helm in the folder of the charts.
pub(crate) fn helm(cluster: &Cluster, arguments: &[&str]) -> anyhow::Result<()> {
    let mut helm = cluster.admin().command("helm")?;
    helm.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts")).args(arguments);
    let output = output(&mut helm)?;
    if !output.status.success() {
        let pods = cluster.admin().run(&["get", "pods", "--all-namespaces", "--output=wide"]).unwrap_or_default();
        bail!("helm {}: {}\n{pods}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// A pod's address, of the first family.
pub(crate) fn address(cluster: &Cluster, pod: &str) -> anyhow::Result<String> {
    cluster.admin().run(&["get", "pod", pod, "--output=jsonpath={.status.podIP}"])
}

/// The pod gets a page there, if not at once.
pub(crate) fn gets(cluster: &Cluster, pod: &str, server: &str) -> anyhow::Result<()> {
    eventually(&format!("{pod} to get the page of {server}"), PATIENCE, || get(cluster, pod, server)).map(drop)
}

/// The pod gets silence there.
pub(crate) fn is_cut(cluster: &Cluster, pod: &str, server: &str) -> anyhow::Result<()> {
    match get(cluster, pod, server) {
        // Ended by `timeout`, so nothing came back: a fault of kubectl or wget has another code.
        Err(why) if why.to_string().contains("exit code 143") => Ok(()),
        got => bail!("{pod} and {server}, wanted silence: {got:?}"),
    }
}

/// A packet that is denied vanishes, so that there is nothing but waiting.
fn get(cluster: &Cluster, pod: &str, server: &str) -> anyhow::Result<String> {
    let url = format!("http://{server}/");
    cluster.admin().run(&["exec", pod, "--", "timeout", "2", "wget", "-qO-", &url])
}
