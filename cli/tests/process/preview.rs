//! Looking before leaping: what a change of policies changes, what is odd about policies, tests, versions.
use axle_hub::auth::Role;
use axle_proto::v1::{Capacity, NodeStatus};
use serde_json::json;

use crate::{
    axle::User,
    fixture::{Hub, POLICY},
};

const TESTS: &str = "\
apiVersion: axle.dev/v1alpha1
kind: PolicyTest
metadata: {name: shop}
spec:
  assertions:
    - name: web reaches db
      from: {workload: east/shop/web}
      to: {namespace: shop, clusters: [east], labels: {app: db}}
      port: 5432
      verdict: Accept
      rule: guard-db/web
    - name: nobody else does
      from: {namespace: shop, labels: {app: cron}}
      to: {workload: east/shop/db}
      port: 5432
      verdict: Deny
      rule: guard-db/rest
";

#[tokio::test]
async fn a_diff_says_who_gains_and_who_loses() {
    let hub = Hub::with_fleet().await;
    let user = User::of(&hub, Role::Operator);
    let file = user.file("guard.yaml", POLICY);
    let diff = user.run(&["policy", "diff", "-f", &file, "-o", "json"]).await.json();
    let groups = diff["groups"].as_array().unwrap();
    assert!(!groups.is_empty() && groups.iter().all(|group| group["becomes"] == "deny"), "{diff:#}");
    let from_outside =
        groups.iter().any(|group| group["sources"].as_array().unwrap().iter().any(|end| end["kind"] == "outside"));
    assert!(from_outside, "{diff:#}");
    let web = json!({"app": "web"});
    let of_web = groups.iter().flat_map(|group| group["sources"].as_array().unwrap()).any(|end| end["labels"] == web);
    assert!(!of_web, "web reaches db before and after: {diff:#}");
    assert!(user.run(&["policy", "diff", "-f", &file]).await.good().contains("becomes denied: "));
    user.run(&["policy", "apply", "-f", &file]).await.good();
    assert_eq!(user.run(&["policy", "diff", "-f", &file]).await.good(), "no verdict changes\n");
    let back = user.run(&["policy", "diff", "--delete", "guard-db", "-o", "json"]).await.json();
    assert_eq!(back["groups"].as_array().unwrap().len(), groups.len());
    assert!(user.run(&["policy", "diff", "--delete", "gard-db"]).await.bad(2).contains("guard-db"), "a similar name");
    assert!(user.run(&["policy", "diff"]).await.bad(2).contains("no documents"));
}

#[tokio::test]
async fn a_failing_test_refuses_a_change_unless_an_admin_forces_it() {
    let hub = Hub::with_fleet().await;
    let user = User::of(&hub, Role::Operator);
    let both = user.file("both.yaml", &format!("{POLICY}---\n{TESTS}"));
    user.run(&["policy", "apply", "-f", &both]).await.good();
    let tests = user.run(&["policy", "test", "-o", "json"]).await.json();
    assert_eq!((&tests["holding"], &tests["broken"]), (&json!(2), &json!(0)), "{tests:#}");
    for change in [&["policy", "delete", "guard-db"][..], &["policy", "disable", "guard-db"]] {
        let refused = user.run(change).await.bad(3);
        for part in ["nobody else does", "east/shop/(app=cron) to east/shop/db", "tcp 5432", "wanted deny", "--force"] {
            assert!(refused.contains(part), "{part} in {refused}");
        }
    }
    let refused = user.run(&["policy", "delete", "guard-db", "--force"]).await.bad(3);
    assert!(refused.contains("only admins"), "{refused}");
    let wrong =
        user.file("wrong.yaml", &POLICY.replace("name: web\n      action: Accept", "name: web\n      action: Deny"));
    let refused = user.run(&["policy", "apply", "-f", &wrong, "--dry-run"]).await.bad(3);
    assert!(refused.contains("guard-db ingress[0] (web)"), "{refused}");

    let admin = User::of(&hub, Role::Admin);
    admin.run(&["policy", "delete", "guard-db", "--force"]).await.good();
    let audit = admin.run(&["audit", "list", "-o", "json"]).await.json();
    assert_eq!(audit[0]["action"], "policy delete guard-db (forced against shop)");
    let failed = user.run(&["policy", "test"]).await;
    assert!(failed.out.contains("FAILED shop: nobody else does"), "{failed:?}");
    failed.bad(3);
    user.run(&["policy", "delete", "--test", "shop"]).await.good();
    assert_eq!(user.run(&["policy", "test"]).await.good(), "there is no test\n");
}

#[tokio::test]
async fn tests_that_name_what_is_not_there_say_so() {
    let hub = Hub::with_fleet().await;
    let user = User::of(&hub, Role::Operator);
    let file = user.file("tests.yaml", &TESTS.replace("east/shop/web", "east/shop/wep").replace("[east]", "[eats]"));
    let missing = user.run(&["policy", "test", "-f", &file]).await;
    assert!(missing.out.contains("east/shop/web"), "a similar name: {missing:?}");
    missing.bad(3);
    user.run(&["policy", "apply", "-f", &user.file("guard.yaml", POLICY)]).await.good();
    let applied = user.run(&["policy", "apply", "-f", &file]).await;
    assert!(applied.err.contains("warning: test shop assertions[0]"), "{applied:?}");
    let empty = user.file(
        "empty.yaml",
        "apiVersion: axle.dev/v1alpha1\nkind: PolicyTest\nmetadata: {name: t}\nspec: {assertions: []}\n",
    );
    assert!(user.run(&["policy", "test", "-f", &empty]).await.bad(2).contains("say what must hold"));
}

#[tokio::test]
async fn a_policy_has_versions_and_a_way_back() {
    let hub = Hub::with_fleet().await;
    let user = User::of(&hub, Role::Operator);
    let file = user.file("guard.yaml", POLICY);
    user.run(&["policy", "apply", "-f", &file]).await.good();
    let other = user.file("other.yaml", &POLICY.replace("priority: 10", "priority: 20"));
    user.run(&["policy", "apply", "-f", &other]).await.good();
    let history = user.run(&["policy", "history", "guard-db"]).await.good();
    assert!(history.contains("user:alice  changed: policy apply guard-db\n"), "{history}");
    assert!(history.contains("-   priority: 10\n") && history.contains("+   priority: 20\n"), "{history}");
    user.run(&["policy", "rollback", "guard-db"]).await.good();
    let shown = user.run(&["policy", "show", "guard-db"]).await.good();
    assert!(shown.contains("priority: 10"), "{shown}");
    user.run(&["policy", "delete", "guard-db"]).await.good();
    user.run(&["policy", "rollback", "guard-db"]).await.good();
    let versions = user.run(&["policy", "history", "guard-db", "-o", "json"]).await.json();
    let changes: Vec<_> =
        versions["revisions"].as_array().unwrap().iter().map(|one| one["change"].as_str().unwrap()).collect();
    assert_eq!(changes, ["created", "deleted", "changed", "changed", "created"]);
    let first = versions["revisions"][4]["revision"].as_u64().unwrap().to_string();
    user.run(&["policy", "rollback", "guard-db", "--to", &first]).await.good();
    assert!(user.run(&["policy", "rollback", "guard-db", "--to", "1"]).await.bad(2).contains("it was written at"));
    assert!(user.run(&["policy", "history", "gard-db"]).await.bad(2).contains("guard-db"), "a similar name");
}

#[tokio::test]
async fn what_is_odd_about_policies_is_said() {
    let hub = Hub::with_fleet().await;
    let user = User::of(&hub, Role::Operator);
    let odd = user.file("odd.yaml", &POLICY.replace("app: web", "app: wep"));
    let linted = user.run(&["policy", "lint", "-f", &odd]).await;
    assert!(linted.out.contains("warning: guard-db ingress[0]: none of its peers"), "{linted:?}");
    assert!(linted.bad(3).contains("1 warning"));
    let applied = user.run(&["policy", "apply", "-f", &odd]).await;
    assert!(applied.err.contains("peers_match_nobody"), "{applied:?}");
    let good = user.file("good.yaml", POLICY);
    user.run(&["policy", "apply", "-f", &good]).await.good();
    assert_eq!(user.run(&["policy", "lint"]).await.good(), "nothing to say\n");
}

#[tokio::test]
async fn what_a_node_cannot_hold_is_refused_with_the_numbers() {
    let hub = Hub::with_fleet().await;
    let user = User::of(&hub, Role::Operator);
    let session = hub.session("east");
    let small = Capacity { table: "port_classes".into(), used: 1, limit: 8 };
    session.statuses(vec![NodeStatus { capacity: vec![small], ..hub.says("n2", 1) }]);
    let ports: Vec<_> = (1..9).map(|port| format!("{{tcp: {{destinationPort: {{number: {port}}}}}}}")).collect();
    let rules: Vec<_> = ports
        .iter()
        .map(|port| format!("{{action: Accept, from: [{{namespaces: {{}}}}], protocols: [{port}]}}"))
        .collect();
    let head = POLICY.split_once("  ingress:").unwrap().0;
    let wide = user.file("wide.yaml", &format!("{head}  ingress: [{}]\n", rules.join(", ")));
    let refused = user.run(&["policy", "apply", "-f", &wide]).await.bad(3);
    for part in ["policy guard-db on east/n2", "port classes", "at most 7", "--force"] {
        assert!(refused.contains(part), "{part} in {refused}");
    }
    user.run(&["policy", "apply", "-f", &user.file("guard.yaml", POLICY)]).await.good();
}

const WORKLOAD: &str = "\
apiVersion: axle.dev/v1alpha1
kind: Workload
metadata: {name: NAME, namespace: shop, labels: {app: NAME}}
spec: {interface: veth, addresses: [ADDRESS]}
";

const SERVICE: &str = "\
apiVersion: axle.dev/v1alpha1
kind: Service
metadata: {name: db, namespace: shop}
spec: {selector: {app: db}, clusterIPs: [10.96.0.7], ports: [{port: 80, targetPort: 5432}]}
";

/// Nobody's hub: a folder of two clusters and one of policies.
fn fleet(user: &User) -> (String, String) {
    let dir = user.dir.path().join("clusters");
    for (cluster, net) in [("east", 1), ("west", 2)] {
        std::fs::create_dir_all(dir.join(cluster)).unwrap();
        for (name, host) in [("web", 1), ("db", 2)] {
            let text = WORKLOAD.replace("NAME", name).replace("ADDRESS", &format!("10.{net}.{host}.1"));
            std::fs::write(dir.join(cluster).join(format!("{name}.yaml")), text).unwrap();
        }
    }
    std::fs::create_dir(user.dir.path().join("policies")).unwrap();
    let policies = user.file("policies/guard.yaml", &format!("{POLICY}---\n{TESTS}"));
    (dir.to_str().unwrap().to_owned(), policies)
}

#[tokio::test]
async fn without_a_hub_the_answers_are_the_same() {
    let user = User::stranger();
    let (clusters, policies) = fleet(&user);
    let offline = ["--offline", "--inventory", &clusters, "--policies", &policies];
    let run = async |arguments: &[&str]| user.run(&[arguments, &offline].concat()).await;
    let explained =
        run(&["policy", "explain", "--from", "east/shop/web", "--to", "east/shop/db", "--port", "5432"]).await.good();
    assert!(explained.contains("ingress of east/shop/db: accept by ") && explained.contains("guard-db"), "{explained}");
    std::fs::write(user.dir.path().join("clusters/east/service.yaml"), SERVICE).unwrap();
    let led = async |from: &str| {
        run(&["policy", "explain", "--from", from, "--to", "10.96.0.7", "--port", "80"]).await.good()
    };
    let said = led("east/shop/web").await;
    for part in
        ["10.96.0.7 tcp 80: accept", "1 of 1 backends can", "10.1.2.1 port 5432: accept", "ingress of east/shop/db"]
    {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert!(run(&["policy", "test"]).await.good().contains("ok shop: web reaches db: 1 flow"));
    assert_eq!(run(&["policy", "lint"]).await.good(), "nothing to say\n");
    let open =
        user.file("open.yaml", &POLICY.replace("name: rest\n      action: Deny", "name: rest\n      action: Accept"));
    let diff = run(&["policy", "diff", "-f", &open, "-o", "json"]).await.json();
    assert!(diff["groups"].as_array().unwrap().iter().all(|group| group["becomes"] == "accept"), "{diff:#}");
    let failed = run(&["policy", "test", "-f", &open]).await;
    assert!(failed.out.contains("FAILED shop: nobody else does"), "{failed:?}");
    failed.bad(3);

    let none = user.run(&["policy", "test", "--offline", "--inventory", &clusters]).await.bad(2);
    assert!(none.contains("PolicyTest"), "nothing to check is a fault: {none}");

    let misspelt = run(&["policy", "explain", "--from", "east/shop/wep", "--to", "east/shop/db", "--port", "1"]).await;
    assert!(misspelt.bad(2).contains("east/shop/web"), "a similar name");
    std::fs::write(user.dir.path().join("clusters/west/db.yaml"), "kind: Workload\n").unwrap();
    assert!(run(&["policy", "lint"]).await.bad(2).contains("west/db.yaml:1:1"));
    assert!(user.run(&["policy", "lint", "--offline"]).await.code == 2, "an inventory is needed");
}
