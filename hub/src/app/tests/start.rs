//! What a start needs, leaves and refuses.
use super::*;

#[tokio::test]
async fn a_token_says_what_one_may_do() {
    let hub = Hub::start(&[]).await;
    let gate = &hub.running.parts.gate;
    let with = |role| {
        let token = hub.bearer("alice", role);
        let mut headers = http::HeaderMap::new();
        headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
        headers
    };
    let ask = |need, role| gate.check(need, &with(role), &http::Extensions::new());
    use crate::auth::Need;
    for (has, wants, may) in [
        (Role::Viewer, Role::Viewer, true),
        (Role::Viewer, Role::Operator, false),
        (Role::Operator, Role::Viewer, true),
        (Role::Operator, Role::Admin, false),
        (Role::Admin, Role::Admin, true),
    ] {
        assert_eq!(ask(Need::Role(wants), has).is_ok(), may, "{has} {wants}");
    }
    assert!(ask(Need::Relay, Role::Admin).is_err(), "a person is no relay");
    assert!(gate.check(Need::Role(Role::Viewer), &http::HeaderMap::new(), &http::Extensions::new()).is_err());
}

#[tokio::test]
async fn a_second_hub_keeps_out_of_a_data_directory() {
    let hub = Hub::start(&[]).await;
    let error = App::start(config(&hub.dir, &[])).await.unwrap_err().to_string();
    assert!(error.contains("another hub runs in"), "{error}");
}

#[tokio::test]
async fn other_settings_than_the_first_are_refused() {
    let hub = Hub::start(&[]).await;
    let Hub { running, dir } = hub;
    running.stop().await;
    for (flags, wanted) in [(["--mesh=other"], "belongs to the mesh"), (["--vip4=240.65.0.0/16"], "began with vip4")] {
        let error = format!("{:#}", App::start(config(&dir, &flags)).await.unwrap_err());
        assert!(error.contains(wanted), "{error}");
    }
}

#[tokio::test]
async fn the_first_start_leaves_a_context_for_the_cli() {
    use axle_transport::context::ContextFile;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cli/config.yaml");
    let flag = format!("--context-file={}", path.display());
    let running = App::start(config(&dir, &[&flag])).await.unwrap();
    let file = ContextFile::load(&path).unwrap();
    let context = file.get("axle").unwrap();
    assert_eq!(context.hub, format!("https://{}", running.tls_address));
    let mut headers = http::HeaderMap::new();
    headers.insert("authorization", format!("Bearer {}", context.token).parse().unwrap());
    let need = crate::auth::Need::Role(Role::Admin);
    assert!(running.parts.gate.check(need, &headers, &http::Extensions::new()).is_ok());
    let listen = format!("--listen={}", running.tls_address);
    running.stop().await;
    // A restart changes nothing in it.
    let _running = App::start(config(&dir, &[&flag, &listen])).await.unwrap();
    assert_eq!(ContextFile::load(&path).unwrap(), file);
}
