//! Has the kernel programs built, for the data plane to embed.
fn main() -> anyhow::Result<()> {
    axle_ebpf_builder::build(&["axle-policy", "axle-service"], &[])
}
