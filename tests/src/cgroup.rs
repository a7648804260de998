//! The cgroup subtrees that service programs are attached to, one per node.
use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context;

/// What the groups of all runs are in.
const RUNS: &str = "axle-tests";

/// Where the version 2 hierarchy is mounted: its own place on a machine that has version 1 too.
///
/// # Errors
/// Where there is none.
pub fn root() -> anyhow::Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let mut found = mount_points(&mounts, "cgroup2");
    found.next().context("no cgroup2 is mounted; 'mount -t cgroup2 none /sys/fs/cgroup/unified' makes one available")
}

/// Mount point is the fifth field; the type comes first after the separator. Source: proc(5).
fn mount_points(mountinfo: &str, kind: &str) -> impl Iterator<Item = PathBuf> {
    let kind = format!(" - {kind} ");
    let lines = mountinfo.lines().filter(move |line| line.contains(&kind));
    lines.filter_map(|line| line.split(' ').nth(4).map(PathBuf::from))
}

/// The subtree of the run called `name`.
#[must_use]
pub fn of_run(root: &Path, name: &str) -> PathBuf {
    root.join(RUNS).join(name)
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
    remove_empty(group)
}

/// Removes `group` with its children, in which nothing runs.
///
/// # Errors
/// As long as something does.
pub fn remove_empty(group: &Path) -> anyhow::Result<()> {
    let children = match fs::read_dir(group) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        children => children?,
    };
    for child in children.flatten() {
        if child.file_type()?.is_dir() {
            remove_empty(&child.path())?;
        }
    }
    fs::remove_dir(group).with_context(|| format!("cannot remove {}", group.display()))
}

/// Makes the groups in the version 1 hierarchies that go with `group`, which is below the version 2 `root`.
///
/// # Errors
/// Without root's rights.
pub fn make_v1(root: &Path, group: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let inside = group.strip_prefix(root)?;
    let mut made = Vec::new();
    for hierarchy in v1_roots()? {
        let all_runs = hierarchy.join(RUNS);
        fs::create_dir_all(&all_runs).with_context(|| format!("cannot make {}", all_runs.display()))?;
        // A group without processors and memory takes no process in. Source: cpusets(7).
        if hierarchy.join("cpuset.cpus").exists() {
            for file in ["cpuset.cpus", "cpuset.mems"] {
                fs::write(all_runs.join(file), fs::read(hierarchy.join(file))?)?;
            }
            fs::write(all_runs.join("cgroup.clone_children"), "1")?;
        }
        fs::create_dir_all(hierarchy.join(inside))?;
        made.push(hierarchy.join(inside));
    }
    Ok(made)
}

/// Hands all controllers that `root`, of version 2, has on to `group`. On a machine with version 1 it has none.
///
/// # Errors
/// Without root's rights.
pub fn delegate(root: &Path, group: &Path) -> anyhow::Result<()> {
    let controllers = fs::read_to_string(root.join("cgroup.controllers"))?;
    let all: Vec<_> = controllers.split_whitespace().map(|controller| format!("+{controller}")).collect();
    let above = group.ancestors().skip(1).take_while(|group| group.starts_with(root));
    for group in above.collect::<Vec<_>>().into_iter().rev() {
        let control = group.join("cgroup.subtree_control");
        fs::write(&control, all.join(" ")).with_context(|| format!("cannot write to {}", control.display()))?;
    }
    Ok(())
}

/// Where the version 1 hierarchies are mounted, on a machine that has them.
///
/// # Errors
/// Where the mounts cannot be read.
pub fn v1_roots() -> anyhow::Result<Vec<PathBuf>> {
    Ok(mount_points(&fs::read_to_string("/proc/self/mountinfo")?, "cgroup").collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_version_2_beside_version_1() {
        let mounts = "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
        let found = |kind| mount_points(mounts, kind).collect::<Vec<_>>();
        assert_eq!(found("cgroup2"), [PathBuf::from("/sys/fs/cgroup/unified")]);
        assert_eq!(found("cgroup"), [PathBuf::from("/sys/fs/cgroup/cpu")]);
    }
}
