//! The agents' chart as `axle cluster join` applies it, without Helm.
use std::{fs, path::Path};

use anyhow::ensure;
use axle_tests::{kubernetes::program, process::output};

/// What stands in place of what is known only when a cluster joins.
const VALUES: [&str; 5] = [
    "hub.address=hub.invalid:1",
    "hub.cluster=cluster-invalid",
    "image.repository=image.invalid/axle-agent",
    "image.tag=invalid",
    "uninstall.cleanup=true",
];

/// The file is made by this test with `AXLE_RENDERED=write`.
#[test]
fn the_documents_of_join_are_the_chart_s() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let path = root.join("cli/src/command/cluster/agents.yaml");
    let mut helm = std::process::Command::new(program("helm")?);
    helm.args(["template", "agents"]).arg(root.join("charts/axle-agent"));
    helm.args(["--namespace", "namespace-invalid", "--skip-tests", "--set", &VALUES.join(",")]);
    let output = output(&mut helm)?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Of hooks nothing is left: whoever applies it knows when.
    let rendered = String::from_utf8(output.stdout)?.replace("managed-by: Helm", "managed-by: axle");
    for document in rendered.split("\n---\n").filter(|document| !document.contains("\nkind: ClusterRole")) {
        ensure!(document.contains("\n  namespace: namespace-invalid\n"), "it does not say where it is:\n{document}");
    }
    if std::env::var("AXLE_RENDERED").is_ok_and(|value| value == "write") {
        fs::write(&path, &rendered)?;
    }
    let text = fs::read_to_string(&path).unwrap_or_default();
    ensure!(
        text == rendered,
        "{} is not what the chart says: AXLE_RENDERED=write cargo test -p axle-tests --test kubernetes rendered",
        path.display()
    );
    Ok(())
}
