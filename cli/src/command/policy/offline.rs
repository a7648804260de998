//! The same questions without a hub: the fleet is in folders of documents, and the answers come from the same code.
use std::path::{Path, PathBuf};

use axle_core::{
    manifest::{self, Applied},
    model::{Name, Policy, PolicyTest},
    offline::{self, Folder},
    policy::{Misunderstood, World, survey},
};
use axle_proto::{
    convert::Wire,
    v1::{
        DiffPoliciesResponse, ExplainRequest, ExplainResponse, LintPoliciesResponse, PreviewRequest,
        TestPoliciesResponse,
    },
    view,
};
use clap::Args;

use super::document::{Document, directories, faults_of, read_path};
use crate::{
    failure::{Exit, Failure, Fault},
    format,
};

/// Where the fleet is, if no hub shall be asked.
#[derive(Debug, Args)]
pub(crate) struct Offline {
    /// Ask no hub: the fleet is in folders of documents.
    #[arg(long, requires = "inventory")]
    offline: bool,
    /// A directory with a folder for each cluster, named as the cluster, with the YAML files that its agents read. A
    /// document of kind Cluster there may say prefixes, region, labels and default action.
    #[arg(long, value_name = "DIR", requires = "offline")]
    inventory: Option<PathBuf>,
    /// The policies and tests that are there: a file or a directory. Repeat for several.
    #[arg(long, value_name = "PATH", requires = "offline")]
    policies: Vec<PathBuf>,
}

impl Offline {
    /// The fleet, if it is to be read from documents.
    pub(super) fn world(&self) -> Result<Option<World>, Failure> {
        let Some(inventory) = self.inventory.as_ref().filter(|_| self.offline) else { return Ok(None) };
        let mut folders = Vec::new();
        for path in directories(inventory)? {
            folders.push(folder(&path)?);
        }
        let mut texts = Vec::new();
        for path in &self.policies {
            texts.extend(read_path(path)?);
        }
        let Applied { policies, tests } = applied(&texts)?;
        fleet(&folders, &policies, &tests).map(Some)
    }
}

fn fleet(folders: &[Folder], policies: &[Policy], tests: &[PolicyTest]) -> Result<World, Failure> {
    offline::world(folders, policies, tests, &Wire).map_err(|problems| {
        let message = format!("{} in the documents of the fleet", format::count(problems.len(), "fault"));
        let fault = |text: String| Fault { place: "inventory".into(), text };
        let faults = problems.into_iter().map(fault).collect();
        Failure { faults, ..Failure::new(Exit::Usage, "invalid_fleet", message) }
    })
}

fn folder(path: &Path) -> Result<Folder, Failure> {
    let text = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name = Name::new(text).map_err(|error| {
        Failure::usage(format!("the folder {} is named as no cluster can be: {error}", path.display()))
    })?;
    let mut documents = Vec::new();
    let mut faults = Vec::new();
    for Document { source, text } in read_path(path)? {
        match manifest::parse(&text) {
            Ok(read) => documents.extend(read),
            Err(violations) => faults.extend(faults_of(&source, &violations)),
        }
    }
    if faults.is_empty() { Ok(Folder { name, documents }) } else { Err(invalid(faults)) }
}

fn applied(texts: &[Document]) -> Result<Applied, Failure> {
    let mut all = Applied::default();
    let mut faults = Vec::new();
    for Document { source, text } in texts {
        match manifest::parse_applied(text) {
            Ok(Applied { policies, tests }) => {
                all.policies.extend(policies);
                all.tests.extend(tests);
            }
            Err(violations) => faults.extend(faults_of(source, &violations)),
        }
    }
    if faults.is_empty() { Ok(all) } else { Err(invalid(faults)) }
}

fn invalid(faults: Vec<Fault>) -> Failure {
    let message = format::count(faults.len(), "fault");
    Failure { faults, ..Failure::new(Exit::Usage, "invalid_document", message) }
}

fn misunderstood(faults: Vec<Misunderstood>) -> Failure {
    let fault = |fault: Misunderstood| {
        let fix = if fault.fix.is_empty() { String::new() } else { format!("; {}", fault.fix) };
        Fault { text: format!("got {}; wanted {}{fix}", fault.got, fault.want), place: fault.field }
    };
    invalid(faults.into_iter().map(fault).collect())
}

pub(super) fn explain(world: &World, request: &ExplainRequest) -> Result<ExplainResponse, Failure> {
    let flow = world.flow(&request.from, &request.to, &request.protocol, request.port).map_err(misunderstood)?;
    Ok(view::explanation(world, flow))
}

pub(super) fn diff(world: &World, request: &PreviewRequest) -> Result<DiffPoliciesResponse, Failure> {
    let (changes, _) = proposed(world, request)?;
    Ok(view::diff(world, &survey::diff(world, &changes).report()))
}

pub(super) fn lint(world: &World, request: &PreviewRequest) -> Result<LintPoliciesResponse, Failure> {
    let (changes, _) = proposed(world, request)?;
    Ok(view::lint(world, &changes))
}

pub(super) fn test(world: &World, request: &PreviewRequest) -> Result<TestPoliciesResponse, Failure> {
    let (changes, tests) = proposed(world, request)?;
    Ok(view::test(world, &changes, &tests))
}

/// The changes and the tests of a request.
fn proposed(
    world: &World,
    request: &PreviewRequest,
) -> Result<(Vec<axle_core::log::Change>, Vec<PolicyTest>), Failure> {
    let text = Document { source: "the documents".into(), text: request.document.clone() };
    let Applied { policies, tests } =
        if request.document.trim().is_empty() { Applied::default() } else { applied(&[text])? };
    let changes = survey::propose(world, &policies, &request.delete, &Wire).map_err(misunderstood)?;
    Ok((changes, tests))
}
