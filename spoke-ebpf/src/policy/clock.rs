//! The time. What most packets need of it costs no call: the kernel makes one load of [`jiffies`].
use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_coarse_ns};

/// Monotonic, in ns, to one of the kernel's jiffies.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: the helper has no precondition.
    unsafe { bpf_ktime_get_coarse_ns() }
}

/// The kernel's jiffies: 1 to 10 ms each, as it was built.
#[inline(always)]
pub fn jiffies() -> u64 {
    // SAFETY: the helper has no precondition.
    unsafe { bpf_jiffies64() }
}

/// Which tick this is: see `Flow::tick`.
#[inline(always)]
pub fn tick() -> u32 {
    (jiffies() >> 8) as u32
}
