//! The kernel's BPF interface as somebody else on the machine uses it: programs of other people beside ours, and faults
//! that a test brings about from outside. Numbers and offsets are those of `linux/bpf.h`.
use std::{
    ffi::CString,
    fs,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use anyhow::{Context, bail};
use nix::{errno::Errno, net::if_::if_nametoindex};

use crate::netns::Netns;

const PROG_LOAD: i64 = 5;
const OBJ_GET: i64 = 7;
const PROG_GET_FD_BY_ID: i64 = 13;
const MAP_GET_FD_BY_ID: i64 = 14;
const OBJ_GET_INFO_BY_FD: i64 = 15;
const MAP_FREEZE: i64 = 22;
const LINK_CREATE: i64 = 28;

const SCHED_CLS: u32 = 3;

/// The argument of the system call, filled by offset.
#[repr(C, align(8))]
struct Words([u8; 160]);

impl Words {
    fn new() -> Self {
        Self([0; 160])
    }

    fn u32(mut self, at: usize, value: u32) -> Self {
        self.0[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        self
    }

    fn fd(self, at: usize, fd: &impl AsRawFd) -> Self {
        // A descriptor is never negative.
        self.u32(at, fd.as_raw_fd().unsigned_abs())
    }

    /// What `pointer` leads to must live until the call is over.
    fn pointer<T>(mut self, at: usize, pointer: *const T) -> Self {
        self.0[at..at + 8].copy_from_slice(&(pointer as u64).to_ne_bytes());
        self
    }

    fn get(&self, at: usize) -> u32 {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.0[at..at + 4]);
        u32::from_ne_bytes(bytes)
    }

    fn call(&self, command: i64) -> anyhow::Result<RawFd> {
        // SAFETY: the kernel reads the words, which are as large as said, and what their pointers lead to, which the
        // callers keep alive.
        let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw const self.0, self.0.len()) };
        if result < 0 {
            bail!("bpf({command}): {}", Errno::last());
        }
        Ok(i32::try_from(result)?)
    }

    fn open(&self, command: i64) -> anyhow::Result<OwnedFd> {
        let fd = self.call(command)?;
        // SAFETY: the call succeeded and returned a new descriptor, which nobody else owns.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

/// What the kernel knows about a program, map or link. `ids`: room for the ids of a program's maps.
fn info(fd: &OwnedFd, ids: Option<&mut [u32]>) -> anyhow::Result<Words> {
    let mut info = Words::new();
    if let Some(ids) = ids {
        info = info.u32(52, u32::try_from(ids.len())?).pointer(56, ids.as_mut_ptr());
    }
    let mut space = info;
    // Written by the kernel, hence through a mutable pointer.
    Words::new().fd(0, fd).u32(4, 80).pointer(8, &raw mut space.0).call(OBJ_GET_INFO_BY_FD)?;
    Ok(space)
}

/// Makes every later write to the map `name` fail, as long as it lives: the map is one of those that the programs
/// pinned below `pins` use.
///
/// # Errors
/// If there is no such map.
pub fn freeze(pins: &Path, name: &str) -> anyhow::Result<()> {
    let links = pins.join("links");
    for entry in fs::read_dir(&links).with_context(|| format!("cannot read {}", links.display()))?.flatten() {
        let path = CString::new(entry.path().as_os_str().as_bytes())?;
        let link = Words::new().pointer(0, path.as_ptr()).open(OBJ_GET)?;
        let program = Words::new().u32(0, info(&link, None)?.get(8)).open(PROG_GET_FD_BY_ID)?;
        let mut ids = [0; 64];
        let count = info(&program, Some(&mut ids))?.get(52) as usize;
        for id in &ids[..count] {
            let map = Words::new().u32(0, *id).open(MAP_GET_FD_BY_ID)?;
            let words = info(&map, None)?;
            if words.0[24..40].starts_with(name.as_bytes()) && words.0[24 + name.len()] == 0 {
                Words::new().fd(0, &map).call(MAP_FREEZE).with_context(|| format!("cannot freeze {name}"))?;
                return Ok(());
            }
        }
    }
    bail!("no program pinned in {} uses a map called {name}", links.display())
}

/// Which packets of an interface, as tcx names them: seen from the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// What the interface receives.
    Ingress = 46,
    /// What it sends.
    Egress = 47,
}

/// Where among the programs of a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Before all others.
    First = 8,
    /// After all others.
    Last = 16,
}

/// What a program of somebody else says to every packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The next program decides.
    Next = -1,
    /// It is dropped.
    Drop = 2,
}

/// A program of somebody else on an interface; dropping it detaches it.
#[derive(Debug)]
pub struct Foreign {
    _link: OwnedFd,
}

impl Foreign {
    /// Attaches one.
    ///
    /// # Errors
    /// If the kernel refuses, or the interface is not there.
    pub fn attach(netns: &Netns, interface: &str, hook: Hook, order: Order, answer: Answer) -> anyhow::Result<Self> {
        // r0 = answer; exit
        let mut program = [0_u8; 16];
        program[0] = 0xb7;
        program[4..8].copy_from_slice(&(answer as i32).to_ne_bytes());
        program[8] = 0x95;
        let load = Words::new().u32(0, SCHED_CLS).u32(4, 2).pointer(8, program.as_ptr());
        let program = load.pointer(16, c"GPL".as_ptr()).open(PROG_LOAD)?;
        let link = netns.enter(|| {
            let index = if_nametoindex(interface).with_context(|| format!("there is no interface {interface}"))?;
            let create = Words::new().fd(0, &program).u32(4, index).u32(8, hook as u32);
            create.u32(12, order as u32).open(LINK_CREATE)
        })??;
        Ok(Self { _link: link })
    }
}
