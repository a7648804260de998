//! A problem as gRPC says it: a status with `google.rpc.ErrorInfo` (the code) and `google.rpc.BadRequest` (the faults).
use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

use crate::operations::{Kind, Problem};

/// Who defines the codes.
const DOMAIN: &str = "axle.dev";

impl From<Problem> for Status {
    fn from(problem: Problem) -> Self {
        let code = match (problem.kind, problem.code.as_str()) {
            (Kind::Invalid, _) => Code::InvalidArgument,
            (Kind::NotFound, _) => Code::NotFound,
            (Kind::Conflict, "duplicate_name") => Code::AlreadyExists,
            (Kind::Conflict, _) => Code::FailedPrecondition,
            (Kind::Unavailable, _) => Code::Unavailable,
            (Kind::Internal, _) => Code::Internal,
        };
        let mut details = ErrorDetails::with_error_info(problem.code.clone(), DOMAIN, HashMap::<String, String>::new());
        let fault = |violation: &crate::operations::Violation| {
            let mut fault = FieldViolation::new(&violation.field, violation.to_string());
            fault.reason.clone_from(&violation.code);
            fault
        };
        if !problem.violations.is_empty() {
            details.set_bad_request(problem.violations.iter().map(fault).collect::<Vec<_>>());
        }
        Self::with_error_details(code, problem.detail, details)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operations::Violation;

    #[test]
    fn every_fault_travels_with_the_status() {
        let faults = vec![Violation::new("a", "x", "1", "2", ""), Violation::new("b", "y", "3", "4", "do it")];
        let status = Status::from(Problem::invalid(faults));
        assert_eq!(status.code(), Code::InvalidArgument);
        let details = status.get_error_details();
        assert_eq!(details.error_info().map(|info| info.reason.as_str()), Some("a"));
        let texts: Vec<_> =
            details.bad_request().unwrap().field_violations.iter().map(|it| it.description.as_str()).collect();
        assert_eq!(texts, ["got 1; wanted 2", "got 3; wanted 4; do it"]);
    }
}
