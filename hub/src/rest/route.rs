//! One route: what it is called, what it takes and gives, who answers. Router and OpenAPI document are made from it.
use std::sync::Arc;

use axum::{
    handler::Handler,
    routing::{self, MethodRouter},
};
use http::StatusCode;
use serde_json::{Map, Value};
use utoipa::{
    ToSchema,
    openapi::{HttpMethod, RefOr, Schema},
};

use crate::operations::Operations;

/// Where the API is.
pub(super) const BASE: &str = "/api/v1";

/// A route.
pub(super) struct Route {
    pub(super) method: HttpMethod,
    /// Below [`BASE`], with axum's and OpenAPI's common placeholders.
    pub(super) path: &'static str,
    /// Its name, as the gRPC method has it.
    pub(super) name: &'static str,
    pub(super) summary: &'static str,
    pub(super) query: Map<String, Value>,
    pub(super) body: Option<String>,
    /// Whether the body may be YAML too.
    pub(super) yaml: bool,
    pub(super) status: StatusCode,
    pub(super) answer: String,
    /// Whether it answers a stream of server-sent events, each with an `answer`, and whether it always does.
    pub(super) streams: Streams,
    /// The schemas that it speaks of.
    pub(super) schemas: Vec<(String, RefOr<Schema>)>,
    pub(super) handler: MethodRouter<Arc<Operations>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Streams {
    Never,
    /// With `Accept: text/event-stream`.
    OnRequest,
    Always,
}

impl Route {
    pub(super) fn get<T: 'static>(path: &'static str, handler: impl Handler<T, Arc<Operations>>) -> Self {
        Self::new(HttpMethod::Get, path, routing::get(handler))
    }

    pub(super) fn post<T: 'static>(path: &'static str, handler: impl Handler<T, Arc<Operations>>) -> Self {
        Self::new(HttpMethod::Post, path, routing::post(handler))
    }

    pub(super) fn patch<T: 'static>(path: &'static str, handler: impl Handler<T, Arc<Operations>>) -> Self {
        Self::new(HttpMethod::Patch, path, routing::patch(handler))
    }

    pub(super) fn delete<T: 'static>(path: &'static str, handler: impl Handler<T, Arc<Operations>>) -> Self {
        Self::new(HttpMethod::Delete, path, routing::delete(handler))
    }

    fn new(method: HttpMethod, path: &'static str, handler: MethodRouter<Arc<Operations>>) -> Self {
        Self {
            method,
            path,
            name: "",
            summary: "",
            query: Map::new(),
            body: None,
            yaml: false,
            status: StatusCode::OK,
            answer: String::new(),
            streams: Streams::Never,
            schemas: Vec::new(),
            handler,
        }
    }

    /// What it is called, as the gRPC method is, and what it does.
    pub(super) fn named(self, name: &'static str, summary: &'static str) -> Self {
        Self { name, summary, ..self }
    }

    /// It answers an `A`.
    pub(super) fn answers<A: ToSchema>(mut self) -> Self {
        self.answer = self.schema::<A>();
        self
    }

    /// It takes a query with the fields of `Q`.
    pub(super) fn query<Q: ToSchema>(mut self) -> Self {
        if let Ok(Value::Object(mut schema)) = serde_json::to_value(Q::schema())
            && let Some(Value::Object(properties)) = schema.remove("properties")
        {
            self.query = properties;
        }
        self
    }

    /// It takes a `B` as JSON.
    pub(super) fn body<B: ToSchema>(mut self) -> Self {
        self.body = Some(self.schema::<B>());
        self
    }

    pub(super) fn or_yaml(self) -> Self {
        Self { yaml: true, ..self }
    }

    pub(super) fn status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    pub(super) fn streams(self, streams: Streams) -> Self {
        Self { streams, ..self }
    }

    pub(super) fn full_path(&self) -> String {
        format!("{BASE}{}", self.path)
    }

    fn schema<T: ToSchema>(&mut self) -> String {
        let name = T::name().into_owned();
        self.schemas.push((name.clone(), T::schema()));
        T::schemas(&mut self.schemas);
        name
    }
}
