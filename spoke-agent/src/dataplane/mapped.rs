//! Array maps in this process's memory: a write is a store, and programs see it at once.
use std::{
    io,
    marker::PhantomData,
    ops::Deref,
    ptr::NonNull,
    sync::atomic::{AtomicU16, AtomicU32, AtomicU64},
};

use aya::maps::MapData;

use super::sys;

/// A number that other CPUs may read while it is written.
pub(super) trait Cell: private::Sealed {}

mod private {
    pub(crate) trait Sealed {}
}

macro_rules! cell {
    ($($of:ty),*) => { $( impl private::Sealed for $of {} impl Cell for $of {} )* };
}
cell!(AtomicU16, AtomicU32, AtomicU64);

/// A whole array map as a slice of its cells.
pub(super) struct Mapped<C: Cell> {
    address: NonNull<libc::c_void>,
    bytes: usize,
    cells: PhantomData<C>,
}

// SAFETY: the memory belongs to the value alone until it is dropped, and its cells are atomic.
unsafe impl<C: Cell> Send for Mapped<C> {}
// SAFETY: as above.
unsafe impl<C: Cell> Sync for Mapped<C> {}

impl<C: Cell> Mapped<C> {
    /// Maps all of `map`, whose values have sizes that are multiples of 8.
    pub(super) fn new(map: &MapData) -> io::Result<Self> {
        let info = map.info().map_err(io::Error::other)?;
        let bytes = info.value_size() as usize * info.max_entries() as usize;
        if info.value_size() % 8 != 0 || bytes == 0 {
            return Err(io::Error::other(format!(
                "an array of {} values of {} bytes",
                info.max_entries(),
                info.value_size()
            )));
        }
        let address = sys::map_memory(map.fd(), bytes)?;
        Ok(Self { address, bytes, cells: PhantomData })
    }
}

impl<C: Cell> Deref for Mapped<C> {
    type Target = [C];

    fn deref(&self) -> &[C] {
        // SAFETY: the mapping is page-aligned, that long, and lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.address.as_ptr().cast(), self.bytes / size_of::<C>()) }
    }
}

impl<C: Cell> Drop for Mapped<C> {
    fn drop(&mut self) {
        // SAFETY: nothing borrows the mapping any more.
        unsafe { libc::munmap(self.address.as_ptr(), self.bytes) };
    }
}
