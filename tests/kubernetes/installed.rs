//! Axle in a cluster: what an installation is, and what its pods can reach.
use std::{fs, path::Path};

use anyhow::{Context as _, bail};
use axle_tests::{
    binaries, cgroup, eventually,
    fleet::{Fleet, PATIENCE},
    kubernetes::{Cluster, Image},
};

const INSTALLATION: &str = include_str!("installation.yaml");

/// A cluster with Axle in it, registered and joined.
pub(crate) fn install(fleet: &mut Fleet, name: &str, number: u8, nodes: usize) -> anyhow::Result<Cluster> {
    let mut cluster = Cluster::start(&mut fleet.fabric, name, number, nodes)?;
    let mut image = Image::new("test.local/axle-agent:1", &["/axle-agent"]);
    for program in ["axle-agent", "axle-cni"] {
        image = image.program(&binaries()?.join(program), &format!("/{program}"))?;
    }
    cluster.load(&image)?;
    fleet.cluster(name, &[])?;
    let token = fleet.hub.json(&["token", "create", "--cluster", name])?;
    let token = token["token"].as_str().context("`axle token create -o json` shows no token")?;
    let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/axle-agent/crds");
    for file in fs::read_dir(crds)? {
        cluster.admin().apply(&fs::read_to_string(file?.path())?)?;
    }
    let documents =
        INSTALLATION.replace("@HUB@", &fleet.hub.address()).replace("@CLUSTER@", name).replace("@TOKEN@", token);
    cluster.admin().apply(&documents.replace("@CGROUP@", &cgroup::root()?.to_string_lossy()))?;
    Ok(cluster)
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
