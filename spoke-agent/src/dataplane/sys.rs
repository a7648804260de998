//! System calls that neither aya nor nix has.
use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
    ptr,
    time::Duration,
};

use aya::Pod;

/// Waits until every program that runs now has ended: what it read is then held by nobody.
///
/// # Errors
/// What the kernel said; without `membarrier` a fixed wait would be a guess, so there is none.
pub(super) fn grace_period() -> io::Result<()> {
    // SAFETY: no pointers. The global command waits for a full RCU grace period, and programs run inside RCU.
    let done = unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The clock of the programs: monotonic, in ns.
pub(super) fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live value; this clock is always there.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32).as_nanos() as u64
}

/// The arguments of the batch commands (`union bpf_attr`, `struct batch`).
#[repr(C)]
#[derive(Default)]
struct Batch {
    from: u64,
    to: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
}

const LOOKUP_BATCH: libc::c_int = 24;
const OBJECT_GET: libc::c_int = 7;
const OBJECT_GET_INFO: libc::c_int = 15;
const LINK_DETACH: libc::c_int = 34;

/// Takes the program of a pinned link off its hook, at once. Removing the pin does that too, but some time later.
pub(super) fn detach_link(path: &Path) -> io::Result<()> {
    let link = open_link(path)?;
    let descriptor = link.as_raw_fd() as u32;
    // SAFETY: the argument is the link's descriptor alone, and outlives the call.
    let done = unsafe { libc::syscall(libc::SYS_bpf, LINK_DETACH, &raw const descriptor, size_of::<u32>()) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Index of the interface that a pinned tcx link holds a hook of: 0 if the interface is gone.
pub(super) fn link_interface(path: &Path) -> io::Result<u32> {
    let link = open_link(path)?;
    let mut info = LinkInfo::default();
    let get = GetInfo {
        descriptor: link.as_raw_fd() as u32,
        length: size_of::<LinkInfo>() as u32,
        info: (&raw mut info) as u64,
    };
    // SAFETY: the argument and the `length` bytes that it points to outlive the call.
    let done = unsafe { libc::syscall(libc::SYS_bpf, OBJECT_GET_INFO, &raw const get, size_of::<GetInfo>()) };
    if done == 0 { Ok(info.interface) } else { Err(io::Error::last_os_error()) }
}

fn open_link(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
    let get = ObjectGet { path: path.as_ptr() as u64, ..ObjectGet::default() };
    // SAFETY: the argument and the path outlive the call.
    let link = unsafe { libc::syscall(libc::SYS_bpf, OBJECT_GET, &raw const get, size_of::<ObjectGet>()) };
    if link < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor that the kernel has just given us.
    Ok(unsafe { OwnedFd::from_raw_fd(link as RawFd) })
}

/// The argument of `BPF_OBJ_GET`.
#[repr(C)]
#[derive(Default)]
struct ObjectGet {
    path: u64,
    descriptor: u32,
    flags: u32,
}

/// The argument of `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct GetInfo {
    descriptor: u32,
    length: u32,
    info: u64,
}

/// The start of `struct bpf_link_info`, of a tcx link.
#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    padding: u32,
    interface: u32,
    attach_type: u32,
}

/// Entries that one batch asks for.
const BATCH: usize = 4096;

/// Calls `each` for every entry of a hash map. Entries that come and go meanwhile may be missed.
pub(super) fn for_each<K: Pod, V: Pod>(map: BorrowedFd<'_>, mut each: impl FnMut(K, V)) -> io::Result<()> {
    // SAFETY: `Pod` types are valid for every bit pattern.
    let (mut keys, mut values) =
        unsafe { (vec![std::mem::zeroed::<K>(); BATCH], vec![std::mem::zeroed::<V>(); BATCH]) };
    let mut cursor = 0_u32;
    let mut started = false;
    loop {
        let mut batch = Batch {
            from: if started { (&raw const cursor) as u64 } else { 0 },
            to: (&raw mut cursor) as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: BATCH as u32,
            map: map.as_raw_fd() as u32,
            ..Batch::default()
        };
        // SAFETY: the buffers hold `count` keys and values of the map's sizes and outlive the call.
        let done = unsafe { libc::syscall(libc::SYS_bpf, LOOKUP_BATCH, &raw mut batch, size_of::<Batch>()) };
        let error = (done != 0).then(io::Error::last_os_error);
        let is_end = error.as_ref().is_some_and(|error| error.raw_os_error() == Some(libc::ENOENT));
        match error {
            Some(error) if !is_end => return Err(error),
            _ => {}
        }
        for (key, value) in keys.iter().zip(&values).take(batch.count as usize) {
            each(*key, *value);
        }
        if is_end {
            return Ok(());
        }
        started = true;
    }
}

/// Maps an array map into this process's memory.
pub(super) fn map_memory(map: impl AsFd, bytes: usize) -> io::Result<ptr::NonNull<libc::c_void>> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping at an address of the kernel's choice; it touches no memory that is in use.
    let address =
        unsafe { libc::mmap(ptr::null_mut(), bytes, protection, libc::MAP_SHARED, map.as_fd().as_raw_fd(), 0) };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    ptr::NonNull::new(address).ok_or_else(|| io::Error::other("the kernel mapped memory at address 0"))
}
