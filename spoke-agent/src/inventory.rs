//! What runs on this machine and in this cluster, from a directory of YAML files.
//!
//! Only a directory that is readable and empty is empty. While anything in it cannot be read or understood, nothing that
//! was known is taken away: what is readable is added or changed, and the rest is reported.
mod directory;
mod objects;
mod watch;

use std::collections::BTreeSet;

use axle_core::{
    manifest::{self, Document},
    model::Name,
};

pub use objects::{ClusterObjects, Interfaces, Machine, NodeObjects, ThisNode};
pub use watch::{InventoryWatch, watch};

use directory::File;

/// What the directory says.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Inventory {
    /// Everything that could be understood.
    pub documents: Vec<Document>,
    /// Policies that are there and cannot be understood, by namespace and name: what the log has of them stays.
    pub held: BTreeSet<(Option<Name>, Name)>,
    /// What names of policies begin with that nobody can ask for: what the log has of them stays.
    pub unknown: BTreeSet<String>,
    /// Whether that is everything there is.
    pub complete: bool,
    /// Whether everything was looked at, understood or not.
    pub listed: bool,
    /// What is wrong, in sentences.
    pub problems: Vec<String>,
    /// What this machine is, where the inventory says so.
    pub machine: Option<Machine>,
}

impl Inventory {
    fn unreadable(why: &str) -> Self {
        let problem = format!("the inventory cannot be read, what it said before stays: {why}");
        Self { problems: vec![problem], ..Self::default() }
    }

    fn read(files: Vec<File>) -> Self {
        let mut inventory = Self { complete: true, listed: true, ..Self::default() };
        let mut known = BTreeSet::new();
        for file in files {
            if let Err(problems) = inventory.take(&file, &mut known) {
                inventory.complete = false;
                let told = problems.into_iter().map(|problem| format!("{}: {problem}", file.path.display()));
                inventory.problems.extend(told);
            }
        }
        inventory
    }

    fn take(&mut self, file: &File, known: &mut BTreeSet<(&'static str, String)>) -> Result<(), Vec<String>> {
        let text = file.text.as_ref().map_err(|why| vec![why.clone()])?;
        let documents = manifest::parse(text)
            .map_err(|violations| violations.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        let mut problems = Vec::new();
        for document in documents {
            if matches!(document, Document::Cluster(_)) {
                continue;
            }
            let named = (document.kind(), objects::name(&document));
            if matches!(document, Document::PolicyTest(_)) {
                problems.push(format!("PolicyTest {}: tests are kept at the hub: axle policy apply -f", named.1));
            } else if known.insert(named.clone()) {
                self.documents.push(document);
            } else {
                problems.push(format!("{} {} is there a second time; the first one counts", named.0, named.1));
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn file(name: &str, text: &str) -> File {
        File { path: PathBuf::from(name), text: Ok(text.into()) }
    }

    fn namespace(name: &str) -> String {
        format!("apiVersion: axle.dev/v1alpha1\nkind: Namespace\nmetadata:\n  name: {name}\n")
    }

    #[test]
    fn what_is_wrong_is_named_and_the_rest_counts() {
        let inventory = Inventory::read(vec![
            file("a.yaml", &namespace("one")),
            file("b.yaml", "apiVersion: axle.dev/v1alpha1\nkind: Namespace\nmetadata:\n  nam: two\n"),
            file("c.yaml", &namespace("one")),
            File { path: "d.yaml".into(), text: Err("no".into()) },
            file("e.yaml", &namespace("three")),
        ]);
        assert!(!inventory.complete);
        assert_eq!(inventory.documents.iter().map(objects::name).collect::<Vec<_>>(), ["one", "three"]);
        let problems = inventory.problems.join("\n");
        for wanted in ["b.yaml: ", "nam", "c.yaml: Namespace one is there a second time", "d.yaml: no"] {
            assert!(problems.contains(wanted), "{wanted} in {problems}");
        }
    }

    #[test]
    fn empty_is_empty() {
        let empty = Inventory { complete: true, listed: true, ..Inventory::default() };
        assert_eq!(Inventory::read(vec![]), empty);
        assert_eq!(Inventory::read(vec![file("a.yaml", "")]), empty);
        assert!(!Inventory::unreadable("gone").complete);
    }
}
