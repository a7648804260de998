//! `helm`, where it needs no cluster.
use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::bail;

use super::{Kubectl, program};
use crate::process::output;

/// What `helm template` makes of a chart of this project, with further arguments.
///
/// # Errors
/// If helm refuses; the message is its complaint.
pub fn template(name: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let mut helm = Command::new(program("helm")?);
    helm.arg("template").arg("test").arg(chart(name)).args(arguments);
    said(&mut helm)
}

/// What `helm install` would do at this API server, without doing it.
///
/// # Errors
/// As [`template`].
pub fn rehearse(server: &Kubectl, name: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let mut helm = server.command("helm")?;
    helm.arg("install").arg("test").arg(chart(name)).args(arguments).arg("--dry-run=server");
    said(&mut helm)
}

fn chart(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts").join(name)
}

fn said(helm: &mut Command) -> anyhow::Result<String> {
    let output = output(helm)?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}
