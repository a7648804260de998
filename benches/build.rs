//! Has the kernel programs built that `P10` compares the shipped ones with.
fn main() -> anyhow::Result<()> {
    axle_ebpf_builder::build(&["axle-bench-hash", "axle-bench-lpm", "axle-bench-none", "axle-bench-vary"], &["bench"])
}
