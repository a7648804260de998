//! What the demo needs of the machine, and how to get it.
use std::process::Command;

use anyhow::bail;
use axle_tests::{cgroup, process::run};
use nix::{sys::utsname::uname, unistd::Uid};

/// The first kernel with tcx.
const KERNEL: (u32, u32) = (6, 6);

/// Names everything that is missing at once.
pub(crate) fn check() -> anyhow::Result<()> {
    let mut missing = Vec::new();
    if !Uid::effective().is_root() {
        missing
            .push("root's rights, for network namespaces and eBPF: run it by 'make demo', which uses sudo".to_owned());
    }
    let release = uname()?.release().to_string_lossy().into_owned();
    if version(&release) < KERNEL {
        let (major, minor) = KERNEL;
        missing.push(format!(
            "Linux {major}.{minor} or newer, for tcx: this is {release}; any current distribution has it"
        ));
    }
    if run(Command::new("ip").arg("-V")).is_err() {
        missing.push("the program 'ip': 'make setup' installs iproute2".to_owned());
    }
    if let Err(error) = cgroup::root() {
        missing.push(error.to_string());
    }
    if missing.is_empty() { Ok(()) } else { bail!("this machine lacks\n  - {}", missing.join("\n  - ")) }
}

/// Major and minor of `6.18.4-distribution`; what cannot be read counts as old.
fn version(release: &str) -> (u32, u32) {
    let mut parts = release.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_kernel_versions() {
        assert_eq!(version("6.18.44-fc"), (6, 18));
        assert_eq!(version("6.6"), (6, 6));
        assert!(version("5.15.0-91-generic") < KERNEL);
        assert!(version("what") < KERNEL);
    }
}
