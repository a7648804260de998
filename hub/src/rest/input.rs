//! Requests, read strictly: content type, size, form, then every field against the schema that is published.
mod unique;

use std::{sync::Arc, time::Duration};

use axle_core::manifest::suggest;
use axum::{
    body::to_bytes,
    extract::{FromRequest, FromRequestParts, Request},
};
use http::{HeaderMap, StatusCode, header, request::Parts};
use serde::de::DeserializeOwned;
use serde_json::{Map, Number, Value};
use utoipa::ToSchema;

use super::problem::Refusal;
use crate::operations::{Operations, Problem, Violation};
use unique::Unique;

/// The largest body taken, in bytes.
pub(super) const MAX_BODY: usize = 4 << 20;
/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(30);

/// A request's JSON body. POST /policies takes YAML as it is, too.
pub(super) struct Body<T>(pub(super) T);

/// A request's query.
pub(super) struct Query<T>(pub(super) T);

/// The caller's own id of a request.
pub(super) struct RequestId(pub(super) String);

impl<T: DeserializeOwned + ToSchema> FromRequest<Arc<Operations>> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &Arc<Operations>) -> Result<Self, Refusal> {
        let content = content_type(request.headers());
        if content != "application/json" {
            return Err(unsupported(&content, "application/json"));
        }
        read_json(&read(request).await?).map(Self)
    }
}

impl<T: DeserializeOwned + ToSchema> FromRequestParts<Arc<Operations>> for Query<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Operations>) -> Result<Self, Refusal> {
        read_query(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

impl FromRequestParts<Arc<Operations>> for RequestId {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Operations>) -> Result<Self, Refusal> {
        let Some(key) = parts.headers.get("idempotency-key") else { return Ok(Self(String::new())) };
        let wrong =
            |_| Refusal::of_form(StatusCode::BAD_REQUEST, "malformed_header", "Idempotency-Key is not plain text");
        key.to_str().map(|key| Self(key.to_owned())).map_err(wrong)
    }
}

/// The media type without parameters, in lower case; empty where there is none.
pub(super) fn content_type(headers: &HeaderMap) -> String {
    let text = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

pub(super) fn unsupported(got: &str, want: &str) -> Refusal {
    let got = if got.is_empty() { "no Content-Type" } else { got };
    let detail = format!("got {got:?}; wanted a body with Content-Type: {want}");
    Refusal::of_form(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
}

/// The whole body, if it is not too large and comes in time.
pub(super) async fn read(request: Request) -> Result<bytes::Bytes, Refusal> {
    if request.headers().contains_key(header::CONTENT_ENCODING) {
        let detail = "the body has a Content-Encoding; wanted it as it is";
        return Err(Refusal::of_form(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding", detail));
    }
    let body = tokio::time::timeout(BODY_TIME, to_bytes(request.into_body(), MAX_BODY)).await;
    let body = body.map_err(|_| {
        let detail = format!("the body did not arrive within {} s", BODY_TIME.as_secs());
        Refusal::of_form(StatusCode::REQUEST_TIMEOUT, "body_timeout", detail)
    })?;
    body.map_err(|error| {
        if std::error::Error::source(&error).is_some_and(|source| source.is::<http_body_util::LengthLimitError>()) {
            let detail = format!("the body is larger than {MAX_BODY} bytes; send it in parts");
            return Refusal::of_form(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail);
        }
        Refusal::of_form(StatusCode::BAD_REQUEST, "broken_body", format!("the body broke off: {error}"))
    })
}

fn read_json<T: DeserializeOwned + ToSchema>(bytes: &[u8]) -> Result<T, Refusal> {
    let malformed = |detail: String| Refusal::of_form(StatusCode::BAD_REQUEST, "malformed_body", detail);
    match serde_json::from_slice(bytes) {
        Ok(Unique(Value::Object(fields))) => Ok(strict(fields)?),
        Ok(Unique(other)) => Err(malformed(format!("the body is {}; wanted a JSON object", kind(&other)))),
        Err(error) => Err(malformed(format!("the body is not well-formed JSON: {error}"))),
    }
}

fn read_query<T: DeserializeOwned + ToSchema>(query: &str) -> Result<T, Refusal> {
    let schema = properties::<T>();
    let mut fields = Map::new();
    let mut violations = Vec::new();
    for (name, text) in form_urlencoded::parse(query.as_bytes()) {
        if fields.contains_key(name.as_ref()) {
            violations.push(Violation::new("duplicate", &name, &text, "each parameter once", "leave one out"));
        }
        let value = schema.get(name.as_ref()).map_or(Value::Null, |schema| scalar(schema, &text));
        fields.insert(name.into_owned(), value);
    }
    if violations.is_empty() { Ok(strict(fields)?) } else { Err(Problem::invalid(violations).into()) }
}

/// A text as the value that its schema asks for, or as a text, which is then refused.
fn scalar(schema: &Value, text: &str) -> Value {
    let number = || text.parse::<u64>().ok().map(|number| Value::Number(Number::from(number)));
    let parsed = match schema["type"].as_str() {
        Some("integer") => number(),
        Some("boolean") => text.parse().ok().map(Value::Bool),
        _ => None,
    };
    parsed.unwrap_or_else(|| Value::String(text.to_owned()))
}

/// A message from its fields: none unknown, all of their types.
fn strict<T: DeserializeOwned + ToSchema>(fields: Map<String, Value>) -> Result<T, Problem> {
    let schema = properties::<T>();
    let mut violations = Vec::new();
    for (name, value) in &fields {
        let Some(property) = schema.get(name) else {
            let known: Vec<_> = schema.keys().map(String::as_str).collect();
            let fix = suggest(name, known.iter().copied()).unwrap_or_else(|| "leave it out".into());
            let want = format!("one of {}", known.join(", "));
            violations.push(Violation::new("unknown_field", name, name, &want, &fix));
            continue;
        };
        if let Some(wanted) = property["type"].as_str().filter(|wanted| !is(wanted, value)) {
            let got = match value {
                Value::Object(_) | Value::Array(_) => kind(value).to_owned(),
                other => other.to_string(),
            };
            violations.push(Violation::new("wrong_type", name, &got, &worded(wanted), ""));
        }
    }
    if !violations.is_empty() {
        return Err(Problem::invalid(violations));
    }
    serde_json::from_value(Value::Object(fields)).map_err(|error| {
        Problem::invalid(vec![Violation::new(
            "wrong_type",
            "body",
            &error.to_string(),
            "a value that fits the schema",
            "",
        )])
    })
}

/// The fields of a message as its published schema has them.
fn properties<T: ToSchema>() -> Map<String, Value> {
    match serde_json::to_value(T::schema()) {
        Ok(Value::Object(mut schema)) => match schema.remove("properties") {
            Some(Value::Object(properties)) => properties,
            _ => Map::new(),
        },
        _ => Map::new(),
    }
}

fn is(wanted: &str, value: &Value) -> bool {
    match wanted {
        "integer" => value.is_u64(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => true,
    }
}

fn worded(schema_type: &str) -> String {
    match schema_type {
        "integer" => "a whole number, at least 0".into(),
        "boolean" => "true or false".into(),
        "string" => "a text".into(),
        other => format!("an {other}"),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests;
