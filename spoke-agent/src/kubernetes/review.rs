//! Which node a token is from: the API server says so.
use axle_core::model::Name;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::{Api, Client, api::PostParams};

use super::{place::AUDIENCE, trouble::Trouble};
use crate::relay::enrollment::{Review, Unproven};

/// Where the API server names the node that a pod's token is bound to; since Kubernetes 1.30.
const NODE: &str = "authentication.kubernetes.io/node-name";

/// Asks the API server about tokens of one service account.
pub struct Reviewer {
    api: Api<TokenReview>,
    user: String,
}

impl std::fmt::Debug for Reviewer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reviewer({})", self.user)
    }
}

impl Reviewer {
    /// For this account of this namespace.
    #[must_use]
    pub fn new(client: Client, namespace: &str, service_account: &str) -> Self {
        Self { api: Api::all(client), user: format!("system:serviceaccount:{namespace}:{service_account}") }
    }
}

#[tonic::async_trait]
impl Review for Reviewer {
    async fn node_of(&self, token: &str) -> Result<Name, Unproven> {
        let spec = TokenReviewSpec { audiences: Some(vec![AUDIENCE.into()]), token: Some(token.into()) };
        let review = TokenReview { spec, ..TokenReview::default() };
        let answer = self.api.create(&PostParams::default(), &review).await;
        let answer =
            answer.map_err(|error| Unproven::Unknown(Trouble::of::<TokenReview>("create", &error).to_string()))?;
        judge(&answer.status.unwrap_or_default(), &self.user).map_err(Unproven::Refused)
    }
}

fn judge(status: &TokenReviewStatus, wanted: &str) -> Result<Name, String> {
    if status.authenticated != Some(true) {
        let why = status.error.as_deref().filter(|why| !why.is_empty()).unwrap_or("it does not say why");
        return Err(format!("the API server does not take the token: {why}"));
    }
    // A server that knows no audiences answers for its own.
    if !status.audiences.iter().flatten().any(|audience| audience == AUDIENCE) {
        return Err(format!(
            "the token is for {:?}, wanted {AUDIENCE}",
            status.audiences.as_deref().unwrap_or_default()
        ));
    }
    let user = status.user.clone().unwrap_or_default();
    let name = user.username.unwrap_or_default();
    if name != wanted {
        return Err(format!("the token is of {name}, wanted {wanted}"));
    }
    match user.extra.unwrap_or_default().remove(NODE).as_deref() {
        Some([node]) => Name::new(node.clone()).map_err(|error| error.to_string()),
        _ => Err(format!(
            "the token names no node; wanted one of a pod, and Kubernetes 1.30 or newer, which says {NODE}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const USER: &str = "system:serviceaccount:axle-system:axle-agent";

    type Change = fn(&mut Value);

    fn judged(change: impl FnOnce(&mut Value)) -> Result<Name, String> {
        let mut status = json!({
            "authenticated": true, "audiences": [AUDIENCE], "user": {"username": USER, "extra": {NODE: ["n1"]}}
        });
        change(&mut status);
        judge(&serde_json::from_value(status).unwrap(), USER)
    }

    #[test]
    fn only_the_agents_account_bound_to_a_node_for_this_audience() {
        assert_eq!(judged(|_| {}).unwrap().as_str(), "n1");
        let refused: [(&str, Change); 6] = [
            ("does not take the token: expired", |status| *status = json!({"error": "expired"})),
            ("wanted axle.dev/relay", |status| status["audiences"] = json!(["https://kubernetes.default.svc"])),
            ("wanted axle.dev/relay", |status| status["audiences"] = json!([])),
            ("wanted system:serviceaccount:axle-system:axle-agent", |status| {
                status["user"]["username"] = json!("system:serviceaccount:other:axle-agent");
            }),
            ("names no node", |status| status["user"]["extra"] = json!({})),
            ("names no node", |status| status["user"]["extra"][NODE] = json!(["n1", "n2"])),
        ];
        for (wanted, change) in refused {
            assert!(judged(change).is_err_and(|why| why.contains(wanted)), "{wanted}");
        }
    }
}
