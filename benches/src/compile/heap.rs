//! How much memory is in use.

/// Bytes that the allocator has given out and not got back.
pub(super) fn in_use() -> u64 {
    // SAFETY: takes no argument and returns plain numbers.
    #[expect(unsafe_code, reason = "the allocator's own count; there is no safe call for it")]
    let info = unsafe { libc::mallinfo2() };
    (info.uordblks + info.hblkhd) as u64
}
