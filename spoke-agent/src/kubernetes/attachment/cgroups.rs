//! Pods as their cgroups: the kubelet makes one for each, named by the pod's uid, and the runtime puts the processes of the
//! pod's containers below it.
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

/// How far below the root of a hierarchy the group of all pods may be: a kubelet in a group of its own has it there.
const DEPTH_OF_PODS: usize = 3;
/// How far below the group of all pods that of one may be: there is one in between for the quality of service.
const DEPTH_OF_POD: usize = 2;

/// Where version 2 is mounted if `root` only holds mounts of version 1 beside it.
const BESIDE_V1: &str = "unified";

/// The group of all pods at or below `root`, by its names in cgroupfs and in systemd.
pub(super) fn all_pods(root: &Path) -> Option<PathBuf> {
    let beside = root.join(BESIDE_V1);
    let is_group = |folder: &Path| folder.join("cgroup.procs").is_file();
    let root = if !is_group(root) && is_group(&beside) { &beside } else { root };
    let is_it = |name: &str| name == "kubepods" || name == "kubepods.slice" || name.ends_with("-kubepods.slice");
    if root.file_name().and_then(|name| name.to_str()).is_some_and(is_it) {
        return Some(root.to_owned());
    }
    let mut found = None;
    walk(root, DEPTH_OF_PODS, &mut |name, group| {
        let here = is_it(name);
        if here && found.is_none() {
            found = Some(group.to_owned());
        }
        here
    });
    found
}

/// The groups of pods below that of all pods, by the uid that they are named by.
///
/// # Errors
/// If `all` cannot be read.
pub(super) fn pods(all: &Path) -> io::Result<BTreeMap<String, PathBuf>> {
    let mut pods = BTreeMap::new();
    fs::read_dir(all)?;
    walk(all, DEPTH_OF_POD, &mut |name, group| {
        let uid = pod(name);
        uid.map(|uid| pods.insert(uid, group.to_owned())).is_some()
    });
    Ok(pods)
}

/// The processes in `group` and in those below it. One that ends meanwhile has none.
pub(super) fn processes(group: &Path) -> Vec<u32> {
    let mut found = listed(group);
    walk(group, usize::MAX, &mut |_, inner| {
        found.extend(listed(inner));
        false
    });
    found
}

fn listed(group: &Path) -> Vec<u32> {
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    // Zero is a process that this process cannot see.
    text.lines().filter_map(|line| line.parse().ok()).filter(|process| *process != 0).collect()
}

/// Shows each group below `group` to `enough`, which says whether those below that one do not matter.
fn walk(group: &Path, depth: usize, enough: &mut dyn FnMut(&str, &Path) -> bool) {
    let Ok(entries) = fs::read_dir(group) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        let (name, path) = (entry.file_name(), entry.path());
        if !name.to_str().is_some_and(|name| enough(name, &path)) && depth > 1 {
            walk(&path, depth - 1, enough);
        }
    }
}

/// The uid in the name of a pod's group: `pod<uid>` in cgroupfs, `kubepods-burstable-pod<uid>.slice` in systemd, where `_`
/// stands for the `-` of the uid. Source: `GetPodContainerName` of the kubelet.
fn pod(group: &str) -> Option<String> {
    let uid = match group.strip_suffix(".slice") {
        Some(slice) => slice.rsplit_once("-pod")?.1.replace('_', "-"),
        None => group.strip_prefix("pod")?.to_owned(),
    };
    let is_uid = !uid.is_empty() && uid.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    is_uid.then_some(uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "0b2f6c3e-1d7a-4c64-9d3e-5a1f0e9b7c21";

    #[test]
    fn groups_are_named_by_either_driver() {
        let slice = "0b2f6c3e_1d7a_4c64_9d3e_5a1f0e9b7c21";
        for (group, uid) in [
            (format!("pod{UID}"), Some(UID)),
            (format!("kubepods-besteffort-pod{slice}.slice"), Some(UID)),
            (format!("kubepods-pod{slice}.slice"), Some(UID)),
            (format!("kubelet-kubepods-burstable-pod{slice}.slice"), Some(UID)),
            // A pod that a file on the machine describes: its uid is a hash.
            ("pod5f3a0c9e7d1b2a4f6e8c0d9b7a5f3e1c".into(), Some("5f3a0c9e7d1b2a4f6e8c0d9b7a5f3e1c")),
            ("pod".into(), None),
            ("podruntime.slice".into(), None),
            ("podman".into(), None),
            ("burstable".into(), None),
            ("kubepods-burstable.slice".into(), None),
        ] {
            assert_eq!(pod(&group).as_deref(), uid, "{group}");
        }
    }

    #[test]
    fn pods_are_found_at_their_depth_with_the_processes_of_all_containers() {
        let root = tempfile::tempdir().unwrap();
        let all = root.path().join("kubelet.slice/kubelet-kubepods.slice");
        let one = all.join(format!("kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod{}.slice", "ab_1"));
        let two = all.join("kubelet-kubepods-pod12.slice");
        for (group, processes) in [(one.join("a.scope"), "7\n0\n"), (one.join("b.scope"), "8\n9\n"), (two.clone(), "")]
        {
            fs::create_dir_all(&group).unwrap();
            fs::write(group.join("cgroup.procs"), processes).unwrap();
        }
        fs::create_dir_all(root.path().join("system.slice/pod99")).unwrap();
        assert_eq!((all_pods(root.path()), all_pods(&all)), (Some(all.clone()), Some(all.clone())));
        assert_eq!(pods(&all).unwrap(), [("12".to_owned(), two.clone()), ("ab-1".to_owned(), one.clone())].into());
        let mut found = processes(&one);
        found.sort_unstable();
        assert_eq!((found, processes(&two)), (vec![7, 8, 9], vec![]));
        assert_eq!(all_pods(&two), None);
        // Version 1 has groups of pods too, which are not meant.
        let machine = tempfile::tempdir().unwrap();
        let [v1, v2] = ["memory", "unified"].map(|hierarchy| machine.path().join(hierarchy).join("kubepods"));
        for group in [&v1, &v2] {
            fs::create_dir_all(group).unwrap();
            fs::write(group.with_file_name("cgroup.procs"), "").unwrap();
        }
        assert_eq!(all_pods(machine.path()), Some(v2));
        assert!(pods(&root.path().join("gone")).is_err(), "not to be read is not empty");
    }
}
