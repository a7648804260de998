//! `axle context`
use axle_transport::context::ContextFile;
use clap::Subcommand;
use serde::Serialize;

use crate::{
    failure::Failure,
    output::{Cell, Table, Tone, note},
    session::Session,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the hubs you know.
    List,
    /// Use another hub from now on.
    Use {
        /// Its context's name.
        name: String,
    },
    /// Forget a hub.
    Remove {
        /// Its context's name.
        name: String,
    },
}

/// A context without its secrets.
#[derive(Serialize)]
struct Shown {
    name: String,
    hub: String,
    current: bool,
}

impl Command {
    pub(crate) fn run(self, session: &Session) -> Result<(), Failure> {
        let path = session.config_path()?;
        let mut file = ContextFile::load(&path)?;
        let unknown = |name: &str| {
            Failure::usage(format!("{}: there is no context {name:?}", path.display())).fix("axle context list")
        };
        match self {
            Self::List => return list(session, &file),
            Self::Use { name } => {
                let context = file.get(&name).ok_or_else(|| unknown(&name))?;
                note(&format!("{:?} is in use: {}", context.name, context.hub));
                file.current = name;
            }
            Self::Remove { name } => {
                file.get(&name).ok_or_else(|| unknown(&name))?;
                file.contexts.retain(|context| context.name != name);
                if file.current == name {
                    file.current.clear();
                }
                note(&format!("{name:?} is forgotten"));
            }
        }
        Ok(file.save(&path)?)
    }
}

fn list(session: &Session, file: &ContextFile) -> Result<(), Failure> {
    let shown: Vec<_> = file
        .contexts
        .iter()
        .map(|context| Shown {
            name: context.name.clone(),
            hub: context.hub.clone(),
            current: context.name == file.current,
        })
        .collect();
    session.output.show(&shown, |contexts| {
        let mut table = Table::new(["NAME", "HUB", "IN USE"]);
        for context in contexts {
            let current = if context.current { Cell("yes".into(), Tone::Good) } else { "".into() };
            table.row([context.name.as_str().into(), context.hub.as_str().into(), current]);
        }
        table
    })
}
