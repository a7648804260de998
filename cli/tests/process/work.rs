//! What people do with it.
use std::{process::Stdio, sync::Arc};

use axle_hub::auth::Role;
use axle_proto::v1;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::{
    axle::{User, ca, ended, until},
    fixture::{Hub, POLICY},
};

#[tokio::test]
async fn logging_in_remembers_a_hub_that_answers() {
    let hub = Hub::start().await;
    let user = User::stranger();
    let (ca, token) = (user.file("ca.pem", &ca(&hub)), user.file("token", &hub.token(Role::Viewer)));
    let url = format!("https://{}", hub.running.tls_address);
    let login = user.run(&["login", "--hub", &url, "--ca", &ca, "--token-file", &token, "--name", "mine"]).await;
    assert!(login.err.contains("logged in at"), "{login:?}");
    login.good();
    let contexts = user.run(&["context", "list", "-o", "json"]).await.json();
    assert_eq!(contexts, serde_json::json!([{"name": "mine", "hub": url, "current": true}]));
    user.run(&["status"]).await.good();
    user.run_with_input(&["login", "--hub", &url, "--ca", &ca, "--name", "other"], &hub.token(Role::Admin))
        .await
        .good();
    user.run(&["context", "use", "mine"]).await.good();
    user.run(&["context", "remove", "mine"]).await.good();
    assert!(user.run(&["status"]).await.bad(2).contains("no hub is chosen"));
    user.run(&["status", "--context", "other"]).await.good();
}

#[tokio::test]
async fn clusters_are_registered_and_told_how_to_join() {
    let hub = Hub::start().await;
    let user = User::of(&hub, Role::Admin);
    let added = user
        .run(&["cluster", "add", "eu1", "--prefix", "10.1.0.0/16", "--label", "stage=test", "--region", "eu"])
        .await
        .good();
    assert!(added.contains("axle token create --cluster eu1"), "{added}");
    let table = user.run(&["cluster", "list"]).await.good();
    let [header, row] = table.lines().collect::<Vec<_>>()[..] else { panic!("{table}") };
    assert!(header.starts_with("NAME  REGION  PREFIXES") && row.starts_with("eu1   eu      10.1.0.0/16"), "{table}");
    let token = user.run(&["token", "create", "--cluster", "eu1", "--ttl", "1h"]).await;
    assert!(token.err.contains("run this on the relay node of eu1"), "{token:?}");
    let command = token.good();
    assert!(
        command.starts_with(&format!("axle-agent join --hub {} --cluster eu1 --token axle1.", hub.running.tls_address)),
        "{command}"
    );
    let removed = user.run(&["cluster", "remove", "eu1"]).await.good();
    assert_eq!(removed, "cluster eu1 is removed (revision 4)\n", "one of them is the token's");
}

#[tokio::test]
async fn the_root_is_exchanged_and_the_next_one_remembered() {
    let hub = Hub::start().await;
    let (admin, viewer) = (User::of(&hub, Role::Admin), User::of(&hub, Role::Viewer));
    let steady = viewer.run(&["ca", "status"]).await;
    assert!(steady.err.contains("steady; the next step, prepare, is taken by itself at"), "{steady:?}");
    assert_eq!(steady.good().lines().count(), 2);
    assert!(admin.run(&["ca", "retire", "--force"]).await.bad(3).contains("axle ca rotate"));
    viewer.run(&["ca", "rotate"]).await.bad(4);
    let prepared = admin.run(&["ca", "rotate", "-o", "json"]).await.json();
    assert_eq!(prepared["stage"], "prepared");
    admin.run(&["ca", "activate"]).await.bad(3);
    // Any command that reaches the hub learns the next root.
    let known = || std::fs::read_to_string(viewer.config()).unwrap().matches("BEGIN CERTIFICATE").count();
    assert_eq!(known(), 1);
    until("the hub names both", async || viewer.run(&["status"]).await.code == 0 && known() == 2).await;
    viewer.run(&["status"]).await.good();
    assert_eq!(known(), 2);
}

#[tokio::test]
async fn tokens_are_listed_and_revoked() {
    let hub = Hub::start().await;
    let admin = User::of(&hub, Role::Admin);
    let parts = &hub.running.parts;
    let hour = std::time::Duration::from_secs(3600);
    let token = parts.tokens.issue(&parts.writer, "console", "alice", Role::Viewer, hour).await.unwrap();
    let alice = User::of(&hub, Role::Viewer);
    alice.bears(&token);
    alice.run(&["status"]).await.good();
    let listed = admin.run(&["token", "list", "-o", "json"]).await.json();
    assert_eq!((&listed[0]["subject"], &listed[0]["creator"]), (&"alice".into(), &"console".into()));
    let id = listed[0]["id"].as_str().unwrap();
    assert!(admin.run(&["token", "revoke", id]).await.good().contains(&format!("token {id} is revoked (revision ")));
    alice.run(&["status"]).await.bad(4);
    assert!(admin.run(&["token", "revoke", "nobody"]).await.bad(2).contains("axle token list"));
    assert!(admin.run(&["token", "list"]).await.good().contains("console"));
}

#[tokio::test]
async fn lists_come_as_table_json_and_yaml() {
    let hub = Hub::with_fleet().await;
    let user = User::of(&hub, Role::Viewer);
    let table = user.run(&["endpoint", "list", "--cluster", "east"]).await.good();
    assert_eq!(table.lines().count(), 3, "{table}");
    let json = user.run(&["endpoint", "list", "-n", "shop", "-o", "json"]).await.json();
    assert_eq!(json.as_array().unwrap().len(), 4);
    let yaml = user.run(&["identity", "list", "-o", "yaml"]).await.good();
    assert!(yaml.contains("serviceAccount: db"), "{yaml}");
    let service = user.run(&["service", "describe", "shop/db"]).await.good();
    for part in ["shop/db", "5432/tcp -> 5432", "east", "10.2.2.1"] {
        assert!(service.contains(part), "{part} in {service}");
    }
    assert!(user.run(&["service", "list"]).await.good().contains("2/2"));
    let audit = user.run(&["audit", "list", "--limit", "2"]).await.good();
    assert_eq!(audit.lines().count(), 3, "{audit}");
}

#[tokio::test]
async fn the_status_says_what_each_kernel_holds() {
    let hub = Hub::with_fleet().await;
    let session = hub.session("east");
    session.received(5);
    let refusal =
        v1::Refusal { revision: 4, code: "does_not_fit".into(), message: "too many".into(), ..Default::default() };
    session.statuses(vec![hub.says("n1", 5), v1::NodeStatus { refused: vec![refusal], ..hub.says("n2", 3) }]);
    let status = User::of(&hub, Role::Viewer).run(&["status"]).await.good();
    for part in [
        "head at revision 5",
        "east/n1  yes",
        "east/n2  yes",
        "degraded",
        "refused",
        "too many (does_not_fit)",
        "never",
    ] {
        assert!(status.contains(part), "{part} in\n{status}");
    }
}

#[tokio::test]
async fn applying_waits_for_every_kernel_concerned() {
    let hub = Hub::with_fleet().await;
    let user = User::of(&hub, Role::Operator);
    let file = user.file("policy.yaml", POLICY);
    assert!(user.run(&["policy", "validate", "-f", &file]).await.good().contains("1 document is valid"));
    let rehearsed = user.run(&["policy", "apply", "-f", &file, "--dry-run"]).await;
    assert!(rehearsed.err.contains("nothing was changed") && rehearsed.out.contains("created"), "{rehearsed:?}");

    let (east, west) = (hub.session("east"), hub.session("west"));
    let waiting = user.command().args(["policy", "apply", "-f", &file, "--wait"]).output();
    let answering = async {
        until("the revision", async || hub.running.parts.replica.read().position().revision == 6).await;
        east.statuses(vec![hub.says("n2", 6)]);
        west.statuses(vec![hub.says("n2", 6)]);
    };
    let (applied, ()) = tokio::join!(waiting, answering);
    let applied = ended(applied.unwrap());
    assert!(applied.err.contains("revision 6: in the kernel of 2 nodes after "), "{applied:?}");
    assert!(applied.good().contains("guard-db  created"));

    // What is in force already is not waited for in vain.
    let again = user.run(&["policy", "apply", "-f", &file, "--wait"]).await;
    assert!(again.err.contains("in the kernel of 2 nodes"), "{again:?}");

    let explained = user
        .run(&["policy", "explain", "--from", "east/shop/db", "--to", "west/shop/db", "--port", "5432"])
        .await
        .good();
    for part in [
        "tcp 5432: deny",
        "ingress of west/shop/db: deny by policy guard-db ingress[1] \"rest\" @6",
        "the labels differ",
    ] {
        assert!(explained.contains(part), "{part} in\n{explained}");
    }
    assert!(user.run(&["policy", "list"]).await.good().contains("guard-db  admin  10        enforced"));
    let shown = user.run(&["policy", "show", "guard-db"]).await.good();
    let same = user.run_with_input(&["policy", "apply", "-f", "-"], &shown).await.good();
    assert!(same.contains("unchanged"), "{same}");
    user.run(&["policy", "disable", "guard-db"]).await.good();
    user.run(&["policy", "enable", "guard-db"]).await.good();
    assert_eq!(user.run(&["policy", "delete", "guard-db"]).await.good(), "policy guard-db is deleted (revision 9)\n");
}

#[tokio::test]
async fn flows_are_shown_as_they_come() {
    let hub = Hub::with_fleet().await;
    let user = User::of(&hub, Role::Viewer);
    let live = Arc::clone(&hub.running.parts.live);
    let mut command = user.command();
    let mut child =
        command.args(["observe", "--verdict", "deny", "--count", "1"]).stdout(Stdio::piped()).spawn().unwrap();
    until("the observer", async || live.listeners() == 1).await;
    let end = |workload: &str| {
        let (cluster, namespace) = ("east".into(), "shop".into());
        Some(v1::FlowEnd {
            cluster,
            namespace,
            workload: workload.into(),
            address: vec![10, 1, 1, 1].into(),
            ..Default::default()
        })
    };
    let flow = v1::Flow {
        time_ms: 1_000,
        node: "n2".into(),
        direction: "ingress".into(),
        source: end("web"),
        destination: end("db"),
        protocol: "tcp".into(),
        port: 5432,
        verdict: "deny".into(),
        rule: Some(v1::RuleId {
            policy: "guard-db".into(),
            revision: 6,
            direction: "ingress".into(),
            index: 1,
            ..Default::default()
        }),
        ..Default::default()
    };
    live.report(hub.cluster("east"), v1::FlowBatch { flows: vec![flow], dropped: 0 });
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().unwrap();
    let wanted = "00:00:01.000 deny   east/shop/web (10.1.1.1) -> east/shop/db (10.1.1.1) tcp 5432 at east/n2 ingress: policy guard-db ingress[1] @6";
    assert_eq!(line, wanted);
    assert!(child.wait().await.unwrap().success(), "it ends after --count flows");
}

#[tokio::test]
async fn completion_is_there_for_every_shell() {
    for shell in ["bash", "zsh", "fish"] {
        assert!(User::stranger().run(&["completion", shell]).await.good().contains("axle"), "{shell}");
    }
}
