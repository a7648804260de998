//! The table applied: nothing behind it sees a request that may not be made.
use std::{sync::Arc, time::SystemTime};

use axle_transport::{
    acceptor::ExpiredPeer,
    pki::{Peer, Principal},
};
use axum::{
    body::Body,
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{Extensions, HeaderMap, HeaderValue, StatusCode, header};
use serde_json::json;
use tonic::Status;

use super::{Caller, Keys, Need, Revoked, Role, grpc_rule, http_methods, http_rule, lapse::Lapsing};

/// Decides about requests.
#[derive(Debug)]
pub struct Gate {
    keys: Arc<Keys>,
    revoked: Revoked,
}

/// A request that may not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Nobody knows who asks. One text for all causes: whoever guesses learns nothing.
    #[error("no valid credentials: send `authorization: Bearer <token>` (`axle login`), or an enrolled certificate")]
    Unauthenticated,
    /// The asker may not do that.
    #[error("{who} has the role {has}, this needs {needs}: ask an admin for a token with that role")]
    Forbidden {
        /// The asker.
        who: String,
        /// Its role.
        has: Role,
        /// The role wanted.
        needs: Role,
    },
    /// The route is known, with other methods.
    #[error("{method} is not a method of this route; wanted {}", allowed.join(" or "))]
    Method {
        /// The method asked for.
        method: String,
        /// Those there are.
        allowed: Vec<&'static str>,
    },
    /// The table has no row for it.
    #[error("{0} may not be called: it is not in the authorisation table")]
    Unlisted(String),
    /// It came by a name that is not this door's.
    #[error("{0:?} is not a name of this door; wanted localhost, 127.0.0.1 or [::1]")]
    Misdirected(String),
    /// Another origin's page asked for it.
    #[error("a page of the origin {0:?} may not write here")]
    Foreign(String),
}

impl Gate {
    /// A gate for bearers of tokens that these keys made and nobody revoked.
    #[must_use]
    pub fn new(keys: Arc<Keys>, revoked: Revoked) -> Self {
        Self { keys, revoked }
    }

    /// Whether a request with this need may be made; the person who makes it, if a person does.
    ///
    /// # Errors
    /// When it may not.
    pub fn check(&self, need: Need, headers: &HeaderMap, known: &Extensions) -> Result<Option<Caller>, Denied> {
        let relay = |peer: &Peer| matches!(peer.principal, Principal::Relay(_));
        let current = known.get::<Peer>().is_some_and(relay);
        match need {
            Need::Public => Ok(None),
            Need::Relay if current => Ok(None),
            Need::Renewal if current || known.get::<ExpiredPeer>().is_some_and(|peer| relay(&peer.0)) => Ok(None),
            Need::Relay | Need::Renewal => Err(Denied::Unauthenticated),
            Need::Role(needs) => {
                let caller = self.caller(headers)?;
                if caller.role < needs {
                    return Err(Denied::Forbidden { who: caller.subject, has: caller.role, needs });
                }
                Ok(Some(caller))
            }
        }
    }

    fn caller(&self, headers: &HeaderMap) -> Result<Caller, Denied> {
        let text = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let (scheme, token) = text.and_then(|text| text.split_once(' ')).ok_or(Denied::Unauthenticated)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Denied::Unauthenticated);
        }
        let verified = self.keys.verify(token.trim()).and_then(|caller| {
            let revoked = self.revoked.has(&caller.token);
            if revoked { Err(format!("{} was revoked", caller.token)) } else { Ok(caller) }
        });
        verified.map_err(|why| {
            tracing::info!(%why, "a token was refused");
            Denied::Unauthenticated
        })
    }

    /// Ends when the caller's token is over or revoked.
    fn lapsed(&self, caller: &Caller) -> impl Future<Output = ()> + Send + 'static {
        let (revoked, id) = (self.revoked.clone(), caller.token.clone());
        let left = caller.until.duration_since(SystemTime::now()).unwrap_or_default();
        async move {
            tokio::select! {
                () = tokio::time::sleep(left) => {}
                () = revoked.wait_for(&id) => {}
            }
        }
    }
}

/// The middleware around every door: gRPC is known by its content type, everything else by its route.
pub async fn guard(State(gate): State<Arc<Gate>>, mut request: Request, next: Next) -> Response {
    let content = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let grpc = content.is_some_and(|content| content.starts_with("application/grpc"));
    let route = request.extensions().get::<MatchedPath>().cloned();
    let rule = match &route {
        _ if grpc => grpc_rule(request.uri().path()),
        Some(route) => http_rule(request.method().as_str(), route.as_str()),
        // No route at all: what answers says so, and holds nothing.
        None => return next.run(request).await,
    };
    let checked = match rule {
        Some(rule) => gate.check(rule.need, request.headers(), request.extensions()),
        None => Err(unlisted(&request, route.as_ref().filter(|_| !grpc))),
    };
    match checked {
        Ok(None) => next.run(request).await,
        Ok(Some(caller)) => {
            let lapsed = gate.lapsed(&caller);
            request.extensions_mut().insert(caller);
            next.run(request).await.map(|body| Body::new(Lapsing::new(body, lapsed, grpc)))
        }
        Err(denied) if grpc => Status::from(denied).into_http(),
        Err(denied) => denied.into_response(),
    }
}

fn unlisted(request: &Request, route: Option<&MatchedPath>) -> Denied {
    let allowed = route.map(|route| http_methods(route.as_str())).unwrap_or_default();
    if allowed.is_empty() {
        return Denied::Unlisted(request.uri().path().chars().take(80).collect());
    }
    Denied::Method { method: request.method().as_str().chars().take(20).collect(), allowed }
}

impl From<Denied> for Status {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Unauthenticated => Self::unauthenticated(denied.to_string()),
            Denied::Forbidden { .. }
            | Denied::Unlisted(_)
            | Denied::Method { .. }
            | Denied::Misdirected(_)
            | Denied::Foreign(_) => Self::permission_denied(denied.to_string()),
        }
    }
}

impl IntoResponse for Denied {
    /// As RFC 9457 has it.
    fn into_response(self) -> Response {
        let (status, title, code) = match &self {
            Self::Unauthenticated => (StatusCode::UNAUTHORIZED, "Unauthorized", "unauthenticated"),
            Self::Misdirected(_) => (StatusCode::MISDIRECTED_REQUEST, "Misdirected Request", "misdirected"),
            Self::Foreign(_) => (StatusCode::FORBIDDEN, "Forbidden", "foreign_origin"),
            Self::Forbidden { .. } | Self::Unlisted(_) => (StatusCode::FORBIDDEN, "Forbidden", "forbidden"),
            Self::Method { .. } => (StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed", "method_not_allowed"),
        };
        let body = json!({
            "type": "about:blank", "title": title, "status": status.as_u16(), "code": code, "detail": self.to_string(),
        });
        let mut response = (status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match self {
            Self::Unauthenticated => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::Method { allowed, .. } => {
                if let Ok(allowed) = allowed.join(", ").parse() {
                    headers.insert(header::ALLOW, allowed);
                }
            }
            Self::Forbidden { .. } | Self::Unlisted(_) | Self::Misdirected(_) | Self::Foreign(_) => {}
        }
        response
    }
}
