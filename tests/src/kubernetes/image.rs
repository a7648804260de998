//! Images of containers, made of files of this machine: nothing is pulled.
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;
use axle_images::{Compression, Layer};
use serde_json::json;

use crate::process::{output, run};

/// An image to be. Equal files make equal bytes.
#[derive(Debug, Clone)]
pub struct Image {
    name: String,
    command: Vec<String>,
    layer: Layer,
}

impl Image {
    /// An image without files. `name` has a registry and a tag, such as `test.local/web:1`, so that nobody asks for a
    /// newer one; `command` is what a container of it runs.
    #[must_use]
    pub fn new(name: &str, command: &[&str]) -> Self {
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        let mut layer = Layer::default();
        layer.folder("tmp", 0o1777, 0);
        Self { name: name.to_owned(), command, layer }
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
            image.layer.link(&format!("bin/{applet}"), "busybox");
        }
        Ok(image)
    }

    /// Adds the file `source` at `path`.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn file(mut self, source: &Path, path: &str) -> anyhow::Result<Self> {
        let bytes = fs::read(source).with_context(|| format!("cannot read {}", source.display()))?;
        self.layer.file(path.trim_start_matches('/'), 0o755, bytes);
        Ok(self)
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
            self = self.file(&fs::canonicalize(library)?, library)?;
        }
        self.file(source, path)
    }

    /// Writes it as an archive that engines load.
    ///
    /// # Errors
    /// Where the archive cannot be written.
    pub fn write(&self, archive: &Path) -> anyhow::Result<()> {
        let config = json!({"Entrypoint": self.command, "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"]});
        // It travels nowhere.
        let image = axle_images::Image::new(&self.name, &config, &self.layer, Compression::none())?;
        fs::write(archive, image.archive()?).with_context(|| format!("cannot write {}", archive.display()))
    }
}
