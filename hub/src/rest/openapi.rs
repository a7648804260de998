//! The OpenAPI document, from the table of routes.
use serde_json::Value;
use utoipa::{
    PartialSchema as _,
    openapi::{
        ComponentsBuilder, Content, ContentBuilder, Info, OpenApi, OpenApiBuilder, Paths, Ref, RefOr, Required,
        Response, ResponseBuilder, Schema, SecurityRequirement,
        path::{OperationBuilder, Parameter, ParameterBuilder, ParameterIn},
        request_body::{RequestBody, RequestBodyBuilder},
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use super::{
    problem::ProblemBody,
    route::{Route, Streams},
};

const TOKEN: &str = "token";

/// The document as JSON.
pub(super) fn document(routes: &[Route]) -> String {
    build(routes).to_pretty_json().unwrap_or_else(|error| {
        tracing::error!(%error, "the OpenAPI document cannot be written");
        "{}".into()
    })
}

fn build(routes: &[Route]) -> OpenApi {
    let mut paths = Paths::new();
    let mut components = ComponentsBuilder::new()
        .security_scheme(
            TOKEN,
            SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build()),
        )
        .schema("Problem", ProblemBody::schema());
    let mut of_problem = Vec::new();
    <ProblemBody as utoipa::ToSchema>::schemas(&mut of_problem);
    components = components.schemas_from_iter(of_problem);
    for route in routes {
        components = components.schemas_from_iter(route.schemas.iter().cloned());
        paths.add_path_operation(route.full_path(), vec![route.method.clone()], operation(route));
    }
    let info = Info::builder()
        .title("Axle")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("One control plane for many clusters. Errors are RFC 9457 problems; lists come in pages."))
        .build();
    OpenApiBuilder::new()
        .info(info)
        .paths(paths)
        .components(Some(components.build()))
        .security(Some([SecurityRequirement::new(TOKEN, Vec::<String>::new())]))
        .build()
}

fn operation(route: &Route) -> OperationBuilder {
    let mut operation = OperationBuilder::new()
        .operation_id(Some(route.name))
        .summary(Some(route.summary))
        .response(route.status.as_str(), answer(route))
        .response("default", problem());
    for parameter in placeholders(route.path).chain(query(route)) {
        operation = operation.parameter(parameter);
    }
    match body(route) {
        Some(body) => operation.request_body(Some(body)),
        None => operation,
    }
}

fn named(schema: &str) -> RefOr<Schema> {
    RefOr::Ref(Ref::from_schema_name(schema))
}

fn content(schema: &str) -> Content {
    Content::new(Some(named(schema)))
}

fn answer(route: &Route) -> Response {
    let mut response = ResponseBuilder::new().description(route.summary);
    if route.streams != Streams::Always {
        response = response.content("application/json", content(&route.answer));
    }
    if route.streams != Streams::Never {
        let events = ContentBuilder::new().item_schema(Some(named(&route.answer))).build();
        response = response.content("text/event-stream", events);
    }
    response.build()
}

fn problem() -> Response {
    let description = "It was not done; the body says why.";
    ResponseBuilder::new().description(description).content("application/problem+json", content("Problem")).build()
}

fn body(route: &Route) -> Option<RequestBody> {
    let schema = route.body.as_ref()?;
    let mut body =
        RequestBodyBuilder::new().content("application/json", content(schema)).required(Some(Required::True));
    if route.yaml {
        let text = utoipa::openapi::ObjectBuilder::new().schema_type(utoipa::openapi::Type::String).build();
        body = body.content("application/yaml", Content::new(Some(text)));
    }
    Some(body.build())
}

fn placeholders(path: &str) -> impl Iterator<Item = Parameter> {
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    names.map(|name| {
        let text = utoipa::openapi::ObjectBuilder::new().schema_type(utoipa::openapi::Type::String).build();
        ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .schema(Some(text))
            .build()
    })
}

fn query(route: &Route) -> impl Iterator<Item = Parameter> {
    let in_path = |name: &str| route.path.contains(&format!("{{{name}}}"));
    route.query.iter().filter(move |(name, _)| !in_path(name)).map(|(name, schema)| {
        let mut schema = schema.clone();
        let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
        let schema: Option<Schema> = serde_json::from_value(schema).ok();
        ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Query)
            .required(Required::False)
            .description(description.as_ref().and_then(Value::as_str))
            .schema(schema)
            .build()
    })
}
