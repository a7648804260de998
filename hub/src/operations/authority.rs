//! The roots of the mesh's certificates, and their rotation.
use axle_core::state::Command;
use axle_proto::v1::{AuthorityView, RootView, RotateAuthorityRequest};
use axle_transport::pki::{Root, certificate_pem, sha256};
use rustls_pki_types::CertificateDer;

use super::{Kind, Operations, Problem, Violation, text};
use crate::{
    auth::Caller,
    authority::{Bundle, Stage, Step},
    clock::milliseconds,
};

impl Operations {
    /// The roots, and how far a rotation is.
    #[must_use]
    pub fn authority(&self) -> AuthorityView {
        let bundle = self.authorities.bundle();
        let (stage, other) = match bundle.stage() {
            Stage::Steady => ("steady", ""),
            Stage::Prepared { .. } => ("prepared", "next"),
            Stage::Overlap { .. } => ("overlap", "old"),
        };
        let states = ["signing", other];
        AuthorityView {
            stage: stage.into(),
            roots: bundle.roots().iter().zip(states).map(|(root, state)| view(root, state)).collect(),
            next_step: bundle.next_step().to_string(),
            next_step_ms: self.authorities.due_ms(),
        }
    }

    /// Takes the next step of a rotation now.
    ///
    /// # Errors
    /// It is not the next step, or too early for it.
    pub async fn rotate_authority(
        &self,
        caller: &Caller,
        request: RotateAuthorityRequest,
    ) -> Result<AuthorityView, Problem> {
        let step = step(&request.step)?;
        let bundle = self.authorities.bundle();
        if step != bundle.next_step() {
            // Whoever lost the answer asks for a step that is done.
            let answered = self.store.answered(&caller.actor(), &request.request_id).await?;
            if answered.is_some_and(|answered| answered.action.starts_with(&format!("ca {step}"))) {
                return Ok(self.authority());
            }
            return Err(not_next(&bundle));
        }
        if step == Step::Retire && !request.force && !self.authorities.all_present_renewed() {
            let detail = "agents may hold nothing but certificates of the old root until they have renewed, and would have \
                          to join anew; wait for one lifetime of a certificate, or say that you mean it: --force";
            return Err(Problem::new(Kind::Conflict, "too_early", detail));
        }
        let too_early = || {
            let detail = "another hub may not know of the next root yet, or took the step first; see axle ca status, and \
                          try again in five seconds";
            Problem::new(Kind::Conflict, "too_early", detail)
        };
        self.authorities.after(step)?.ok_or_else(too_early)?;
        let action = self.authorities.action(step);
        self.write(caller, request.request_id, Command::Note { action }).await?;
        if !self.authorities.take(step).await? {
            return Err(too_early());
        }
        Ok(self.authority())
    }
}

fn step(text: &str) -> Result<Step, Problem> {
    let steps = [Step::Prepare, Step::Activate, Step::Retire];
    let violation = || Violation::new("invalid_value", "step", text, "prepare, activate or retire", "");
    steps.into_iter().find(|step| step.to_string() == text).ok_or_else(|| Problem::invalid(vec![violation()]))
}

fn not_next(bundle: &Bundle) -> Problem {
    let detail = match bundle.next_step() {
        Step::Prepare => "no rotation is under way; begin one: axle ca rotate",
        Step::Activate => "a rotation is under way, and its next root waits to sign: axle ca status, axle ca activate",
        Step::Retire => "a rotation is under way, and the old root is still trusted: axle ca status, axle ca retire",
    };
    Problem::new(Kind::Conflict, "not_the_next_step", detail)
}

fn view(root: &CertificateDer<'_>, state: &str) -> RootView {
    RootView {
        fingerprint: text::hex(&sha256(root)),
        state: state.into(),
        not_after_ms: Root::read(root).map(|root| milliseconds(root.not_after())).unwrap_or_default(),
        pem: certificate_pem(root),
    }
}
