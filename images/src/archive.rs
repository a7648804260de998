//! An image in the two layouts that engines read, in one archive: OCI's (`index.json`) and Docker's (`manifest.json`).
//!
//! OCI image specification 1.1: layout, index, manifest and configuration. `docker load` before version 25 knows only
//! its own `manifest.json`, which names the same blobs.
use std::io::Write as _;

use anyhow::bail;
use aws_lc_rs::digest;
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};

use crate::layer::Layer;

/// The time of everything: images do not depend on when they were made.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// An image, ready to be written.
pub struct Image {
    name: String,
    unpacked: usize,
    layer: Blob,
    config: Blob,
    manifest: Blob,
    platform: Value,
}

struct Blob {
    bytes: Vec<u8>,
    hash: String,
}

impl Blob {
    fn new(bytes: Vec<u8>) -> Self {
        Self { hash: sha256(&bytes), bytes }
    }

    fn json(value: &Value) -> Self {
        Self::new(value.to_string().into_bytes())
    }

    fn path(&self) -> String {
        format!("blobs/sha256/{}", self.hash)
    }

    fn descriptor(&self, kind: &str) -> Value {
        json!({
            "mediaType": format!("application/vnd.oci.image.{kind}"),
            "digest": format!("sha256:{}", self.hash),
            "size": self.bytes.len(),
        })
    }
}

impl Image {
    /// The image `name` with the files of `layer`. `config` is how an engine runs it: `config` of OCI's image configuration.
    ///
    /// # Errors
    /// Where a path is too long for an archive, or images are not made for this machine.
    pub fn new(name: &str, config: &Value, layer: &Layer, compression: Compression) -> anyhow::Result<Self> {
        let tar = layer.tar()?;
        let mut gzip = GzBuilder::new().write(Vec::new(), compression);
        gzip.write_all(&tar)?;
        let layer = Blob::new(gzip.finish()?);
        let platform = json!({"architecture": architecture()?, "os": "linux"});
        let config = Blob::json(&json!({
            "architecture": platform["architecture"],
            "os": "linux",
            "created": CREATED,
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", sha256(&tar))]},
            "history": [{"created": CREATED, "created_by": "axle-images"}],
        }));
        let manifest = Blob::json(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config.descriptor("config.v1+json"),
            "layers": [layer.descriptor("layer.v1.tar+gzip")],
        }));
        Ok(Self { name: name.to_owned(), unpacked: tar.len(), layer, config, manifest, platform })
    }

    /// How many bytes its files take.
    #[must_use]
    pub fn unpacked(&self) -> usize {
        self.unpacked
    }

    /// How many bytes travel.
    #[must_use]
    pub fn compressed(&self) -> usize {
        self.layer.bytes.len()
    }

    /// The archive.
    ///
    /// # Errors
    /// Where it cannot be put together.
    pub fn archive(&self) -> anyhow::Result<Vec<u8>> {
        let tag = self.name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
        let mut entry = self.manifest.descriptor("manifest.v1+json");
        entry["platform"] = self.platform.clone();
        entry["annotations"] = json!({"io.containerd.image.name": self.name, "org.opencontainers.image.ref.name": tag});
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [entry],
        });
        let docker = json!([{
            "Config": self.config.path(), "RepoTags": [self.name], "Layers": [self.layer.path()],
        }]);
        let mut files = Layer::default();
        files.file("oci-layout", 0o644, json!({"imageLayoutVersion": "1.0.0"}).to_string().into_bytes());
        files.file("index.json", 0o644, index.to_string().into_bytes());
        files.file("manifest.json", 0o644, docker.to_string().into_bytes());
        for blob in [&self.layer, &self.config, &self.manifest] {
            files.file(&blob.path(), 0o644, blob.bytes.clone());
        }
        files.tar()
    }
}

/// As OCI spells it (`GOARCH`); images are made for the architecture that they are made on.
fn architecture() -> anyhow::Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => bail!("images are made on x86_64 and aarch64; this machine is {other}"),
    }
}

/// In hexadecimal digits.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA256, bytes);
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io::Read as _};

    use super::*;

    fn image() -> Image {
        let mut layer = Layer::default();
        layer.file("usr/bin/program", 0o755, b"program".to_vec());
        layer.folder("var/lib/program", 0o700, 65532);
        layer.link("bin", "usr/bin");
        Image::new("axle.dev/x:1", &json!({"Entrypoint": ["/usr/bin/program"]}), &layer, Compression::best()).unwrap()
    }

    fn files(tar: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(tar);
        let read = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (entry.path().unwrap().display().to_string(), bytes)
        };
        archive.entries().unwrap().map(read).collect()
    }

    #[test]
    fn the_same_files_give_the_same_bytes() {
        assert_eq!(sha256(&image().archive().unwrap()), sha256(&image().archive().unwrap()));
    }

    #[test]
    fn both_layouts_lead_to_the_same_files() {
        let files = files(&image().archive().unwrap());
        let parse = |bytes: &[u8]| -> Value { serde_json::from_slice(bytes).unwrap() };
        let blob = |descriptor: &Value| {
            let hash = descriptor["digest"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
            let bytes = &files[&format!("blobs/sha256/{hash}")];
            assert_eq!((sha256(bytes), descriptor["size"].as_u64()), (hash.clone(), Some(bytes.len() as u64)));
            (format!("blobs/sha256/{hash}"), bytes.clone())
        };
        let manifest = parse(&blob(&parse(&files["index.json"])["manifests"][0]).1);
        let (config_path, config) = blob(&manifest["config"]);
        let (layer_path, layer) = blob(&manifest["layers"][0]);
        let docker = parse(&files["manifest.json"]);
        assert_eq!(docker, json!([{"Config": config_path, "RepoTags": ["axle.dev/x:1"], "Layers": [layer_path]}]));
        let mut tar = Vec::new();
        flate2::read::GzDecoder::new(&layer[..]).read_to_end(&mut tar).unwrap();
        assert_eq!(parse(&config)["rootfs"]["diff_ids"][0], format!("sha256:{}", sha256(&tar)));
        let inside: Vec<String> = self::files(&tar).into_keys().collect();
        assert_eq!(inside, ["bin", "usr/", "usr/bin/", "usr/bin/program", "var/", "var/lib/", "var/lib/program/"]);
    }
}
