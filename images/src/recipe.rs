//! What each image is made of.
use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, ensure};
use axle_images::Layer;
use serde_json::{Value, json};

use crate::elf;

/// Whom programs run as that need no rights: nobody that a machine has.
const NOBODY: u64 = 65532;
/// The scripts of the demo's machines.
const SCRIPTS: [(&str, &str); 3] = [
    ("enrol", include_str!("../../compose/enrol")),
    ("machine", include_str!("../../compose/machine")),
    ("workload", include_str!("../../compose/workload")),
];

/// One image.
pub(crate) struct Recipe {
    /// Its name, below the registry.
    pub(crate) name: &'static str,
    title: &'static str,
    /// The programs in `/usr/bin`.
    pub(crate) programs: &'static [&'static str],
    /// Whether it has a shell: only the demo's machines do.
    pub(crate) shell: bool,
    entrypoint: &'static str,
    user: u64,
    /// What the program keeps.
    data: &'static str,
    environment: &'static [&'static str],
    ports: &'static [&'static str],
}

const RECIPES: [Recipe; 3] = [
    Recipe {
        name: "axle-hub",
        title: "Axle's hub, and the axle command",
        programs: &["axle-hub", "axle"],
        shell: false,
        entrypoint: "/usr/bin/axle-hub",
        user: NOBODY,
        data: "var/lib/axle-hub",
        environment: &["AXLE_HUB_DATA_DIR=/var/lib/axle-hub", "AXLE_CONFIG=/var/lib/axle-hub/config.yaml"],
        ports: &["7443/tcp"],
    },
    Recipe {
        name: "axle-agent",
        title: "Axle's agent, and the CNI plugin that it installs",
        programs: &["axle-agent", "axle-cni"],
        shell: false,
        entrypoint: "/usr/bin/axle-agent",
        // It loads programs into the kernel.
        user: 0,
        data: "var/lib/axle",
        environment: &[],
        ports: &["7444/tcp"],
    },
    Recipe {
        name: "axle-demo",
        title: "A machine of Axle's demo: agent, command, small servers and a shell",
        programs: &["axle", "axle-agent", "axle-probe"],
        shell: true,
        entrypoint: "/usr/bin/machine",
        user: 0,
        data: "var/lib/axle",
        environment: &["AXLE_CONFIG=/var/lib/axle-hub/config.yaml"],
        ports: &[],
    },
];

/// The recipes called `names`; without names all of them.
pub(crate) fn chosen(names: &[String]) -> anyhow::Result<Vec<Recipe>> {
    let known: Vec<&str> = RECIPES.iter().map(|recipe| recipe.name).collect();
    for name in names {
        ensure!(known.contains(&&**name), "there is no image {name:?}; known are {}", known.join(", "));
    }
    let wanted = |recipe: &Recipe| names.is_empty() || names.iter().any(|name| name == recipe.name);
    Ok(RECIPES.into_iter().filter(wanted).collect())
}

impl Recipe {
    /// Its files.
    pub(crate) fn layer(&self, programs: &Path, bill: Vec<u8>) -> anyhow::Result<Layer> {
        let mut layer = Layer::default();
        layer.folder("tmp", 0o1777, 0);
        layer.folder(self.data, 0o700, self.user);
        layer.file(&format!("usr/share/sbom/{}.cdx.json", self.name), 0o644, bill);
        for name in self.programs {
            layer.file(&format!("usr/bin/{name}"), 0o755, program(&programs.join(name))?);
        }
        if self.shell {
            add_shell(&mut layer)?;
        }
        Ok(layer)
    }

    /// How an engine runs it (`config` of OCI's image configuration).
    pub(crate) fn config(&self) -> Value {
        let environment: Vec<&str> = ["PATH=/usr/bin"].iter().chain(self.environment).copied().collect();
        let ports: serde_json::Map<String, Value> =
            self.ports.iter().map(|port| ((*port).to_owned(), json!({}))).collect();
        json!({
            "Entrypoint": [self.entrypoint],
            "Env": environment,
            "User": format!("{0}:{0}", self.user),
            "WorkingDir": "/",
            "ExposedPorts": ports,
            "Labels": {
                "org.opencontainers.image.title": self.title,
                "org.opencontainers.image.version": env!("CARGO_PKG_VERSION"),
                "org.opencontainers.image.licenses": env!("CARGO_PKG_LICENSE"),
            },
        })
    }
}

/// A program that needs nothing beside it.
pub(crate) fn program(path: &Path) -> anyhow::Result<Vec<u8>> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    elf::check_static(&bytes).with_context(|| path.display().to_string())?;
    Ok(bytes)
}

/// Busybox under all its names, and the scripts.
fn add_shell(layer: &mut Layer) -> anyhow::Result<()> {
    let missing = "a static busybox is missing (Debian's package busybox-static; or: scripts/setup images)";
    let listed = Command::new("busybox").arg("--list").output().context(missing)?;
    let path = String::from_utf8(Command::new("sh").args(["-c", "command -v busybox"]).output()?.stdout)?;
    layer.file("usr/bin/busybox", 0o755, program(Path::new(path.trim())).context(missing)?);
    for name in String::from_utf8(listed.stdout)?.lines().filter(|name| *name != "busybox") {
        layer.link(&format!("usr/bin/{name}"), "busybox");
    }
    layer.link("bin", "usr/bin");
    for (name, text) in SCRIPTS {
        layer.file(&format!("usr/bin/{name}"), 0o755, text.as_bytes().to_vec());
    }
    Ok(())
}
