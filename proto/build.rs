//! Generates the messages and services from `axle/v1/*.proto`, without needing protoc.
use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let files = ["resources", "sync", "record", "enroll", "admin"].map(|name| format!("axle/v1/{name}.proto"));
    println!("cargo::rerun-if-changed=axle");
    let descriptors = protox::compile(&files, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("axle.bin"), prost_bytes(&descriptors))?;
    tonic_prost_build::configure().bytes(".").btree_map(".").compile_fds(descriptors)?;
    Ok(())
}

fn prost_bytes(descriptors: &impl prost::Message) -> Vec<u8> {
    descriptors.encode_to_vec()
}
