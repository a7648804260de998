//! Where the real programs are.
use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use anyhow::{Context, anyhow};

use crate::process::run;

/// The folder with `axle`, `axle-hub`, `axle-agent` and `axle-probe`, all built from this checkout: the one named by
/// `AXLE_BINARIES` (`make test` builds first and sets it), else the one of the calling program, which is built with them.
/// A test that was started by itself builds them first.
///
/// # Errors
/// Where they do not build.
pub fn binaries() -> anyhow::Result<&'static Path> {
    static FOLDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| find().map_err(|error| format!("{error:#}")));
    folder.as_deref().map_err(|error| anyhow!("{error}"))
}

fn find() -> anyhow::Result<PathBuf> {
    if let Some(folder) = env::var_os("AXLE_BINARIES") {
        return Ok(folder.into());
    }
    let own = env::current_exe()?;
    let beside = own.parent().context("a program is in a folder")?;
    if !beside.ends_with("deps") {
        return Ok(beside.to_owned());
    }
    let folder = beside.parent().context("`deps` is in a folder")?;
    // The same targets as a test run has, so that nothing is built twice with different features.
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--workspace", "--all-targets"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    run(&mut cargo)?;
    Ok(folder.to_owned())
}
