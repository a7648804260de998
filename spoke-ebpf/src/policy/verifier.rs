//! What the kernel's verifier has to be told.
use core::arch::asm;

use crate::maps::SCRATCH;

/// Hides from the compiler where a number comes from, so that its bounds are checked on this very number: the compiler
/// likes to check what it was computed from, and the verifier does not follow that.
#[inline(always)]
pub fn opaque(mut number: usize) -> usize {
    // SAFETY: it moves a register to itself. An assembly without an instruction would upset the line table.
    unsafe { asm!("{0} = {0}", inout(reg) number, options(pure, nomem, nostack, preserves_flags)) };
    number
}

/// Passes a value through memory whose content the verifier does not follow. Else it verifies all that comes after once
/// for every way in which the value can have come about.
#[inline(always)]
pub fn forget<T: Copy>(value: T) -> Option<T> {
    const { assert!(size_of::<T>() <= size_of::<[u64; 2]>() && align_of::<T>() <= 8) };
    let scratch = SCRATCH.get_ptr_mut(0)?.cast::<T>();
    // SAFETY: this CPU's own cell, large enough and aligned; what is read is what was written, as programs are not
    // interrupted by others of their kind.
    unsafe {
        scratch.write_volatile(value);
        Some(scratch.read_volatile())
    }
}

/// Ends a branch whose call is to stay its own. Else the compiler makes one call of two branches', with one map or the
/// other; the kernel then calls indirectly, as it cannot know which, and that takes longer than the lookup.
#[inline(always)]
pub fn keep_apart() {
    // SAFETY: a jump to the next instruction, which the kernel leaves out.
    unsafe { asm!("goto +0", options(nomem, nostack, preserves_flags)) };
}
