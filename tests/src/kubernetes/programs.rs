//! Where Kubernetes' programs are.
use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use anyhow::anyhow;

use crate::process::run;

/// The file of the program `name`, such as `kube-apiserver`.
///
/// # Errors
/// Where something of Kubernetes is missing: it says what, and that `make setup-kubernetes` builds it.
pub fn program(name: &str) -> anyhow::Result<PathBuf> {
    static FOLDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let find = || {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/setup-kubernetes");
        let found = run(Command::new(script).arg("where")).map_err(|error| format!("{error:#}"))?;
        Ok(found.trim_end().into())
    };
    FOLDER.get_or_init(find).as_ref().map(|folder| folder.join(name)).map_err(|error| anyhow!("{error}"))
}
