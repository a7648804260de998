//! Images of containers, made of files of this machine: nothing is pulled.
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;
use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use crate::process::{output, run};

/// An image to be. Equal files make equal bytes.
#[derive(Debug, Clone)]
pub struct Image {
    name: String,
    command: Vec<String>,
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone)]
enum Entry {
    File(PathBuf),
    Link(String),
    Folder(u32),
}

impl Image {
    /// An image without files. `name` has a registry and a tag, such as `test.local/web:1`, so that nobody asks for a
    /// newer one; `command` is what a container of it runs.
    #[must_use]
    pub fn new(name: &str, command: &[&str]) -> Self {
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        Self { name: name.to_owned(), command, entries: BTreeMap::new() }.entry("/tmp", Entry::Folder(0o1777))
    }

    /// An image with a shell and all that busybox has.
    ///
    /// # Errors
    /// Where there is no busybox.
    pub fn busybox(name: &str, command: &[&str]) -> anyhow::Result<Self> {
        let busybox = run(Command::new("sh").args(["-c", "command -v busybox"]));
        let busybox = busybox.context("busybox is missing; 'make setup-kubernetes' installs it")?;
        let busybox = PathBuf::from(busybox.trim_end());
        let applets = output(Command::new(&busybox).arg("--list"))?.stdout;
        let mut image = Self::new(name, command).program(&busybox, "/bin/busybox")?;
        for applet in String::from_utf8(applets)?.lines().filter(|applet| *applet != "busybox") {
            image = image.entry(&format!("/bin/{applet}"), Entry::Link("busybox".to_owned()));
        }
        Ok(image)
    }

    /// Adds the file `source` at `path`.
    #[must_use]
    pub fn file(self, source: &Path, path: &str) -> Self {
        self.entry(path, Entry::File(source.to_owned()))
    }

    /// Adds the program `source` at `path`, and the libraries that it is linked to where it looks for them.
    ///
    /// # Errors
    /// Where the program or a library is missing.
    pub fn program(mut self, source: &Path, path: &str) -> anyhow::Result<Self> {
        // A static program has none: then ldd ends with a complaint, and prints nothing of this shape.
        let libraries = output(Command::new("ldd").arg(source))?.stdout;
        for line in String::from_utf8(libraries)?.lines() {
            let Some(library) = line.split_whitespace().find(|word| word.starts_with('/')) else { continue };
            self = self.file(&fs::canonicalize(library)?, library);
        }
        Ok(self.file(source, path))
    }

    fn entry(mut self, path: &str, entry: Entry) -> Self {
        self.entries.insert(path.trim_start_matches('/').to_owned(), entry);
        self
    }

    /// Writes it as an archive of the OCI image layout, with one layer.
    ///
    /// # Errors
    /// Where a file cannot be read, or the archive not written.
    pub fn write(&self, archive: &Path) -> anyhow::Result<()> {
        const KIND: &str = "application/vnd.oci.image";
        let mut blobs = BTreeMap::new();
        let mut keep = |bytes: Vec<u8>, kind: &str| -> Value {
            let hash: String = digest(&SHA256, &bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            let descriptor =
                json!({"mediaType": format!("{KIND}.{kind}"), "digest": format!("sha256:{hash}"), "size": bytes.len()});
            blobs.insert(hash, bytes);
            descriptor
        };
        let layer = keep(self.layer()?, "layer.v1.tar");
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "config": {"Entrypoint": self.command, "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
        });
        let config = keep(config.to_string().into_bytes(), "config.v1+json");
        let manifest = json!({
            "schemaVersion": 2, "mediaType": format!("{KIND}.manifest.v1+json"), "config": config, "layers": [layer],
        });
        let mut manifest = keep(manifest.to_string().into_bytes(), "manifest.v1+json");
        manifest["annotations"] = json!({"io.containerd.image.name": self.name});
        let index = json!({"schemaVersion": 2, "manifests": [manifest]});

        let file = File::create(archive).with_context(|| format!("cannot write {}", archive.display()))?;
        let mut tar = Builder::new(io::BufWriter::new(file));
        append(&mut tar, "oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        append(&mut tar, "index.json", 0o644, index.to_string().as_bytes())?;
        for (hash, bytes) in &blobs {
            append(&mut tar, &format!("blobs/sha256/{hash}"), 0o644, bytes)?;
        }
        tar.into_inner()?.flush()?;
        Ok(())
    }

    fn layer(&self) -> anyhow::Result<Vec<u8>> {
        let mut tar = Builder::new(Vec::new());
        for (path, entry) in &self.entries {
            match entry {
                Entry::File(source) => {
                    let bytes = fs::read(source).with_context(|| format!("cannot read {}", source.display()))?;
                    append(&mut tar, path, 0o755, &bytes)?;
                }
                Entry::Link(target) => {
                    let mut header = header(EntryType::Symlink, 0o777, 0);
                    tar.append_link(&mut header, path, target)?;
                }
                Entry::Folder(mode) => {
                    tar.append_data(&mut header(EntryType::Directory, *mode, 0), path, io::empty())?;
                }
            }
        }
        Ok(tar.into_inner()?)
    }
}

fn header(kind: EntryType, mode: u32, size: usize) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size as u64);
    header
}

fn append(tar: &mut Builder<impl Write>, path: &str, mode: u32, bytes: &[u8]) -> io::Result<()> {
    tar.append_data(&mut header(EntryType::Regular, mode, bytes.len()), path, bytes)
}
