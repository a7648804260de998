//! Builds the kernel programs with their own toolchain, for the build scripts of the crates that embed them.
//!
//! They are built once for all profiles, in a target directory of their own beside the profiles' folders, so that a check
//! after a build (or the other way round) finds them there.
#![expect(clippy::print_stdout, reason = "that is how a build script speaks to cargo")]
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

const TARGET: &str = "bpfel-unknown-none";
/// FOLDER=NAME, separated by commas: what stands for folders of this machine in the programs' debug information.
const REMAP: &str = "AXLE_REMAP_PATHS";

/// Builds the programs and puts the named ones into the calling build script's `OUT_DIR`, to be embedded from there.
///
/// # Errors
/// If the toolchain or the linker is missing (with what to install), or the programs do not build.
pub fn build(programs: &[&str], features: &[&str]) -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for watched in ["src", "common/src", "common/Cargo.toml", "Cargo.toml", "Cargo.lock", "rust-toolchain.toml"] {
        println!("cargo::rerun-if-changed={}", folder.join(watched).display());
    }
    println!("cargo::rerun-if-env-changed={REMAP}");
    ensure!(
        variable("CARGO_CFG_TARGET_ENDIAN")? == "little",
        "the kernel programs are built for little-endian machines only; this target is big-endian"
    );
    let out = PathBuf::from(variable("OUT_DIR")?);
    let built = compile(&folder, &target_directory(&out)?, features)?;
    for program in programs {
        let from = built.join(program);
        fs::copy(&from, out.join(program)).with_context(|| format!("copying {}", from.display()))?;
    }
    Ok(())
}

/// Builds every program; the result is the folder they are in.
fn compile(programs: &Path, target_directory: &Path, features: &[&str]) -> Result<PathBuf> {
    let toolchain = pinned_toolchain(programs)?;
    check_tools(&toolchain)?;
    let architecture = variable("CARGO_CFG_TARGET_ARCH")?;
    let mut flags = vec![
        format!("--cfg=bpf_target_arch=\"{architecture}\""),
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
    ];
    if let Ok(pairs) = env::var(REMAP) {
        flags.extend(pairs.split(',').map(|pair| format!("--remap-path-prefix={pair}")));
    }
    let mut cargo = Command::new("rustup");
    cargo.args(["run", &toolchain, "cargo", "build", "--quiet", "--locked", "--bins", "--release"]);
    cargo.args(["-Zbuild-std=core", "--target", TARGET, "--target-dir"]).arg(target_directory);
    cargo.args(["--features", &features.join(",")]);
    cargo.current_dir(programs).env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    // What cargo and clippy set for this build is not meant for that one.
    for inherited in ["RUSTC", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTFLAGS", "CARGO_TARGET_DIR"] {
        cargo.env_remove(inherited);
    }
    let output = cargo.output().with_context(|| format!("starting {cargo:?}"))?;
    if !output.status.success() {
        bail!("the kernel programs did not build ({cargo:?}):\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(target_directory.join(TARGET).join("release"))
}

/// The toolchain that `spoke-ebpf/rust-toolchain.toml` names.
fn pinned_toolchain(programs: &Path) -> Result<String> {
    let path = programs.join("rust-toolchain.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let channel = text.lines().find_map(|line| line.strip_prefix("channel = \"")?.strip_suffix('"'));
    Ok(channel.with_context(|| format!("{}: no line `channel = \"...\"`", path.display()))?.to_owned())
}

/// Fails with what to install, rather than with what cargo makes of its absence.
fn check_tools(toolchain: &str) -> Result<()> {
    let works = |program: &str, arguments: &[&str]| {
        Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
    };
    ensure!(
        works("rustup", &["run", toolchain, "rustc", "--version"]),
        "the kernel programs need the toolchain {toolchain}, which is not installed.\n\
         Install it: rustup toolchain install {toolchain} --profile minimal --component rust-src   (or: make setup)"
    );
    ensure!(
        works("bpf-linker", &["--version"]),
        "the kernel programs need bpf-linker, which is not in PATH.\n\
         Install it: cargo install bpf-linker --locked   (or: make setup)"
    );
    Ok(())
}

/// `target/ebpf`, from `target/<profile>/build/<package>/out` (with the target's name before the profile, if one is given).
fn target_directory(out: &Path) -> Result<PathBuf> {
    let builds = out.ancestors().find(|folder| folder.ends_with("build"));
    let profile = builds.and_then(Path::parent).and_then(Path::parent);
    let target = profile.with_context(|| format!("OUT_DIR is not below a target directory: {}", out.display()))?;
    Ok(target.join("ebpf"))
}

fn variable(name: &str) -> Result<String> {
    env::var(name).with_context(|| format!("{name} is not set: this is run by cargo alone"))
}
