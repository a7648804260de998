//! The dashboard: one page of static files that asks nothing but the REST API. They are part of this program.
use axum::{
    Router,
    extract::Path,
    response::{IntoResponse as _, Response},
    routing::get,
};
use http::header;

use crate::rest;

/// Only the page's own files, nothing inline, no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Every file by its name, with its media type.
const FILES: &[(&str, &str, &str)] = &[
    ("api.js", SCRIPT, include_str!("dashboard/api.js")),
    ("audit.js", SCRIPT, include_str!("dashboard/audit.js")),
    ("dom.js", SCRIPT, include_str!("dashboard/dom.js")),
    ("explain.js", SCRIPT, include_str!("dashboard/explain.js")),
    ("flows.js", SCRIPT, include_str!("dashboard/flows.js")),
    ("icon.svg", "image/svg+xml", include_str!("dashboard/icon.svg")),
    ("main.js", SCRIPT, include_str!("dashboard/main.js")),
    ("overview.js", SCRIPT, include_str!("dashboard/overview.js")),
    ("policies.js", SCRIPT, include_str!("dashboard/policies.js")),
    ("services.js", SCRIPT, include_str!("dashboard/services.js")),
    ("style.css", "text/css; charset=utf-8", include_str!("dashboard/style.css")),
    ("workloads.js", SCRIPT, include_str!("dashboard/workloads.js")),
];

/// The page at `/`, its files below `/dashboard`.
pub(crate) fn router() -> Router {
    let page = async || serve("text/html; charset=utf-8", include_str!("dashboard/index.html"));
    Router::new().route("/", get(page)).route("/dashboard/{file}", get(file))
}

async fn file(Path(name): Path<String>) -> Response {
    match FILES.iter().find(|(known, ..)| *known == name) {
        Some((_, media_type, text)) => serve(media_type, text),
        None => rest::nowhere(),
    }
}

fn serve(media_type: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, media_type),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        // The next version of the hub brings its own files.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_the_page_asks_for_is_there() {
        let page = include_str!("dashboard/index.html");
        let texts = FILES.iter().map(|(_, _, text)| *text).chain([page]);
        let mut asked = 0;
        for text in texts {
            for rest in text.split("\"/dashboard/").skip(1) {
                let name = rest.split('"').next().unwrap();
                assert!(FILES.iter().any(|(known, ..)| *known == name), "{name} is missing");
                asked += 1;
            }
        }
        assert!(asked > FILES.len(), "each file is asked for at least once");
    }

    #[test]
    fn nothing_is_inline_that_the_policy_would_stop() {
        let page = include_str!("dashboard/index.html");
        assert!(!page.contains(" style=") && !page.contains("<style") && !page.contains(" onclick="));
        let scripts = FILES.iter().filter(|(_, media_type, _)| *media_type == SCRIPT);
        for (name, _, text) in scripts {
            assert!(!text.contains("innerHTML") && !text.contains("eval("), "{name}: text is only ever set as text");
        }
    }
}
