//! `axle ca`
use axle_proto::v1::{AuthorityView, GetAuthorityRequest, RotateAuthorityRequest};
use clap::Subcommand;

use super::{begin_write, request_id};
use crate::{
    failure::Failure,
    format,
    output::{Table, note},
    session::Session,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the roots of the mesh's certificates, and how far a rotation is.
    Status,
    /// Begin to exchange the root: the next one is handed out, signs after one lifetime of a certificate, and the one
    /// before is forgotten once no certificate of it can be used or renewed.
    Rotate,
    /// Let the next root sign now. Agents that were not handed it yet follow all the same.
    Activate,
    /// Forget the old root now.
    Retire {
        /// Also while agents may not have renewed yet: those must join anew.
        #[arg(long)]
        force: bool,
    },
}

impl Command {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let mut admin = session.admin().await?;
        let (step, force) = match self {
            Self::Status => {
                let view = admin.get_authority(GetAuthorityRequest {}).await?.into_inner();
                return show(session, &view);
            }
            Self::Rotate => ("prepare", false),
            Self::Activate => ("activate", false),
            Self::Retire { force } => ("retire", force),
        };
        begin_write(session);
        let request = RotateAuthorityRequest { step: step.into(), force, request_id: request_id()? };
        show(session, &admin.rotate_authority(request).await?.into_inner())
    }
}

fn show(session: &Session, view: &AuthorityView) -> Result<(), Failure> {
    if session.output.is_for_people() {
        note(&format!(
            "{}; the next step, {}, is taken by itself at {}",
            view.stage,
            view.next_step,
            format::time(view.next_step_ms)
        ));
    }
    session.output.show(view, |view| {
        let mut table = Table::new(["ROOT", "STATE", "ENDS"]);
        for root in &view.roots {
            table.row([
                root.fingerprint.as_str().into(),
                root.state.as_str().into(),
                format::time(root.not_after_ms).into(),
            ]);
        }
        table
    })
}
