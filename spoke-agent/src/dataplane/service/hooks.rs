//! The hooks of the service programs at a cgroup, and the pinned links that hold them there.
use std::{fs::File, io, os::unix::fs::MetadataExt as _, path::Path};

use aya::{
    Ebpf,
    programs::{
        CgroupAttachMode, CgroupSockAddr,
        cgroup_sock_addr::CgroupSockAddrLink,
        links::{FdLink, PinnedLink},
    },
};

use super::super::{Error, load, pins};

/// The hooks, as the programs are called without `axle_`.
pub(super) const HOOKS: [&str; 8] =
    ["connect4", "connect6", "sendmsg4", "sendmsg6", "recvmsg4", "recvmsg6", "getpeername4", "getpeername6"];

/// Names of pinned links begin so.
const LINK_PREFIX: &str = "service_";

/// A cgroup of workloads, open.
pub(super) struct Cgroup<'p> {
    path: &'p Path,
    folder: File,
    number: u64,
}

impl<'p> Cgroup<'p> {
    pub(super) fn open(path: &'p Path) -> Result<Self, Error> {
        let folder = File::open(path).map_err(cgroup_error(path))?;
        let number = folder.metadata().map_err(cgroup_error(path))?.ino();
        Ok(Self { path, folder, number })
    }

    /// Puts every program in force, and lets those of other cgroups go.
    pub(super) fn attach_all(&self, object: &mut Ebpf, pins: &Path) -> Result<(), Error> {
        for hook in HOOKS {
            self.attach(object, hook, pins)?;
        }
        detach_others(pins, Some(self.number))
    }

    /// Puts one program in force: in the place of the one whose link is pinned, at one instant, or as the first.
    fn attach(&self, object: &mut Ebpf, hook: &str, pins: &Path) -> Result<(), Error> {
        let name = format!("axle_{hook}");
        let missing = || Error::Load(format!("the object has no program {name}"));
        let program = object.program_mut(&name).ok_or_else(missing)?;
        let program: &mut CgroupSockAddr = program.try_into().map_err(refused)?;
        program.load().map_err(refused)?;
        let pin = pins.join("links").join(link_name(hook, self.number));
        if pin.exists() {
            let link = PinnedLink::from_pin(&pin).map(FdLink::from).and_then(CgroupSockAddrLink::try_from);
            return link.map_err(refused).and_then(|link| program.attach_to_link(link).map_err(refused)).map(drop);
        }
        let attached = program.attach(&self.folder, CgroupAttachMode::Single).and_then(|id| program.take_link(id));
        let link = attached.map_err(|error| cgroup_error(self.path)(io::Error::other(load::chain(&error))))?;
        FdLink::try_from(link).map_err(refused)?.pin(&pin).map_err(refused).map(drop)
    }
}

pub(super) fn refused(error: impl std::error::Error) -> Error {
    Error::Load(load::chain(&error))
}

/// Takes the programs away that are pinned: calls of services are no longer translated.
///
/// # Errors
/// [`Error::Pins`] if a pin cannot be removed.
pub fn detach_services(pins: &Path) -> Result<(), Error> {
    detach_others(pins, None)
}

/// Removes the links of services but those of one cgroup.
fn detach_others(pins: &Path, kept: Option<u64>) -> Result<(), Error> {
    let links = pins.join("links");
    let kept = kept.map(|cgroup| HOOKS.map(|hook| link_name(hook, cgroup)));
    let is_kept = |name: &String| kept.as_ref().is_some_and(|kept| kept.contains(name));
    for name in pins::names(&links)?.iter().filter(|name| name.starts_with(LINK_PREFIX) && !is_kept(name)) {
        pins::remove(&links.join(name))?;
    }
    Ok(())
}

/// A cgroup's number is part of the name: at the same path there may be another cgroup now.
fn link_name(hook: &str, cgroup: u64) -> String {
    format!("{LINK_PREFIX}{hook}_{cgroup}")
}

fn cgroup_error(path: &Path) -> impl Fn(io::Error) -> Error {
    move |source| Error::Cgroup { path: path.to_owned(), source }
}
