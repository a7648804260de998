//! A problem as REST says it: RFC 9457.
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use crate::operations::{Kind, Problem, Violation};

/// Why a request was not done. Nothing of it was. Source: RFC 9457, `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProblemBody {
    /// `about:blank`: the title says what the status does, `code` says more.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// Stable, for programs.
    pub code: String,
    /// What happened, for people.
    pub detail: String,
    /// All that is wrong with the request.
    pub violations: Vec<Violation>,
}

/// A problem with its HTTP status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    status: StatusCode,
    problem: Problem,
}

impl Refusal {
    /// A request whose form is wrong, before anybody looked at what it asks.
    pub(super) fn of_form(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self { status, problem: Problem::new(Kind::Invalid, code, detail) }
    }

    pub(super) fn no_route() -> Self {
        let detail = "there is nothing at this path; the API is described at /api/v1/openapi.json";
        Self::of_form(StatusCode::NOT_FOUND, "no_route", detail)
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        let status = match problem.kind {
            Kind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Conflict => StatusCode::CONFLICT,
            Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, problem }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Problem { code, detail, violations, .. } = self.problem;
        let body = ProblemBody {
            kind: "about:blank".into(),
            title: self.status.canonical_reason().unwrap_or_default().into(),
            status: self.status.as_u16(),
            code,
            detail,
            violations,
        };
        let mut response = (self.status, axum::Json(body)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }
}
