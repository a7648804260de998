//! The mesh's root is exchanged while relays are connected, away, and about to join.
use axle_core::log::Record;
use axle_proto::v1::{AuthorityView, RotateAuthorityRequest, admin_client::AdminClient};
use axle_transport::pki::{certificate_pem, sha256};

use super::*;
use crate::authority::{Stage, Step};

const QUICK: &[&str] = &["--certificate-lifetime=5s", "--renewal-grace=600s"];

impl Hub {
    /// The same data, another process.
    async fn restart(self, more: &[&str]) -> Self {
        let listen = format!("--listen={}", self.running.tls_address);
        let Self { running, dir } = self;
        running.stop().await;
        let flags = [&[listen.as_str()], more].concat();
        Self { running: App::start(config(&dir, &flags)).await.unwrap(), dir }
    }

    async fn audit(&self) -> Vec<Record> {
        self.running.parts.store.records_after(0, 1000).await.unwrap()
    }

    async fn rotate(&self, step: &str, force: bool) -> Result<AuthorityView, Status> {
        let trusted = self.running.parts.authorities.bundle().roots();
        let people = ClientTls::anonymous(&trusted, Expect::Hub).unwrap();
        let request = RotateAuthorityRequest { step: step.into(), force, request_id: String::new() };
        let mut request = tonic::Request::new(request);
        let bearer = format!("Bearer {}", self.bearer("alice", Role::Admin));
        request.metadata_mut().insert("authorization", bearer.parse().unwrap());
        let mut admin = AdminClient::new(connect(&self.address(), &people).await.unwrap());
        admin.rotate_authority(request).await.map(tonic::Response::into_inner)
    }

    /// What of the audit trail is about the root.
    async fn rotations(&self) -> Vec<String> {
        let of_root = |record: Record| record.action.starts_with("ca ").then_some((record.actor, record.action));
        let first = |text: &str| text.split(':').next().unwrap().split(' ').take(2).collect::<Vec<_>>().join(" ");
        self.audit()
            .await
            .into_iter()
            .filter_map(of_root)
            .map(|(actor, text)| format!("{actor} {}", first(&text)))
            .collect()
    }

    async fn reaches(&self, step: Step) {
        let authorities = &self.running.parts.authorities;
        eventually("the rotation goes on by itself", || authorities.bundle().next_step() == step).await;
    }
}

fn joined(token: &JoinToken) -> ClientTls {
    ClientTls::joining(token.root, Expect::Hub).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_by_command_loses_nobody_and_is_said_once_a_step() {
    let hub = Hub::start(QUICK).await;
    let old = hub.running.root().certificate().clone();
    let there = hub.relay("there", "10.1.0.0/16").await;
    let away = hub.relay("away", "10.2.0.0/16").await;
    let (key, away_key) = (there.credentials.load().key().clone(), away.credentials.load().key().clone());
    let open = hub.token(hub.add("later", "10.3.0.0/16").await, HOUR).await;

    for wrong in ["activate", "retire", "sideways"] {
        assert!(hub.rotate(wrong, true).await.is_err(), "{wrong}");
    }
    let people = ClientTls::anonymous(std::slice::from_ref(&old), Expect::Hub).unwrap();
    assert_eq!(hub.rotate("prepare", false).await.unwrap().stage, "prepared");
    assert!(hub.rotate("prepare", false).await.is_err(), "one at a time");
    assert!(hub.rotate("activate", false).await.is_err(), "other hubs may not know it yet");

    // Handed out before it signs anything: to relays with their renewal, to people with the handshake.
    let prepared = credentials(&there.renew(&key).await.unwrap(), key.clone());
    assert_eq!((prepared.roots().len(), &prepared.roots()[0]), (2, &old));
    connect(&hub.address(), &people).await.unwrap();
    assert_eq!(people.named_roots(), prepared.roots());
    there.credentials.store(Arc::new(prepared));

    // It activates by itself after one lifetime of a certificate. A restart between the steps changes nothing.
    let hub = hub.restart(QUICK).await;
    hub.reaches(Step::Retire).await;
    let refused = hub.rotate("retire", false).await.unwrap_err();
    assert!(refused.message().contains("join anew"), "who is there has not renewed: {refused:?}");
    let next = hub.running.root().certificate().clone();
    assert_ne!(next, old);
    eventually("the hub's own certificate follows", || is_served(&hub.address(), &next)).await;

    // Who knows both, who knows the old one alone, who has a token of before, and who knows the new one alone.
    let renewed = credentials(&there.renew(&key).await.unwrap(), key.clone());
    assert_eq!(renewed.roots(), [next.clone(), old.clone()]);
    there.credentials.store(Arc::new(renewed));
    there.link(vec![]).is(|state| *state == LinkState::Connected).await;
    assert!(away.credentials.load().peer().not_after <= SystemTime::now(), "its certificate ran out while it was away");
    let back = credentials(&away.renew(&away_key).await.unwrap(), away_key.clone());
    away.credentials.store(Arc::new(back));
    away.link(vec![]).is(|state| *state == LinkState::Connected).await;
    let late = PrivateKey::generate().unwrap();
    assert!(enroll(&hub.address(), &open, "later", &late).await.is_ok(), "an open token outlives the change of root");

    // Retired at once, by who says that it is meant.
    let last = hub.token(away.cluster, HOUR).await;
    assert_eq!(last.root, sha256(&next));
    let hub = hub.restart(QUICK).await;
    assert_eq!(hub.rotate("retire", true).await.unwrap().stage, "steady");
    eventually("the old root is forgotten", || !is_served(&hub.address(), &old)).await;
    assert_eq!(hub.running.parts.authorities.bundle().roots(), [next]);
    there.renew(&key).await.unwrap();
    assert!(connect(&hub.address(), &joined(&open)).await.is_err(), "a token of the old root is over");
    connect(&hub.address(), &joined(&last)).await.unwrap();
    assert_eq!(hub.rotations().await, ["user:alice ca prepare", "hub ca activate", "user:alice ca retire"]);
}

/// Whether who trusts this root alone is served.
fn is_served(address: &str, root: &CertificateDer<'static>) -> bool {
    let tls = ClientTls::anonymous(std::slice::from_ref(root), Expect::Hub).unwrap();
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(connect(address, &tls))).is_ok()
}

#[tokio::test]
async fn by_age_a_root_is_exchanged_whole_and_said_by_the_hub() {
    // The settings would refuse so short a life: the keeper is asked itself.
    let dir = tempfile::tempdir().unwrap();
    let rounds = lifecycle(&format!("sqlite:{}", dir.path().join("hub.db").display())).await;
    assert_eq!(rounds, ["ca prepare", "ca activate", "ca retire"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_hubs_exchange_a_root_together() {
    let postgres = axle_tests::postgres::Postgres::start().unwrap();
    let rounds = lifecycle(&postgres.database().unwrap()).await;
    assert_eq!(rounds, ["ca prepare", "ca activate", "ca retire"], "each step once, whichever hub takes it");
}

/// Three keepers on one database, one of which dies at every step, until the first root is gone. What the trail says.
async fn lifecycle(url: &str) -> Vec<String> {
    use crate::authority::{Authorities, Lifetimes};
    let mesh = Name::new("m").unwrap();
    let (second, rotate_after) = (Duration::from_secs(1), Duration::from_secs(90));
    let lifetimes = Lifetimes { root: HOUR, rotate_after, certificate: second, grace: Duration::ZERO };
    let store = store::open(url).await.unwrap();
    // So old that its time comes at once; its successor's does not come within this test.
    let aged = Validity::starting(SystemTime::now() - rotate_after + second, HOUR);
    let aged = Authority::new_root(&mesh, aged).unwrap();
    let text = format!("{}{}", *aged.key().to_pem(), certificate_pem(aged.certificate()));
    store.secret("ca", &text).await.unwrap();
    let begun = CancellationToken::new();
    let (writer, _, _) = Writer::start(store.clone(), begun.clone()).await.unwrap();
    let open = || Authorities::open(store.clone(), &mesh, lifetimes);
    let first = open().await.unwrap().bundle().signing().certificate().clone();
    let mut hubs: Vec<JoinHandle<()>> = Vec::new();
    let watcher = open().await.unwrap();
    hubs.push(tokio::spawn(watcher.clone().follow(writer.clone())));
    let mut changes = watcher.changes();
    let mut mortal = tokio::spawn(open().await.unwrap().follow(writer.clone()));
    hubs.push(tokio::spawn(open().await.unwrap().follow(writer.clone())));
    let mut seen = Vec::new();
    loop {
        timeout(SOON, changes.changed()).await.expect("the rotation goes on").unwrap();
        let bundle = changes.borrow_and_update().clone();
        seen.push(bundle.roots());
        mortal.abort();
        mortal = tokio::spawn(open().await.unwrap().follow(writer.clone()));
        if matches!(bundle.stage(), Stage::Steady) {
            break;
        }
    }
    hubs.into_iter().chain([mortal]).for_each(|hub| hub.abort());
    assert_eq!(seen.len(), 3);
    assert_eq!((&seen[0][0], &seen[1][1], &seen[2][0]), (&first, &first, &seen[0][1]), "one successor, in every hub");
    let trail = store.records_after(0, 1000).await.unwrap();
    let actions = trail.iter().map(|record| record.action.split([' ', ':']).take(2).collect::<Vec<_>>().join(" "));
    actions.filter(|action| action.starts_with("ca ")).collect()
}

#[tokio::test]
async fn what_the_store_held_before_there_were_rotations_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", dir.path().join("hub.db").display());
    let former = include_str!("former-ca.pem");
    store::open(&url).await.unwrap().secret("ca", former).await.unwrap();
    let running = App::start(config(&dir, &[])).await.unwrap();
    assert!(former.contains(&certificate_pem(running.root().certificate())));
}
