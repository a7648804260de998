//! What a command works with: where output goes, and the hub that is meant.
use std::{cell::RefCell, path::PathBuf};

use axle_transport::context::{Context, ContextFile};

use crate::{
    client::{self, Admin},
    failure::{Exit, Failure},
    output::{Output, note},
};

/// What every command gets: where output goes and which hub is meant.
pub(crate) struct Session {
    pub(crate) output: Output,
    pub(crate) context: Option<String>,
    /// The cluster's, of the kubeconfig, where the command is about one.
    pub(crate) kube_context: Option<String>,
    pub(crate) config: Option<PathBuf>,
    /// What holds at this moment, should the user interrupt.
    pub(crate) standing: RefCell<String>,
}

impl Session {
    /// Where the context file is.
    pub(crate) fn config_path(&self) -> Result<PathBuf, Failure> {
        match &self.config {
            Some(path) => Ok(path.clone()),
            None => Ok(ContextFile::default_path()?),
        }
    }

    /// The hub in use.
    pub(crate) fn context(&self) -> Result<Context, Failure> {
        let path = self.config_path()?;
        let file = ContextFile::load(&path)?;
        let name = self.context.as_ref().unwrap_or(&file.current);
        if name.is_empty() {
            return Err(Failure::new(Exit::Usage, "context", format!("{}: no hub is chosen", path.display())).fix(
                "start axle-hub as this user, which writes one; or: axle login --hub URL --ca FILE --token-file FILE",
            ));
        }
        file.get(name).cloned().ok_or_else(|| {
            let known: Vec<_> = file.contexts.iter().map(|context| context.name.as_str()).collect();
            Failure::new(
                Exit::Usage,
                "context",
                format!("{}: there is no context {name:?}; there are: {}", path.display(), crate::format::list(known)),
            )
            .fix("axle context use NAME")
        })
    }

    /// Connects to the hub in use. Roots that the hub is about to use, or uses no more, are noted in the context file.
    pub(crate) async fn admin(&self) -> Result<Admin, Failure> {
        let context = self.context()?;
        let (admin, roots) = client::connect(&context).await?;
        if let Some(ca) = roots {
            let noted = self.note_roots(Context { ca, ..context });
            noted.unwrap_or_else(|why| note(&format!("the hub's new root is not remembered: {why}")));
        }
        Ok(admin)
    }

    fn note_roots(&self, context: Context) -> Result<(), Failure> {
        let path = self.config_path()?;
        let mut file = ContextFile::load(&path)?;
        if let Some(there) = file.contexts.iter_mut().find(|there| there.name == context.name) {
            there.ca = context.ca;
        }
        Ok(file.save(&path)?)
    }
}
