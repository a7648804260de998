//! Documents from files, directories and standard input, checked before anything is sent.
use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use axle_core::manifest::{self, Violation};
use clap::Args;
use serde::Serialize;

use crate::{
    failure::{Exit, Failure, Fault},
    format,
    output::Output,
};

/// The largest text taken from one place, in bytes: the hub takes no larger one.
const MAX: u64 = 4 << 20;

/// Where documents are.
#[derive(Debug, Args)]
pub(crate) struct Files {
    /// A YAML file, a directory of *.yaml and *.yml files, or `-` for standard input. Repeat for several.
    #[arg(short = 'f', long = "file", value_name = "PATH")]
    files: Vec<PathBuf>,
}

/// A text and where it is from.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Document {
    pub(super) source: String,
    pub(super) text: String,
}

impl Files {
    /// Reads them all, directories in the order of their names.
    pub(super) fn read(&self) -> Result<Vec<Document>, Failure> {
        self.read_or(false)
    }

    /// The same, where there may be none.
    pub(super) fn read_or(&self, none: bool) -> Result<Vec<Document>, Failure> {
        if self.files.is_empty() && !none {
            return Err(Failure::usage("no documents were given").fix("-f FILE, -f DIRECTORY or -f -"));
        }
        let mut documents = Vec::new();
        for path in &self.files {
            if path.as_os_str() == "-" {
                documents.push(read(io::stdin().lock(), "standard input".into())?);
            } else {
                documents.extend(read_path(path)?);
            }
        }
        match documents.iter().find(|document| document.text.trim().is_empty()) {
            Some(empty) => Err(Failure::usage(format!("{} is empty: wanted a document", empty.source))
                .fix("write something into it, or leave it out")),
            None => Ok(documents),
        }
    }
}

/// The document of a file, or those of a directory in the order of their names.
pub(super) fn read_path(path: &Path) -> Result<Vec<Document>, Failure> {
    if path.is_dir() {
        yaml_files(path)?.iter().map(|file| read_file(file)).collect()
    } else {
        Ok(vec![read_file(path)?])
    }
}

/// The directories in a directory, in the order of their names.
pub(super) fn directories(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |error: io::Error| Failure::usage(format!("cannot read the directory {}: {error}", path.display()));
    let mut found = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if path.is_dir() && !hidden {
            found.push(path);
        }
    }
    found.sort();
    if found.is_empty() {
        let wanted = "wanted one for each cluster, named as the cluster";
        return Err(Failure::usage(format!("there is no folder in {}: {wanted}", path.display())));
    }
    Ok(found)
}

/// All of them as one text.
pub(super) fn joined(documents: Vec<Document>) -> String {
    documents.into_iter().map(|document| document.text).collect::<Vec<_>>().join("\n---\n")
}

fn yaml_files(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |error: io::Error| Failure::unreadable(format_args!("the directory {}", dir.display()), &error);
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        let failure = Failure::usage(format!("there is no *.yaml or *.yml file in {}", dir.display()));
        return Err(failure.fix("name a file with -f, or give the files one of these endings"));
    }
    Ok(files)
}

fn read_file(path: &Path) -> Result<Document, Failure> {
    let file = fs::File::open(path).map_err(|error| Failure::unreadable(path.display(), &error))?;
    read(file, path.display().to_string())
}

fn read(from: impl io::Read, source: String) -> Result<Document, Failure> {
    let mut bytes = Vec::new();
    from.take(MAX + 1).read_to_end(&mut bytes).map_err(|error| Failure::unreadable(&source, &error))?;
    if bytes.len() as u64 > MAX {
        return Err(Failure::usage(format!("{source} is larger than {MAX} bytes")).fix("apply it in parts"));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        Failure::usage(format!("{source} is not UTF-8 text: byte {} is wrong", error.utf8_error().valid_up_to()))
            .fix("save it as UTF-8")
    })?;
    Ok(Document { source, text })
}

/// Checks every document and returns how many policies and tests there are; all faults of all texts are reported at once.
pub(super) fn check(documents: &[Document]) -> Result<usize, Failure> {
    let mut policies = 0;
    let mut faults = Vec::new();
    for document in documents {
        match manifest::parse_applied(&document.text) {
            Ok(good) => policies += good.policies.len() + good.tests.len(),
            Err(violations) => faults.extend(faults_of(&document.source, &violations)),
        }
    }
    if faults.is_empty() {
        return Ok(policies);
    }
    let message = format!("{}, nothing was applied", format::count(faults.len(), "fault"));
    Err(Failure { faults, ..Failure::new(Exit::Usage, "invalid_document", message) })
}

/// Violations with the place where each is.
pub(super) fn faults_of(source: &str, violations: &[Violation]) -> Vec<Fault> {
    violations.iter().map(|violation| fault(source, violation)).collect()
}

pub(super) fn fault(source: &str, violation: &Violation) -> Fault {
    let Violation { code, line, column, field, got, want, fix } = violation;
    let field = if field.is_empty() { String::new() } else { format!("{field}: ") };
    let fix = if fix.is_empty() { String::new() } else { format!("; {fix}") };
    Fault { place: format!("{source}:{line}:{column}"), text: format!("{field}{code}: got {got}; wanted {want}{fix}") }
}

/// What `validate` found, as data.
#[derive(Serialize)]
struct Valid {
    policies: usize,
}

/// `axle policy validate`
pub(super) fn validate(files: &Files, output: Output) -> Result<(), Failure> {
    let valid = Valid { policies: check(&files.read()?)? };
    output.show_text(&valid, |valid| {
        let are = if valid.policies == 1 { "is" } else { "are" };
        format!("{} {are} valid\n", format::count(valid.policies, "document"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &str) -> Document {
        Document { source: "a.yaml".into(), text: text.into() }
    }

    #[test]
    fn every_fault_is_named_with_file_line_and_column() {
        let wrong = document("apiVersion: axle.dev/v1alpha1\nkind: MeshNetworkPolicy\nspce: {}\n");
        let failure = check(&[wrong, document("nonsense: [")]).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        let text = failure.to_string();
        assert!(text.contains("a.yaml:3:1") && text.contains("spec"), "{text}");
        assert!(failure.faults.len() > 1, "{text}");
    }

    #[test]
    fn files_are_read_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let files = |path: &Path| Files { files: vec![path.to_owned()] };
        let error = |path: &Path| files(path).read().unwrap_err().to_string();
        // Each says how to mend it.
        let error = |path: &Path| {
            let error = error(path);
            assert!(error.contains("\nfix: "), "{error}");
            error
        };
        let none = error(&dir.path().join("none.yaml"));
        assert!(none.contains("No such file") && none.contains("check the path"), "{none}");
        assert!(error(dir.path()).contains("no *.yaml"));
        fs::write(dir.path().join("b.yaml"), "b: 1\n").unwrap();
        fs::write(dir.path().join("a.yml"), "a: 1\n").unwrap();
        fs::write(dir.path().join("c.txt"), "c: 1\n").unwrap();
        let read = files(dir.path()).read().unwrap();
        assert_eq!(read.iter().map(|document| document.text.as_str()).collect::<Vec<_>>(), ["a: 1\n", "b: 1\n"]);
        fs::write(dir.path().join("d.yaml"), " \n").unwrap();
        assert!(error(dir.path()).contains("is empty"));
        fs::write(dir.path().join("d.yaml"), [b'a', 0xff]).unwrap();
        assert!(error(dir.path()).contains("byte 1"));
        fs::write(dir.path().join("d.yaml"), vec![b'a'; 5 << 20]).unwrap();
        assert!(error(dir.path()).contains("larger than"));
    }
}
