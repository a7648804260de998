//! Whatever goes wrong has a sentence, a fix and an exit code of its own.
use std::{os::unix::fs::PermissionsExt as _, process::Stdio};

use axle_hub::auth::Role;
use axle_proto::v1;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::TcpListener,
};

use crate::{
    axle::{User, ca, ended, until},
    fixture::{Hub, POLICY},
};

#[tokio::test]
async fn wrong_usage_is_2_and_suggests() {
    let user = User::stranger();
    for (arguments, wanted) in [
        (&["clustr", "list"][..], "cluster"),
        (&["policy", "apply", "--dryrun", "-f", "x"], "--dry-run"),
        (&["policy", "apply", "-f", "x", "--dry-run", "--wait"], "cannot be used with"),
        (&["policy", "apply", "-f", "x", "--timeout", "5s"], "--wait"),
        (&["policy", "apply", "-f", "x", "--wait", "--timeout", "5"], "no unit"),
        (&["cluster", "add", "a"], "--prefix"),
        (&["policy", "explain", "--from", "a", "--to", "b", "--port", "70000"], "65535"),
        (&["cluster", "add", "a", "--prefix", "10.0.0.0/8", "--label", "x"], "key=value"),
    ] {
        let error = user.run(arguments).await.bad(2);
        assert!(error.contains(wanted), "{wanted} in {error}");
    }
}

#[tokio::test]
async fn bad_documents_are_2_and_never_sent() {
    let user = User::stranger();
    let bad = POLICY.replace("ingress:", "ingres:").replace("priority: 10", "priority: -1");
    let file = user.file("bad.yaml", &bad);
    let error = user.run(&["policy", "apply", "-f", &file]).await.bad(2);
    assert!(error.contains(&format!("{file}:8:3: ")) && error.contains("did you mean"), "{error}");
    assert!(error.contains("priority"), "all at once: {error}");
    assert!(user.run(&["policy", "validate", "-f", "/nowhere.yaml"]).await.bad(2).contains("No such file"));
    assert!(user.run(&["policy", "validate", "-f", "-"]).await.bad(2).contains("standard input is empty"));
}

#[tokio::test]
async fn an_import_that_would_be_weaker_prints_nothing() {
    let user = User::stranger();
    let document = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: p, namespace: shop}\nspec:\n  \
                    endpointSelector: {}\n  ingress: [{fromEndpoints: [{}]}]\n  \
                    ingressDeny: [{fromEntities: [kube-apiserver]}]\n";
    let file = user.file("cilium.yaml", document);
    let import = ["policy", "import", "-f", &file, "--cluster", "east"];
    let nothing = user.run(&import).await;
    assert_eq!(nothing.out, "");
    let error = nothing.bad(6);
    assert!(error.contains("kube-apiserver") && error.contains("--partial"), "{error}");
    let rest = user.run(&[&import[..], &["--partial"]].concat()).await;
    let printed = axle_core::manifest::parse_policies(&rest.out).unwrap();
    let titles: Vec<_> = printed.iter().map(axle_core::model::Policy::title).collect();
    assert_eq!(titles, ["shop/east.cnp.p", "east.cnp-deny.shop.p"]);
    rest.bad(6);
}

#[tokio::test]
async fn what_the_hub_refuses_keeps_its_kind() {
    let hub = Hub::with_fleet().await;
    let admin = User::of(&hub, Role::Admin);
    let error = admin.run(&["cluster", "add", "south", "--prefix", "10.9.9.9/8"]).await.bad(2);
    assert!(error.contains("did you mean 10.0.0.0/8?"), "{error}");
    let error = admin.run(&["cluster", "add", "east", "--prefix", "10.9.0.0/16"]).await.bad(3);
    assert!(error.starts_with("error[duplicate_name]"), "{error}");
    let error = admin.run(&["cluster", "add", "south", "--prefix", "10.1.9.0/24"]).await.bad(3);
    assert!(error.contains("10.1.0.0/16 of cluster east"), "{error}");
    assert!(admin.run(&["token", "create", "--cluster", "south"]).await.bad(2).contains("axle cluster add"));
    assert!(admin.run(&["endpoint", "list", "--cluster", "south"]).await.bad(2).contains("there is no cluster"));
    assert!(admin.run(&["policy", "delete", "none"]).await.bad(2).contains("none"));
    let error = User::of(&hub, Role::Viewer).run(&["cluster", "remove", "east"]).await.bad(4);
    assert!(error.contains("needs admin"), "{error}");
}

#[tokio::test]
async fn who_is_not_known_is_4() {
    let hub = Hub::start().await;
    let user = User::of(&hub, Role::Admin);
    let token = hub.token(Role::Admin);
    user.bears(&format!("{}AAAAAA", &token[..token.len() - 6]));
    let error = user.run(&["status"]).await.bad(4);
    assert!(error.contains("fix: log in again"), "{error}");

    let other = Hub::start().await;
    let mixed = std::fs::read_to_string(User::of(&hub, Role::Admin).config()).unwrap();
    let mixed = mixed.replace(&hub.running.tls_address.to_string(), &other.running.tls_address.to_string());
    std::fs::write(user.config(), mixed).unwrap();
    let error = user.run(&["status"]).await.bad(4);
    assert!(error.contains("did not prove that it is your hub"), "{error}");
}

#[tokio::test]
async fn a_context_that_cannot_be_used_is_2() {
    let hub = Hub::start().await;
    let user = User::of(&hub, Role::Admin);
    std::fs::set_permissions(user.config(), std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(user.run(&["status"]).await.bad(2).contains("chmod 600"));
    std::fs::set_permissions(user.config(), std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(user.run(&["status", "--context", "tset"]).await.bad(2).contains("there are: test"));
    assert!(User::stranger().run(&["status"]).await.bad(2).contains("axle login"));
    let url = format!("http://{}", hub.running.tls_address);
    let ca = user.file("ca.pem", &ca(&hub));
    let error = user.run_with_input(&["login", "--hub", &url, "--ca", &ca], "token").await.bad(2);
    assert!(error.contains("does not start with https://"), "{error}");
}

#[tokio::test]
async fn a_hub_that_is_away_is_5() {
    let hub = Hub::start().await;
    let user = User::of(&hub, Role::Admin);
    let address = hub.running.tls_address;
    hub.running.stop().await;
    let error = user.run(&["status"]).await.bad(5);
    assert!(error.contains(&address.to_string()) && error.contains("Connection refused"), "{error}");
    // Somebody else who does not speak TLS.
    let listener = TcpListener::bind(address).await.unwrap();
    let run = user.run(&["status"]);
    let silent = async { drop(listener.accept().await.unwrap()) };
    let (run, ()) = tokio::join!(run, silent);
    assert!(run.bad(5).contains("TLS handshake"));
}

#[tokio::test]
async fn a_refusal_by_a_node_is_6() {
    let hub = Hub::with_fleet().await;
    let user = User::of(&hub, Role::Operator);
    let file = user.file("policy.yaml", POLICY);
    let (east, west) = (hub.session("east"), hub.session("west"));
    let waiting = user.command().args(["policy", "apply", "-f", &file, "--wait"]).output();
    let answering = async {
        until("the revision", async || hub.running.parts.replica.read().position().revision == 6).await;
        let refusal = v1::Refusal {
            revision: 6,
            code: "map_write_failed".into(),
            message: "no space".into(),
            ..Default::default()
        };
        east.statuses(vec![v1::NodeStatus { refused: vec![refusal], ..hub.says("n2", 6) }]);
        west.statuses(vec![hub.says("n2", 6)]);
    };
    let (refused, ()) = tokio::join!(waiting, answering);
    let error = ended(refused.unwrap()).bad(6);
    assert!(error.contains("east/n2: refused: no space (map_write_failed)"), "{error}");
}

#[tokio::test]
async fn who_is_late_is_named_with_7() {
    let hub = Hub::with_fleet().await;
    let user = User::of(&hub, Role::Operator);
    let file = user.file("policy.yaml", POLICY);
    let east = hub.session("east");
    east.statuses(vec![hub.says("n2", 99)]);
    let error = user.run(&["policy", "apply", "-f", &file, "--wait", "--timeout", "100ms"]).await.bad(7);
    assert!(error.contains("1 of 2 nodes have it") && error.contains("west/n2: late"), "{error}");
    assert!(!error.contains("east/n2"), "{error}");
}

#[tokio::test]
async fn an_interrupt_says_what_was_done() {
    let hub = Hub::with_fleet().await;
    let user = User::of(&hub, Role::Operator);
    let file = user.file("policy.yaml", POLICY);
    let mut command = user.command();
    command.args(["policy", "apply", "-f", &file, "--wait", "--timeout", "10m"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Applied and answered, and the command waits for the nodes: it has printed what it did.
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
    assert!(line.starts_with("POLICY"), "{line}");
    until("the watcher", async || hub.running.parts.live.watchers() > 0).await;
    let pid = child.id().unwrap().to_string();
    let kill = std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap();
    assert!(kill.success());
    let error = ended(child.wait_with_output().await.unwrap()).bad(130);
    assert!(error.contains("revision 6 is committed"), "{error}");
}

#[tokio::test]
async fn a_reader_that_goes_is_no_failure_to_talk_about() {
    let hub = Hub::with_fleet().await;
    let user = User::of(&hub, Role::Viewer);
    let mut command = user.command();
    let child = command.args(["completion", "bash"]).stdout(closed_pipe()).stderr(Stdio::piped()).spawn().unwrap();
    let run = ended(child.wait_with_output().await.unwrap());
    assert_eq!((run.code, run.err.as_str()), (141, ""));
}

/// A pipe whose reading end is closed.
fn closed_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}
