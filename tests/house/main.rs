//! The shape of the house: what ARCHITECTURE.md says of floors, and of files that people read in one sitting.
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The most lines of a file.
const LINES: usize = 400;
/// What the pure crate may not know.
const IMPURE: [&str; 9] = ["aya", "axum", "hyper", "kube", "notify", "rand", "sqlx", "tokio", "tonic"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The folders of all crates.
fn crates() -> Vec<PathBuf> {
    let named = ["core", "proto", "transport", "hub", "spoke-agent", "spoke-ebpf", "spoke-ebpf/common", "cli", "tests"];
    named.iter().chain(&["benches"]).map(|name| root().join(name)).collect()
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        match path.is_dir() {
            true if entry.file_name() != "target" => rust_files(&path, found),
            false if path.extension().is_some_and(|extension| extension == "rs") => found.push(path),
            _ => {}
        }
    }
}

#[test]
fn files_are_read_in_one_sitting() {
    let mut files = Vec::new();
    rust_files(&root(), &mut files);
    assert!(files.len() > 100, "only {} files were found", files.len());
    let lines = |file: &PathBuf| fs::read_to_string(file).unwrap().lines().count();
    let long: Vec<_> = files.iter().map(|file| (lines(file), file)).filter(|(lines, _)| *lines > LINES).collect();
    assert!(long.is_empty(), "wanted at most {LINES} lines: {long:?}");
}

#[test]
fn every_crate_obeys_the_lints() {
    for folder in crates().iter().filter(|folder| !folder.ends_with("spoke-ebpf")) {
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "{} does not inherit the lints", folder.display());
    }
}

#[test]
fn the_core_is_pure() {
    let manifest = fs::read_to_string(root().join("core/Cargo.toml")).unwrap();
    let dependencies = manifest.split("[dev-dependencies]").next().unwrap();
    for name in IMPURE {
        let found = dependencies
            .lines()
            .any(|line| line.starts_with(&format!("{name}.")) || line.starts_with(&format!("{name} ")));
        assert!(!found, "core depends on {name}");
    }
}

/// `crate::name` in the code of a file, without its tests.
fn imports(file: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(file).unwrap();
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let word =
        |rest: &str| rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_' || c.is_ascii_digit()).collect();
    lines
        .flat_map(|line| line.split("crate::").skip(1))
        .flat_map(|rest| match rest.strip_prefix('{') {
            Some(group) => group.split(',').map(|part| word(part.trim())).collect::<Vec<String>>(),
            None => vec![word(rest)],
        })
        .filter(|name| !name.is_empty())
        .collect()
}

/// Which top-level modules each top-level module of a crate imports.
fn graph(source: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let mut files = Vec::new();
    rust_files(source, &mut files);
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in files {
        let inside = file.strip_prefix(source).unwrap();
        let first = inside.components().next().unwrap().as_os_str().to_str().unwrap();
        let module = first.trim_end_matches(".rs").to_owned();
        let is_test =
            inside.components().any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "tests.rs" | "bin")));
        // The roots put the parts together, so they may know all of them.
        if !is_test && !matches!(module.as_str(), "lib" | "main") {
            graph.entry(module).or_default().extend(imports(&file));
        }
    }
    let known: BTreeSet<String> = graph.keys().cloned().collect();
    for (module, imports) in &mut graph {
        imports.retain(|import| import != module && known.contains(import));
    }
    graph
}

#[test]
fn no_two_modules_import_each_other() {
    let mut faults = Vec::new();
    for folder in crates() {
        let mut graph = graph(&folder.join("src"));
        // What imports nothing that is left is on the lowest floor; taken away floor by floor, only cycles remain.
        while let Some(lowest) = graph.iter().find(|(_, imports)| imports.is_empty()).map(|(name, _)| name.clone()) {
            graph.remove(&lowest);
            graph.values_mut().for_each(|imports| {
                imports.remove(&lowest);
            });
        }
        if !graph.is_empty() {
            faults.push(format!("{}: {graph:?}", folder.display()));
        }
    }
    assert!(faults.is_empty(), "modules in or above a cycle:\n{}", faults.join("\n"));
}
