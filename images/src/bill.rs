//! The bill of materials of an image, in CycloneDX 1.6: its programs with their hashes, and every package that cargo put into
//! them, the kernel programs' included.
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use anyhow::{Context as _, ensure};
use axle_images::sha256;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::recipe::{self, Recipe};

/// The manifest of the kernel programs, a workspace of its own.
const KERNEL: &str = "spoke-ebpf/Cargo.toml";
/// The package that embeds them, and theirs.
const EMBEDS: (&str, &str) = ("axle-agent", "axle-ebpf");

/// What `cargo metadata` says, as far as it is needed.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
struct DependencyKind {
    /// Absent: it is linked in; else it is for builds or tests.
    kind: Option<String>,
}

/// Everything that programs are made of.
pub(crate) struct Packages {
    packages: BTreeMap<String, Package>,
    /// By id: what is linked into it.
    linked: BTreeMap<String, BTreeSet<String>>,
    /// SHA-256 of each registry package, by name and version.
    checksums: BTreeMap<(String, String), String>,
    compiler: String,
}

impl Packages {
    /// Asks cargo, for programs of `target`.
    pub(crate) fn resolve(target: &str) -> anyhow::Result<Self> {
        let output = Command::new("rustc").arg("--version").output().context("rustc --version")?;
        let compiler = String::from_utf8(output.stdout)?.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut all = Self { packages: BTreeMap::new(), linked: BTreeMap::new(), checksums: BTreeMap::new(), compiler };
        for (manifest, target) in [("Cargo.toml", target), (KERNEL, "bpfel-unknown-none")] {
            all.add(manifest, target)?;
        }
        let (outer, inner) = (all.id_of(EMBEDS.0)?, all.id_of(EMBEDS.1)?);
        all.linked.entry(outer).or_default().insert(inner);
        Ok(all)
    }

    fn add(&mut self, manifest: &str, target: &str) -> anyhow::Result<()> {
        let mut cargo = Command::new("cargo");
        cargo.args(["metadata", "--format-version", "1", "--locked", "--filter-platform", target]);
        let output = cargo.args(["--manifest-path", manifest]).output().context("cargo metadata")?;
        ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim());
        let metadata: Metadata = serde_json::from_slice(&output.stdout).context("the answer of cargo metadata")?;
        self.packages.extend(metadata.packages.into_iter().map(|package| (package.id.clone(), package)));
        for node in metadata.resolve.nodes {
            let linked = node.deps.into_iter().filter(|dep| dep.dep_kinds.iter().any(|kind| kind.kind.is_none()));
            self.linked.entry(node.id).or_default().extend(linked.map(|dep| dep.pkg));
        }
        let lock = Path::new(manifest).with_file_name("Cargo.lock");
        self.checksums.extend(checksums(&fs::read_to_string(lock)?));
        Ok(())
    }

    fn id_of(&self, name: &str) -> anyhow::Result<String> {
        let own = self.packages.values().find(|package| package.source.is_none() && package.name == name);
        own.map(|package| package.id.clone()).with_context(|| format!("the workspace has no package {name}"))
    }

    /// The bill of an image.
    pub(crate) fn bill(&self, recipe: &Recipe, programs: &Path) -> anyhow::Result<Vec<u8>> {
        let mut components = Vec::new();
        let mut dependencies = Vec::new();
        let mut todo = Vec::new();
        for name in recipe.programs {
            let reference = format!("program:{name}");
            let hash = sha256(&recipe::program(&programs.join(name))?);
            let package = self.id_of(match *name {
                "axle-probe" => "axle-tests",
                "axle-cni" => "axle-agent",
                named_like_it => named_like_it,
            })?;
            components.push(json!({
                "type": "application", "bom-ref": reference, "name": name, "version": env!("CARGO_PKG_VERSION"),
                "hashes": [{"alg": "SHA-256", "content": hash}],
            }));
            dependencies
                .push(json!({"ref": reference, "dependsOn": [self.url(&package), self.standard_library()["bom-ref"]]}));
            todo.push(package);
        }
        components.push(self.standard_library());
        let mut seen = BTreeSet::new();
        while let Some(id) = todo.pop() {
            if seen.insert(id.clone()) {
                todo.extend(self.linked.get(&id).into_iter().flatten().cloned());
            }
        }
        for id in &seen {
            components.push(self.component(id));
            let linked: BTreeSet<String> = self.linked.get(id).into_iter().flatten().map(|id| self.url(id)).collect();
            dependencies.push(json!({"ref": self.url(id), "dependsOn": linked}));
        }
        let bill = json!({
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "version": 1,
            "metadata": {"component": {
                "type": "container", "bom-ref": recipe.name, "name": recipe.name, "version": env!("CARGO_PKG_VERSION"),
            }},
            "components": components,
            "dependencies": dependencies,
        });
        Ok(serde_json::to_vec(&bill)?)
    }

    /// Of Rust, with the C library inside it.
    fn standard_library(&self) -> Value {
        json!({
            "type": "library", "bom-ref": "rust-std", "name": "rust-std", "version": self.compiler,
            "description": "Rust's standard library, with musl",
            "licenses": [{"expression": "MIT OR Apache-2.0"}],
        })
    }

    fn component(&self, id: &str) -> Value {
        let Some(package) = self.packages.get(id) else { return Value::Null };
        let mut component = json!({
            "type": "library", "bom-ref": self.url(id), "name": package.name, "version": package.version,
            "purl": self.url(id),
        });
        if let Some(license) = &package.license {
            // Older manifests write a choice with a slash.
            component["licenses"] = json!([{"expression": license.replace('/', " OR ")}]);
        }
        if let Some(hash) = self.checksums.get(&(package.name.clone(), package.version.clone())) {
            component["hashes"] = json!([{"alg": "SHA-256", "content": hash}]);
        }
        component
    }

    /// The package's name for everybody (<https://github.com/package-url/purl-spec>).
    fn url(&self, id: &str) -> String {
        self.packages
            .get(id)
            .map_or_else(String::new, |package| format!("pkg:cargo/{}@{}", package.name, package.version))
    }
}

/// The checksums of a lock file.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let field = |block: &str, name: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = \""));
        line.and_then(|rest| rest.strip_suffix('"')).map(str::to_owned)
    };
    let of = |block: &str| Some(((field(block, "name")?, field(block, "version")?), field(block, "checksum")?));
    lock.split("[[package]]").filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe;

    #[test]
    fn what_is_linked_is_listed_and_what_only_builds_is_not() {
        std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).unwrap();
        let packages = Packages::resolve(&format!("{}-unknown-linux-musl", std::env::consts::ARCH)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        // The smallest that passes for a static program: a header without a program header.
        let mut program = vec![0; 64];
        program[..6].copy_from_slice(b"\x7fELF\x02\x01");
        let mut bills = Vec::new();
        for recipe in recipe::chosen(&["axle-hub".into(), "axle-agent".into()]).unwrap() {
            for name in recipe.programs {
                fs::write(folder.path().join(name), &program).unwrap();
            }
            let bill: Value = serde_json::from_slice(&packages.bill(&recipe, folder.path()).unwrap()).unwrap();
            let refs: BTreeSet<&str> =
                bill["components"].as_array().unwrap().iter().map(|c| c["bom-ref"].as_str().unwrap()).collect();
            for dependency in bill["dependencies"].as_array().unwrap() {
                for to in dependency["dependsOn"].as_array().unwrap() {
                    assert!(refs.contains(to.as_str().unwrap()), "{to} is depended on and not listed");
                }
            }
            bills.push(bill);
        }
        let find = |bill: &Value, name: &str| {
            bill["components"].as_array().unwrap().iter().find(|component| component["name"] == name).cloned()
        };
        let [hub, agent] = &bills[..] else { panic!() };
        let tokio = find(hub, "tokio").unwrap();
        assert_eq!(tokio["hashes"][0]["content"].as_str().unwrap().len(), 64);
        assert!(tokio["licenses"][0]["expression"].as_str().unwrap().contains("MIT"));
        assert!(find(hub, "libsqlite3-sys").is_some() && find(agent, "libsqlite3-sys").is_none());
        assert!(
            find(agent, "aya-ebpf").is_some() && find(hub, "aya-ebpf").is_none(),
            "the kernel programs are in the agent"
        );
        for bill in [hub, agent] {
            assert!(find(bill, "mimalloc").is_some(), "what only this target links is listed");
            assert!(find(bill, "tonic-prost-build").is_none() && find(bill, "proptest").is_none());
        }
    }
}
