//! Documents from files, directories and standard input, checked before anything is sent.
use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use clap::Args;

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
    #[arg(short = 'f', long = "file", value_name = "PATH", required = true)]
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
        let mut documents = Vec::new();
        for path in &self.files {
            if path.as_os_str() == "-" {
                documents.push(read(io::stdin().lock(), "standard input".into())?);
            } else if path.is_dir() {
                for file in yaml_files(path)? {
                    documents.push(read_file(&file)?);
                }
            } else {
                documents.push(read_file(path)?);
            }
        }
        match documents.iter().find(|document| document.text.trim().is_empty()) {
            Some(empty) => Err(Failure::usage(format!("{} is empty: wanted a policy document", empty.source))),
            None => Ok(documents),
        }
    }
}

fn yaml_files(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |error: io::Error| Failure::usage(format!("cannot read the directory {}: {error}", dir.display()));
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(Failure::usage(format!("there is no *.yaml or *.yml file in {}", dir.display())));
    }
    Ok(files)
}

fn read_file(path: &Path) -> Result<Document, Failure> {
    let file = fs::File::open(path).map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
    read(file, path.display().to_string())
}

fn read(from: impl io::Read, source: String) -> Result<Document, Failure> {
    let mut bytes = Vec::new();
    let failed = |error: io::Error| Failure::usage(format!("cannot read {source}: {error}"));
    from.take(MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX {
        return Err(Failure::usage(format!("{source} is larger than {MAX} bytes")).fix("apply it in parts"));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        Failure::usage(format!("{source} is not UTF-8 text: byte {} is wrong", error.utf8_error().valid_up_to()))
    })?;
    Ok(Document { source, text })
}

/// `axle policy validate`
pub(super) fn validate(files: &Files, output: Output) -> Result<(), Failure> {
    let documents = files.read()?;
    check(&documents)?;
    output.print(&format!("{}\n", format::count(documents.len(), "document")))
}

pub(super) fn check(_documents: &[Document]) -> Result<(), Failure> {
    Ok(())
}
