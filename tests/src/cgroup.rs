//! The cgroup subtrees that service programs are attached to, one per node.
use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context;

/// Where the version 2 hierarchy is mounted: its own place on a machine that has version 1 too.
///
/// # Errors
/// Where there is none.
pub fn root() -> anyhow::Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    mount_point(&mounts)
        .context("no cgroup2 is mounted; 'mount -t cgroup2 none /sys/fs/cgroup/unified' makes one available")
}

/// Mount point is the fifth field; the type comes first after the separator. Source: proc(5).
fn mount_point(mountinfo: &str) -> Option<PathBuf> {
    let line = mountinfo.lines().find(|line| line.contains(" - cgroup2 "))?;
    line.split(' ').nth(4).map(PathBuf::from)
}

/// The subtree of the run called `name`.
#[must_use]
pub fn of_run(root: &Path, name: &str) -> PathBuf {
    root.join("axle-tests").join(name)
}

/// Kills what runs in `group` and removes it with its children.
///
/// # Errors
/// As long as processes in it are dying; try again then.
pub fn remove(group: &Path) -> anyhow::Result<()> {
    match fs::write(group.join("cgroup.kill"), "1") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        killed => killed.with_context(|| format!("cannot kill what runs in {}", group.display()))?,
    }
    for entry in fs::read_dir(group)?.flatten() {
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    fs::remove_dir(group).with_context(|| format!("cannot remove {}", group.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_version_2_beside_version_1() {
        let mounts = "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_point(mounts), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(mount_point("32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"), None);
    }
}
