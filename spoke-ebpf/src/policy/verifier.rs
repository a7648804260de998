//! What the kernel's verifier has to be told.
use core::arch::asm;

/// Hides from the compiler where a number comes from, so that its bounds are checked on this very number: the compiler
/// likes to check what it was computed from, and the verifier does not follow that.
#[inline(always)]
pub fn opaque(mut number: usize) -> usize {
    // SAFETY: it moves a register to itself. An assembly without an instruction would upset the line table.
    unsafe { asm!("{0} = {0}", inout(reg) number, options(pure, nomem, nostack, preserves_flags)) };
    number
}
