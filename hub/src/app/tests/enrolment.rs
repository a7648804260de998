//! Who gets a certificate, and how long it opens the door.
use super::*;

#[tokio::test]
async fn every_wrong_token_gets_the_same_answer() {
    let hub = Hub::start(&[]).await;
    let cluster = hub.add("one", "10.1.0.0/16").await;
    hub.add("two", "10.2.0.0/16").await;
    let key = PrivateKey::generate().unwrap();
    let good = hub.token(cluster, HOUR).await;
    let over = hub.token(cluster, Duration::ZERO).await;
    let unknown = JoinToken::generate(good.root, None).unwrap();
    let mut texts = std::collections::BTreeSet::new();
    for (token, name) in [(&good, "two"), (&good, "none"), (&good, "NOT A NAME"), (&over, "one"), (&unknown, "one")] {
        let refused = enroll(&hub.address(), token, name, &key).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
        texts.insert(refused.message().to_string());
    }
    let tls = ClientTls::joining(good.root, Expect::Hub).unwrap();
    let door = connect(&hub.address(), &tls).await.unwrap();
    for token in ["", "axle1.x.y", "axle1.AAAA"] {
        let refused = enroll_with(door.clone(), token, "one", key.csr().unwrap()).await.unwrap_err();
        texts.insert(refused.message().to_string());
    }
    // A broken request costs no token, and says what is wrong.
    let broken = enroll_with(door.clone(), &good.reveal(), "one", vec![1, 2, 3]).await.unwrap_err();
    assert_eq!(broken.code(), Code::InvalidArgument);
    assert!(broken.message().starts_with("csr: "), "{}", broken.message());
    assert!(enroll(&hub.address(), &good, "one", &key).await.is_ok());
    let used = enroll(&hub.address(), &good, "one", &key).await.unwrap_err();
    texts.insert(used.message().to_string());
    assert_eq!(texts.len(), 1, "{texts:?}");
}

#[tokio::test]
async fn of_many_who_bring_one_token_one_gets_in() {
    let hub = Hub::start(&[]).await;
    let cluster = hub.add("one", "10.1.0.0/16").await;
    let token = hub.token(cluster, HOUR).await;
    let attempts: Vec<_> = (0..24)
        .map(|_| {
            let (address, token) = (hub.address(), token.clone());
            tokio::spawn(async move {
                let key = PrivateKey::generate().unwrap();
                enroll(&address, &token, "one", &key).await.is_ok().then(|| key.public().unwrap().fingerprint())
            })
        })
        .collect();
    let mut won = Vec::new();
    for attempt in attempts {
        won.extend(attempt.await.unwrap());
    }
    assert_eq!(won.len(), 1);
    let enrolments = hub.running.parts.store.enrolments().await.unwrap();
    assert_eq!(enrolments.iter().map(|enrolment| enrolment.relay_key).collect::<Vec<_>>(), won);
}

#[tokio::test]
async fn a_certificate_speaks_for_its_cluster_and_lives_as_set() {
    let hub = Hub::start(&["--certificate-lifetime=2h"]).await;
    let relay = hub.relay("one", "10.1.0.0/16").await;
    let held = relay.credentials.load();
    assert_eq!(held.peer().principal, Principal::Relay(relay.cluster));
    let left = held.peer().not_after.duration_since(SystemTime::now()).unwrap();
    assert!(left <= 2 * HOUR && left > HOUR, "{left:?}");
}

#[tokio::test]
async fn a_renewal_keeps_the_key_and_the_name() {
    let hub = Hub::start(&[]).await;
    let relay = hub.relay("one", "10.1.0.0/16").await;
    let key = relay.credentials.load().key().clone();
    let renewed = credentials(&relay.renew(&key).await.unwrap(), key.clone());
    assert_eq!(renewed.peer().principal, Principal::Relay(relay.cluster));
    assert!(renewed.peer().not_after >= relay.credentials.load().peer().not_after);
    let other = relay.renew(&PrivateKey::generate().unwrap()).await.unwrap_err();
    assert_eq!(other.code(), Code::InvalidArgument);
    // Without a certificate there is nothing to renew.
    let roots = [hub.running.root().certificate().clone()];
    let anonymous = channel(&hub.address(), &ClientTls::anonymous(&roots, Expect::Hub).unwrap()).unwrap();
    let request = RenewRequest { csr: key.csr().unwrap().into(), ca_csr: key.csr().unwrap().into() };
    let refused = EnrollmentClient::new(anonymous).renew(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn an_expired_certificate_may_be_renewed_and_nothing_else() {
    let hub = Hub::start(&[]).await;
    let relay = hub.relay("one", "10.1.0.0/16").await;
    let key = relay.credentials.load().key().clone();
    let long_ago = SystemTime::now() - 10 * HOUR;
    let stale = |validity| {
        let root = &hub.running.root();
        let leaf = root.issue(&key.public().unwrap(), &Principal::Relay(relay.cluster), &[], validity).unwrap();
        Credentials::new(vec![leaf], key.clone(), vec![root.certificate().clone()]).unwrap()
    };
    relay.credentials.store(Arc::new(stale(Validity::starting(long_ago, HOUR))));
    let mut session = relay.link(vec![]);
    let refused = session.is(|state| matches!(state, LinkState::Waiting { reason } if !reason.is_empty())).await;
    assert!(format!("{refused:?}").contains("credentials"), "{refused:?}");
    let response = relay.renew(&key).await.unwrap();
    relay.credentials.store(Arc::new(credentials(&response, key.clone())));
    session.is(|state| *state == LinkState::Connected).await;
    // After thirty days it may not even do that.
    let month_ago = SystemTime::now() - 31 * 24 * HOUR;
    relay.credentials.store(Arc::new(stale(Validity::starting(month_ago, HOUR / 2))));
    assert!(relay.renew(&key).await.is_err());
}

#[tokio::test]
async fn enrolling_again_puts_the_former_relay_out() {
    let hub = Hub::start(&[]).await;
    let former = hub.relay("one", "10.1.0.0/16").await;
    let mut session = former.link(vec![]);
    session.is(|state| *state == LinkState::Connected).await;
    let token = hub.token(former.cluster, HOUR).await;
    let key = PrivateKey::generate().unwrap();
    let response = enroll(&hub.address(), &token, "one", &key).await.unwrap();
    session.is(|state| *state != LinkState::Connected).await;
    let members = &hub.running.parts.enroller.members;
    let told = || members.problem(former.cluster).is_some_and(|why| why.contains("axle cluster add"));
    eventually("people are told that it comes all the same", told).await;
    let newer = Relay { credentials: credentials(&response, key).shared(), address: hub.address(), ..former };
    newer.link(vec![]).is(|state| *state == LinkState::Connected).await;
}
