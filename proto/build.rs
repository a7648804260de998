//! Generates the messages and services from `axle/v1/*.proto`, without needing protoc.
use std::{env, error::Error, fs, path::PathBuf};

use tonic_prost_build::FileDescriptorSet;

fn main() -> Result<(), Box<dyn Error>> {
    let files =
        ["resources", "sync", "record", "enroll", "preview", "admin"].map(|name| format!("axle/v1/{name}.proto"));
    println!("cargo::rerun-if-changed=axle");
    let descriptors = protox::compile(&files, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("axle.bin"), prost_bytes(&descriptors))?;
    let mut builder = tonic_prost_build::configure().bytes(".").btree_map(".");
    for message in admin_messages(&descriptors) {
        builder = builder
            .message_attribute(&message, "#[derive(serde::Serialize, serde::Deserialize)]")
            .message_attribute(&message, "#[serde(rename_all = \"camelCase\", deny_unknown_fields, default)]")
            .message_attribute(&message, "#[cfg_attr(feature = \"openapi\", derive(utoipa::ToSchema))]");
    }
    builder.compile_fds(descriptors)?;
    Ok(())
}

/// The messages of the admin API, which are REST's JSON bodies too.
fn admin_messages(descriptors: &FileDescriptorSet) -> Vec<String> {
    let admin = ["axle/v1/admin.proto", "axle/v1/preview.proto"];
    let admin = descriptors.file.iter().filter(|file| admin.contains(&file.name()));
    admin.flat_map(|file| &file.message_type).map(|message| format!("axle.v1.{}", message.name())).collect()
}

fn prost_bytes(descriptors: &impl prost::Message) -> Vec<u8> {
    descriptors.encode_to_vec()
}
