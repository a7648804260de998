//! The commands, one file per noun: arguments, call, table.
pub(crate) mod audit;
pub(crate) mod ca;
pub(crate) mod cluster;
pub(crate) mod completion;
pub(crate) mod context;
pub(crate) mod endpoint;
pub(crate) mod identity;
pub(crate) mod login;
pub(crate) mod node;
pub(crate) mod observe;
pub(crate) mod policy;
pub(crate) mod service;
pub(crate) mod status;
pub(crate) mod token;
mod wait;

use axle_proto::v1::{ListRequest, WriteResult};

use crate::{
    failure::{Exit, Failure},
    output::note,
    session::Session,
};

/// A fresh id for a write, so that a repeated request is answered and not applied again.
fn request_id() -> Result<String, Failure> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        Failure::new(Exit::Internal, "random", format!("the system gives no random bytes: {error}"))
    })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// All pages of a list.
async fn every_page<T>(
    mut request: ListRequest,
    mut page: impl AsyncFnMut(ListRequest) -> Result<(Vec<T>, String), tonic::Status>,
) -> Result<Vec<T>, Failure> {
    request.limit = 1000;
    let mut all = Vec::new();
    loop {
        let (items, next) = page(request.clone()).await?;
        all.extend(items);
        if next.is_empty() {
            return Ok(all);
        }
        request.cursor = next;
    }
}

/// Marks a write as under way, for the message of an interrupt.
fn begin_write(session: &Session) {
    *session.standing.borrow_mut() =
        "the request was sent; whether the hub applied it is not known: see axle audit list".into();
}

/// Prints what a write did.
fn show_write(session: &Session, what: &str, result: &WriteResult) -> Result<(), Failure> {
    warn(&result.warnings);
    session.output.show_text(result, |result| match result.revision {
        0 => format!("{what}: nothing to change\n"),
        revision => format!("{what} (revision {revision})\n"),
    })
}

fn warn(warnings: &[String]) {
    for warning in warnings {
        note(&format!("warning: {warning}"));
    }
}
