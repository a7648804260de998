//! What a page in somebody's browser may not be used for. No cookie says who asks, so a foreign page has no rights to
//! borrow; these are the second wall.
use std::net::IpAddr;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, HeaderName, Method, Uri, header, uri::Authority};

use super::Denied;

/// Which names a door answers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// Any: what its certificate says is checked by who calls.
    Any,
    /// Those of loopback: a name that somebody's DNS leads here (DNS rebinding) would give a foreign page this origin.
    Loopback,
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The middleware: refuses foreign names, and writes that another origin's page makes.
pub async fn own_pages(State(names): State<Names>, request: Request, next: Next) -> Response {
    match check(names, request.method(), request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(denied) => denied.into_response(),
    }
}

fn check(names: Names, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Denied> {
    let text = |name: &HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let shown = |text: &str| text.chars().take(80).collect::<String>();
    let host = uri.authority().map(Authority::as_str).or_else(|| text(&header::HOST));
    if let (Names::Loopback, Some(host)) = (names, host)
        && !loopback(host)
    {
        return Err(Denied::Misdirected(shown(host)));
    }
    let foreign_site = text(&SEC_FETCH_SITE).is_some_and(|site| !matches!(site, "same-origin" | "none"));
    let origin = text(&header::ORIGIN);
    let own = |origin: &str| origin.split_once("://").is_some_and(|(_, of)| Some(of) == host);
    if !method.is_safe() && (foreign_site || origin.is_some_and(|origin| !own(origin))) {
        return Err(Denied::Foreign(shown(origin.unwrap_or("unnamed"))));
    }
    Ok(())
}

fn loopback(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host().trim_matches(['[', ']']);
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(names: Names, method: Method, headers: &[(&'static str, &'static str)]) -> Result<(), Denied> {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        check(names, &method, &Uri::from_static("/api/v1/policies"), &headers.collect())
    }

    #[test]
    fn a_foreign_name_does_not_lead_to_loopback() {
        for host in ["localhost", "localhost:7080", "LOCALHOST:1", "127.0.0.1:7080", "127.1.2.3", "[::1]:7080"] {
            assert_eq!(ask(Names::Loopback, Method::GET, &[("host", host)]), Ok(()), "{host}");
        }
        for host in ["evil.example", "evil.example:7080", "localhost.evil.example", "10.0.0.1:7080", "", "a b", "[::2]"]
        {
            let refused = ask(Names::Loopback, Method::GET, &[("host", host)]);
            assert_eq!(refused, Err(Denied::Misdirected(host.into())), "{host}");
            assert_eq!(ask(Names::Any, Method::GET, &[("host", host)]), Ok(()), "{host}");
        }
    }

    #[test]
    fn another_origins_page_writes_nothing() {
        let host = ("host", "localhost:7080");
        for (headers, may) in [
            (vec![], true),
            (vec![("origin", "http://localhost:7080"), ("sec-fetch-site", "same-origin")], true),
            (vec![("sec-fetch-site", "none")], true),
            (vec![("origin", "http://localhost:7081")], false),
            (vec![("origin", "https://evil.example")], false),
            (vec![("origin", "null")], false),
            (vec![("sec-fetch-site", "cross-site")], false),
            (vec![("sec-fetch-site", "same-site")], false),
            (vec![("origin", "http://localhost:7080"), ("sec-fetch-site", "cross-site")], false),
        ] {
            let headers = [&[host], &headers[..]].concat();
            for names in [Names::Loopback, Names::Any] {
                assert_eq!(ask(names, Method::POST, &headers).is_ok(), may, "{headers:?}");
                assert_eq!(ask(names, Method::DELETE, &headers).is_ok(), may, "{headers:?}");
                assert!(ask(names, Method::GET, &headers).is_ok(), "{headers:?}");
            }
        }
    }
}
