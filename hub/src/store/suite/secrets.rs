//! What is kept beside the log.
use super::{Ground, open};
use crate::store::PersonToken;

pub(super) async fn the_first_secret_stays(ground: &Ground) {
    let store = open(&ground.url()).await.unwrap();
    assert_eq!(store.secret("ca", "one").await.unwrap(), "one");
    assert_eq!(store.secret("ca", "two").await.unwrap(), "one");
    assert_eq!(store.secret("jwt", "two").await.unwrap(), "two");
}

pub(super) async fn of_many_who_exchange_a_secret_one_does(ground: &Ground) {
    let store = open(&ground.url()).await.unwrap();
    store.secret("ca", "one").await.unwrap();
    let attempts = (0..16).map(|number| {
        let store = store.clone();
        tokio::spawn(async move {
            let to = format!("two-{number}");
            store.exchange_secret("ca", "one", &to).await.unwrap().then_some(to)
        })
    });
    let mut winners = Vec::new();
    for attempt in attempts.collect::<Vec<_>>() {
        winners.extend(attempt.await.unwrap());
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(store.secret("ca", "three").await.unwrap(), winners[0]);
    assert!(!store.exchange_secret("ca", "one", "four").await.unwrap());
    assert!(!store.exchange_secret("none", "one", "four").await.unwrap());
}

pub(super) async fn peoples_tokens_are_noted_and_revoked_once(ground: &Ground) {
    let store = open(&ground.url()).await.unwrap();
    let made = |id: &str, issued_ms, expires_ms| PersonToken { id: id.into(), issued_ms, expires_ms, ..person_token() };
    let (first, second) = (made("a", 1, 10_000), made("b", 2, 500_000));
    store.add_person_token(&first).await.unwrap();
    store.add_person_token(&second).await.unwrap();
    assert_eq!(store.person_tokens().await.unwrap(), [first, second.clone()]);
    assert!(store.revoke_person_token("b", 7).await.unwrap());
    assert!(!store.revoke_person_token("b", 8).await.unwrap());
    assert!(!store.revoke_person_token("c", 8).await.unwrap());
    // What has long been over is forgotten.
    let third = made("c", 100_000, 200_000);
    store.add_person_token(&third).await.unwrap();
    assert_eq!(store.person_tokens().await.unwrap(), [PersonToken { revoked_ms: 7, ..second }, third]);
}

pub(super) fn person_token() -> PersonToken {
    PersonToken {
        id: "a".into(),
        subject: "alice".into(),
        role: "viewer".into(),
        issued_ms: 1,
        expires_ms: 10_000,
        creator: "user:root".into(),
        revoked_ms: 0,
    }
}
