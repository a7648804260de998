//! The API server alone.
use std::time::Duration;

use anyhow::ensure;
use axle_tests::{eventually, kubernetes::ApiServer};
use serde_json::{Value, json};

#[test]
fn it_answers_as_kubernetes_does_and_keeps_what_it_was_told() -> anyhow::Result<()> {
    let mut server = ApiServer::start()?;
    server.namespace("shop")?;
    server.admin().apply(SERVICE)?;
    let service = server.admin().json(&["get", "service", "web", "-n", "shop"])?;
    let addresses = service["spec"]["clusterIPs"].as_array().map_or(0, Vec::len);
    ensure!(addresses == 2, "wanted an address of each family: {service}");

    server.kill()?;
    let away = server.admin().run(&["get", "services"]).unwrap_err().to_string();
    ensure!(away.contains("refused"), "{away}");
    server.resume()?;
    let kept = server.admin().json(&["get", "service", "web", "-n", "shop"])?;
    ensure!(kept["metadata"]["uid"] == service["metadata"]["uid"], "{kept}");
    Ok(())
}

#[test]
fn what_is_wrong_is_refused_and_rbac_decides_who_may_what() -> anyhow::Result<()> {
    let server = ApiServer::start()?;
    server.namespace("shop")?;
    let refused = server.admin().apply(&SERVICE.replace("80", "80000")).unwrap_err().to_string();
    ensure!(refused.contains("spec.ports[0].port"), "{refused}");

    let reader = server.user("jane", Some("readers"))?;
    let denied = reader.run(&["get", "pods"]).unwrap_err().to_string();
    ensure!(denied.contains("\"jane\" cannot list"), "{denied}");
    server.admin().run(&["create", "clusterrole", "reader", "--verb=list", "--resource=pods"])?;
    server.admin().run(&["create", "clusterrolebinding", "readers", "--clusterrole=reader", "--group=readers"])?;
    eventually("the binding to count", Duration::from_secs(10), || reader.run(&["get", "pods"]))?;
    ensure!(reader.run(&["create", "namespace", "x"]).is_err(), "a reader may only read");
    Ok(())
}

/// What the relay does with its nodes' tokens.
#[test]
fn tokens_of_service_accounts_are_reviewed() -> anyhow::Result<()> {
    let server = ApiServer::start()?;
    server.namespace("axle-system")?;
    let arguments = ["create", "token", "default", "-n", "axle-system", "--audience=axle.dev/relay"];
    let token = server.admin().run(&arguments)?;
    for (audience, good) in [("axle.dev/relay", true), ("somebody-else", false)] {
        let review = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token.trim(), "audiences": [audience]},
        });
        let answer = server.admin().feed(&["create", "-o", "json", "-f", "-"], &review.to_string())?;
        let answer: Value = serde_json::from_str(&answer)?;
        ensure!(answer["status"]["authenticated"].as_bool().unwrap_or(false) == good, "{audience}: {answer}");
    }
    Ok(())
}

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  ipFamilyPolicy: RequireDualStack
  selector: {app: web}
  ports: [{name: http, port: 80}]
";
