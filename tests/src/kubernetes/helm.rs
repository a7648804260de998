//! `helm`, where it needs no cluster.
use std::{path::Path, process::Command};

use anyhow::bail;

use super::program;
use crate::process::output;

/// What `helm template` makes of a chart of this project, with further arguments.
///
/// # Errors
/// If helm refuses; the message is its complaint.
pub fn template(name: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let mut helm = Command::new(program("helm")?);
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts").join(name);
    helm.arg("template").arg("test").arg(chart).args(arguments);
    let output = output(&mut helm)?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}
