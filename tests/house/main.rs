//! The shape of the house: what ARCHITECTURE.md says of floors, and of files that people read in one sitting.
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};

/// The most lines of a file.
const LINES: usize = 400;
/// What the pure crate may not know.
const IMPURE: [&str; 9] = ["aya", "axum", "hyper", "kube", "notify", "rand", "sqlx", "tokio", "tonic"];
/// The folders of all crates.
const CRATES: [&str; 11] = [
    "core",
    "proto",
    "transport",
    "hub",
    "spoke-agent",
    "spoke-ebpf",
    "spoke-ebpf/common",
    "cli",
    "tests",
    "benches",
    "images",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        match path.is_dir() {
            true if !path.ends_with("target") => rust_files(&path, found)?,
            false if path.extension().is_some_and(|extension| extension == "rs") => found.push(path),
            _ => {}
        }
    }
    Ok(())
}

#[test]
fn files_are_read_in_one_sitting() -> anyhow::Result<()> {
    let mut files = Vec::new();
    rust_files(&root(), &mut files)?;
    ensure!(files.len() > 100, "only {} files were found", files.len());
    let mut long = Vec::new();
    for file in files {
        let lines = fs::read_to_string(&file)?.lines().count();
        if lines > LINES {
            long.push(format!("{} has {lines} lines", file.display()));
        }
    }
    ensure!(long.is_empty(), "wanted at most {LINES} lines: {long:?}");
    Ok(())
}

#[test]
fn every_crate_obeys_the_lints() -> anyhow::Result<()> {
    // The kernel programs are a workspace of their own, with a toolchain that has no clippy.
    for name in CRATES.iter().filter(|name| **name != "spoke-ebpf") {
        let manifest = fs::read_to_string(root().join(name).join("Cargo.toml"))?;
        ensure!(manifest.contains("[lints]\nworkspace = true"), "{name} does not inherit the lints");
    }
    Ok(())
}

#[test]
fn the_core_is_pure() -> anyhow::Result<()> {
    let manifest = fs::read_to_string(root().join("core/Cargo.toml"))?;
    let (_, rest) = manifest.split_once("[dependencies]\n").context("no dependencies")?;
    let names = rest.lines().take_while(|line| !line.starts_with('[')).filter_map(|line| line.split(['.', ' ']).next());
    let impure: Vec<_> = names.filter(|name| IMPURE.contains(name)).collect();
    ensure!(impure.is_empty(), "core depends on {impure:?}");
    Ok(())
}

/// The names after `crate::` in the code of a file, without its tests.
fn imports(file: &Path) -> anyhow::Result<BTreeSet<String>> {
    let text = fs::read_to_string(file)?;
    let code = text.split_once("#[cfg(test)]\nmod tests {").map_or(text.as_str(), |(code, _)| code);
    let word = |rest: &str| -> String {
        rest.trim().chars().take_while(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '_').collect()
    };
    let mut found = BTreeSet::new();
    for (at, prefix) in code.match_indices("crate::") {
        let line = code[..at].rsplit('\n').next().unwrap_or_default();
        if line.trim_start().starts_with("//") {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        match rest.strip_prefix('{') {
            // A group of several lines, one module each.
            Some(group) => found.extend(group.split("};").next().unwrap_or_default().split([',', '\n']).map(word)),
            None => found.extend([word(rest)]),
        }
    }
    Ok(found)
}

/// Which top-level modules each top-level module of a crate imports.
fn graph(source: &Path) -> anyhow::Result<BTreeMap<String, BTreeSet<String>>> {
    let mut files = Vec::new();
    rust_files(source, &mut files)?;
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in files {
        let inside = file.strip_prefix(source)?;
        let parts: Vec<_> = inside.components().filter_map(|part| part.as_os_str().to_str()).collect();
        let module = parts.first().context("a file has a name")?.trim_end_matches(".rs").to_owned();
        let is_apart = parts.iter().any(|part| matches!(*part, "tests" | "tests.rs" | "bin"));
        // The roots put the parts together, so they may know all of them.
        if !is_apart && !matches!(module.as_str(), "lib" | "main") {
            graph.entry(module).or_default().extend(imports(&file)?);
        }
    }
    let known: BTreeSet<String> = graph.keys().cloned().collect();
    for (module, imports) in &mut graph {
        imports.retain(|import| import != module && known.contains(import));
    }
    Ok(graph)
}

#[test]
fn no_two_modules_import_each_other() -> anyhow::Result<()> {
    let mut faults = Vec::new();
    for name in CRATES {
        let mut graph = graph(&root().join(name).join("src"))?;
        // What imports nothing that is left is on the lowest floor; taken away floor by floor, only cycles remain.
        while let Some(lowest) = graph.iter().find(|(_, imports)| imports.is_empty()).map(|(module, _)| module.clone())
        {
            graph.remove(&lowest);
            for imports in graph.values_mut() {
                imports.remove(&lowest);
            }
        }
        if !graph.is_empty() {
            faults.push(format!("{name}: {graph:?}"));
        }
    }
    ensure!(faults.is_empty(), "modules in or above a cycle:\n{}", faults.join("\n"));
    Ok(())
}
