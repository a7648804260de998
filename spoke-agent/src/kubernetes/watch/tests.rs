//! Following pods of a server that answers what each test wants.
use k8s_openapi::api::core::v1::Pod;
use kube::client::Body;
use serde_json::{Value, json};
use tonic::codegen::http::{Request, Response};

use super::*;

fn pod(name: &str, version: &str) -> Value {
    json!({"metadata": {"namespace": "shop", "name": name, "resourceVersion": version, "managedFields": [{}]}})
}

fn list(pods: &[Value], next: &str) -> (u16, String) {
    let page = json!({"metadata": {"resourceVersion": "10", "continue": next}, "items": pods});
    (200, page.to_string())
}

fn events(events: &[(&str, Value)]) -> (u16, String) {
    let line = |(kind, object): &(&str, Value)| json!({"type": kind, "object": object}).to_string() + "\n";
    (200, events.iter().map(line).collect())
}

fn failed(code: u16, message: &str) -> (u16, String) {
    (code, json!({"kind": "Status", "status": "Failure", "code": code, "message": message}).to_string())
}

/// A server that waits for each answer, and what it is asked.
struct Server {
    answers: tokio::sync::mpsc::Sender<(u16, String)>,
    asked: tokio::sync::mpsc::Receiver<String>,
    watched: Watched<Pod>,
}

impl Server {
    fn start() -> Self {
        let (answers, answer) = tokio::sync::mpsc::channel(1);
        let (ask, asked) = tokio::sync::mpsc::channel(1);
        let answer = Arc::new(tokio::sync::Mutex::new(answer));
        let service = tower::service_fn(move |request: Request<Body>| {
            let (answer, ask) = (answer.clone(), ask.clone());
            async move {
                ask.send(request.uri().to_string()).await.map_err(std::io::Error::other)?;
                let (code, body): (u16, String) =
                    answer.lock().await.recv().await.ok_or_else(|| std::io::Error::other("nobody is there"))?;
                let body = Body::from(body.into_bytes());
                Response::builder().status(code).body(body).map_err(std::io::Error::other)
            }
        });
        let client = kube::Client::new(service, "default");
        let watched = follow(Api::all(client), ListParams::default().fields("spec.nodeName=n1"), |_| {});
        Self { answers, asked, watched }
    }

    /// Answers the next request, which has `wanted` in it.
    async fn answer(&mut self, wanted: &str, answer: (u16, String)) {
        let asked = self.asked.recv().await.unwrap();
        assert!(asked.contains(wanted) && asked.contains("fieldSelector=spec.nodeName%3Dn1"), "{wanted} in {asked}");
        self.answers.send(answer).await.unwrap();
    }

    /// Once the next request is there, whatever came before is taken.
    fn names(&self) -> Vec<String> {
        self.watched.borrow().objects.keys().map(|(_, name)| name.clone()).collect()
    }

    async fn pods(&mut self, wanted: &[&str]) {
        let fits = |held: &Held<Pod>| held.objects.keys().map(|(_, name)| name).eq(wanted.iter());
        let waited = tokio::time::timeout(Duration::from_secs(20), self.watched.wait_for(fits)).await.is_ok();
        assert!(waited, "{:?}, wanted {wanted:?}", self.names());
    }

    async fn trouble(&mut self) -> Trouble {
        let waited = self.watched.wait_for(|held| held.trouble.is_some()).await;
        waited.unwrap().trouble.clone().unwrap()
    }
}

#[tokio::test]
async fn a_list_under_way_takes_nothing_away_and_a_whole_one_all_that_is_gone() {
    let mut server = Server::start();
    server.answer("limit=500", list(&[pod("a", "1")], "more")).await;
    let asked = server.asked.recv().await.unwrap();
    assert!(asked.contains("continue=more"), "{asked}");
    assert!(!server.watched.borrow().complete && server.names().is_empty(), "half a list says nothing");
    server.answers.send(list(&[pod("b", "2")], "")).await.unwrap();
    server.pods(&["a", "b"]).await;
    assert!(server.watched.borrow().complete);
    assert!(server.watched.borrow().objects.values().all(|pod| pod.managed_fields().is_empty()));
    server.answer("resourceVersion=10", events(&[("ADDED", pod("c", "11")), ("DELETED", pod("a", "12"))])).await;
    server.pods(&["b", "c"]).await;
    let mark = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"resourceVersion": "20", "annotations": {}}});
    server.answer("resourceVersion=12", events(&[("BOOKMARK", mark)])).await;
    // The server has forgotten where we were. Half a list fails; then a whole one comes, without b.
    let gone: Value = serde_json::from_str(&failed(410, "too old").1).unwrap();
    server.answer("resourceVersion=20", events(&[("ERROR", gone)])).await;
    server.answer("limit=500", list(&[pod("c", "21")], "more")).await;
    server.answer("continue=more", failed(410, "the token is too old")).await;
    server.trouble().await;
    assert_eq!(server.names(), ["b", "c"], "no flap");
    server.answer("limit=500", list(&[pod("c", "21")], "")).await;
    server.pods(&["c"]).await;
    assert_eq!(server.watched.borrow().trouble, None, "and no ghost");
}

#[tokio::test]
async fn a_missing_permission_is_named_with_verb_and_resource() {
    let mut server = Server::start();
    server.answer("limit=500", failed(403, "pods is forbidden")).await;
    let said = server.trouble().await;
    for wanted in ["list pods", "pods is forbidden", "apiGroups [\"\"]", "verbs [list, watch]"] {
        assert!(said.sentence().contains(wanted), "{wanted} in {}", said.sentence());
    }
    assert!(matches!(said, Trouble::Forbidden(_)) && !server.watched.borrow().complete);
    // It may list and not watch: what it lists counts, and the trouble stays.
    server.answer("limit=500", list(&[pod("a", "1")], "")).await;
    server.answer("watch=true", failed(403, "pods is forbidden")).await;
    assert!(server.trouble().await.sentence().contains("watch pods"));
    server.pods(&["a"]).await;
}

#[tokio::test]
async fn while_nobody_answers_what_is_known_stays_and_a_watch_that_begins_again_ends_the_trouble() {
    let mut server = Server::start();
    server.answer("limit=500", list(&[pod("a", "1")], "")).await;
    server.answer("watch=true", failed(503, "starting")).await;
    assert!(
        matches!(server.trouble().await, Trouble::Away(said) if said.contains("answers 503 to watch pods: starting"))
    );
    assert_eq!(server.names(), ["a"]);
    server.answer("limit=500", list(&[pod("a", "1")], "")).await;
    server.answer("watch=true", events(&[])).await;
    server.asked.recv().await.unwrap();
    assert_eq!(server.watched.borrow().trouble, None, "though nothing has changed");
    // The connection breaks, and so does each of those after it.
    let Server { answers, asked, mut watched } = server;
    drop((answers, asked));
    let held = watched.wait_for(|held| held.trouble.is_some()).await.unwrap();
    assert!(matches!(&held.trouble, Some(Trouble::Away(said)) if said.contains("to watch pods")));
    assert_eq!(held.objects.len(), 1);
}

#[tokio::test]
async fn a_kind_that_is_not_known_any_more_keeps_its_objects_and_one_that_never_was_has_none() {
    let mut server = Server::start();
    server.answer("limit=500", failed(404, "not found")).await;
    server.trouble().await;
    let says = |server: &Server| {
        let held = server.watched.borrow();
        (is_known(&held), is_not_installed(&held), complaint(&held).is_some())
    };
    assert_eq!(says(&server), (true, true, false));
    server.answer("limit=500", list(&[pod("a", "1")], "")).await;
    server.answer("watch=true", failed(404, "not found")).await;
    server.answer("limit=500", failed(404, "not found")).await;
    server.asked.recv().await.unwrap();
    assert_eq!((server.names(), says(&server)), (vec!["a".to_owned()], (true, false, true)));
}
