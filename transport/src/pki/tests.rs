use std::time::{Duration, SystemTime};

use axle_core::model::{Name, Uid};
use proptest::prelude::*;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, SanType};
use rustls_pki_types::CertificateDer;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);
const A: Uid = Uid([0xaa; 16]);
const B: Uid = Uid([0xbb; 16]);

fn mesh() -> Name {
    Name::new("test").unwrap()
}

fn validity() -> Validity {
    Validity::starting(SystemTime::now(), HOUR)
}

fn root() -> Authority {
    Authority::new_root(&mesh(), validity()).unwrap()
}

fn node(cluster: Uid) -> Principal {
    Principal::Node(cluster, Name::new("n1").unwrap())
}

/// The authority of one cluster, issued by `root`.
fn intermediate(root: &Authority, cluster: Uid) -> Authority {
    let key = PrivateKey::generate().unwrap();
    let certificate = root.issue_intermediate(&key.public().unwrap(), cluster, validity()).unwrap();
    Authority::from_parts(certificate, key).unwrap()
}

fn leaf(authority: &Authority, principal: &Principal) -> CertificateDer<'static> {
    let key = PrivateKey::generate().unwrap();
    authority.issue(&key.public().unwrap(), principal, &[], validity()).unwrap()
}

fn check(root: &Authority, chain: &[CertificateDer<'_>], now: SystemTime) -> Result<Peer, PkiError> {
    verify(chain, &[Root::read(root.certificate()).unwrap()], Usage::Client, now)
}

/// Signs anything, as a relay that was taken over could.
fn sign_freely(authority: &Authority, uri: &str, ca: bool) -> (CertificateDer<'static>, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
    if ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    let issuer = rcgen::Issuer::from_ca_cert_der(authority.certificate(), &*authority.key().0).unwrap();
    (params.signed_by(&key, &issuer).unwrap().der().clone(), key)
}

#[test]
fn the_shape_of_a_chain_names_the_peer() {
    let root = root();
    let own = intermediate(&root, A);
    let now = SystemTime::now();
    for principal in [Principal::Hub, Principal::Relay(A)] {
        assert_eq!(check(&root, &[leaf(&root, &principal)], now).unwrap().principal, principal);
    }
    let chain = [leaf(&own, &node(A)), own.certificate().clone()];
    assert_eq!(check(&root, &chain, now).unwrap().principal, node(A));
    // Roots sent along change nothing.
    let chain = [chain[0].clone(), chain[1].clone(), root.certificate().clone()];
    assert_eq!(check(&root, &chain, now).unwrap().principal, node(A));
}

#[test]
fn an_authority_signs_only_what_is_its_own() {
    let root = root();
    let own = intermediate(&root, A);
    let key = PrivateKey::generate().unwrap().public().unwrap();
    for principal in [node(B), Principal::Relay(A), Principal::Hub, Principal::Cluster(A)] {
        assert!(own.issue(&key, &principal, &[], validity()).is_err(), "{principal}");
    }
    assert!(own.issue_intermediate(&key, A, validity()).is_err());
    assert!(root.issue(&key, &node(A), &[], validity()).is_err());
}

#[test]
fn a_cluster_that_signs_for_others_is_refused() {
    let root = root();
    let own = intermediate(&root, A);
    let now = SystemTime::now();
    let forged = [node(B), Principal::Relay(A), Principal::Relay(B), Principal::Hub, Principal::Cluster(A)];
    for principal in forged {
        let (leaf, _) = sign_freely(&own, &principal.uri(&mesh()), false);
        let got = check(&root, &[leaf, own.certificate().clone()], now);
        assert!(matches!(got, Err(PkiError::Refused(_))), "{principal}: {got:?}");
    }
    // Nor may it make authorities of its own: its path length is 0.
    let (below, key) = sign_freely(&own, &Principal::Cluster(B).uri(&mesh()), true);
    let below = Authority::from_parts(below, PrivateKey::from_pem(&key.serialize_pem()).unwrap()).unwrap();
    let chain = [leaf(&below, &node(B)), below.certificate().clone(), own.certificate().clone()];
    assert!(matches!(check(&root, &chain, now), Err(PkiError::Refused(_))));
    // Nor speak for another mesh.
    let (leaf, _) = sign_freely(&own, &node(A).uri(&Name::new("other").unwrap()), false);
    assert!(matches!(check(&root, &[leaf, own.certificate().clone()], now), Err(PkiError::Refused(_))));
}

#[test]
fn a_foreign_root_is_refused() {
    let (ours, theirs) = (root(), root());
    let chain = [leaf(&theirs, &Principal::Relay(A)), theirs.certificate().clone()];
    assert!(matches!(check(&ours, &chain, SystemTime::now()), Err(PkiError::Refused(_))));
    assert!(check(&ours, &[], SystemTime::now()).is_err());
    // Another cluster's intermediate beside the right leaf does not help.
    let (a, b) = (intermediate(&ours, A), intermediate(&ours, B));
    let chain = [leaf(&a, &node(A)), b.certificate().clone()];
    assert!(matches!(check(&ours, &chain, SystemTime::now()), Err(PkiError::Refused(_))));
}

#[test]
fn a_root_that_its_predecessor_vouches_for_is_followed() {
    let (old, next) = (root(), root());
    let now = SystemTime::now();
    let vouched = old.vouch_for(&next).unwrap();
    let own = intermediate(&next, A);
    let relay = leaf(&next, &Principal::Relay(A));
    let node_leaf = leaf(&own, &node(A));
    let roots = [next.certificate().clone(), old.certificate().clone()];
    let relays = [&[relay.clone(), vouched.clone()], &roots[..]].concat();
    let nodes = [&[node_leaf, own.certificate().clone(), vouched.clone()], &roots[..]].concat();
    for trusted in [&old, &next] {
        assert_eq!(check(trusted, &relays, now).unwrap().principal, Principal::Relay(A));
        assert_eq!(check(trusted, &nodes, now).unwrap().principal, node(A));
    }
    // Without the word of the old root, or with that of another, there is no way from it.
    let stranger = root().vouch_for(&next).unwrap();
    for chain in [vec![relay.clone(), roots[0].clone()], vec![relay.clone(), stranger], vec![relay]] {
        assert!(matches!(check(&old, &chain, now), Err(PkiError::Refused(_))));
    }
    // It is no root to trust, and an intermediate vouches for nobody.
    assert!(Root::read(&vouched).is_err());
    assert!(own.vouch_for(&next).is_err() && next.vouch_for(&own).is_err());
}

#[test]
fn of_a_request_only_the_public_key_is_used() {
    let key = KeyPair::generate().unwrap();
    let mut greedy = CertificateParams::new(vec!["hub.example.org".to_owned(), "*".to_owned()]).unwrap();
    greedy.subject_alt_names.push(SanType::URI(Principal::Relay(B).uri(&mesh()).try_into().unwrap()));
    greedy.distinguished_name.push(rcgen::DnType::CommonName, "axle hub");
    greedy.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    greedy.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::CodeSigning];
    greedy.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let modest = CertificateParams::default();
    let root = root();
    // But for serial number and signature, which differ between any two.
    let facts = |params: &CertificateParams| {
        let request = params.serialize_request(&key).unwrap();
        let key = PublicKey::from_csr(request.der()).unwrap();
        let made = root.issue(&key, &Principal::Relay(A), &[], validity()).unwrap();
        let parsed = x509_parser::parse_x509_certificate(&made).unwrap().1;
        let extensions: Vec<_> = parsed.extensions().iter().map(|it| (it.oid.to_string(), it.value.to_vec())).collect();
        (parsed.subject().to_string(), extensions, parsed.public_key().raw.to_vec())
    };
    // rcgen writes no basic constraints into a request; the usages and names are there.
    assert_ne!(greedy.serialize_request(&key).unwrap().der(), modest.serialize_request(&key).unwrap().der());
    assert_eq!(facts(&greedy), facts(&modest));
    assert!(facts(&greedy).0.contains(&format!("cluster/{A}/relay").chars().take(30).collect::<String>()));
}

#[test]
fn a_cluster_vouches_for_no_root() {
    let root = root();
    let own = intermediate(&root, A);
    let (forged, key) = sign_freely(&own, "spiffe://test", true);
    let forged = Authority::from_parts(forged, PrivateKey::from_pem(&key.serialize_pem()).unwrap()).unwrap();
    for principal in [Principal::Hub, Principal::Relay(B)] {
        let leaf = leaf(&forged, &principal);
        let chain = [leaf, forged.certificate().clone(), own.certificate().clone()];
        assert!(matches!(check(&root, &chain, SystemTime::now()), Err(PkiError::Refused(_))), "{principal}");
    }
}

#[test]
fn expired_is_told_apart_from_wrong() {
    let root = root();
    let own = intermediate(&root, A);
    let chain = [leaf(&own, &node(A)), own.certificate().clone()];
    let late = SystemTime::now() + 3 * HOUR;
    match check(&root, &chain, late) {
        Err(PkiError::Expired { peer, by }) => {
            assert_eq!(peer.principal, node(A));
            assert!(by > HOUR);
        }
        other => panic!("{other:?}"),
    }
    let (forged, _) = sign_freely(&own, &node(B).uri(&mesh()), false);
    assert!(matches!(check(&root, &[forged, own.certificate().clone()], late), Err(PkiError::Refused(_))));
}

#[test]
fn a_leaf_never_outlives_its_authority() {
    let root = root();
    let key = PrivateKey::generate().unwrap().public().unwrap();
    let long = Validity::starting(SystemTime::now(), 1000 * HOUR);
    let leaf = root.issue(&key, &Principal::Relay(A), &[], long).unwrap();
    assert_eq!(check(&root, &[leaf], SystemTime::now()).unwrap().not_after, root.not_after());
}

#[test]
fn only_the_key_of_a_request_counts() {
    let root = root();
    let key = KeyPair::generate().unwrap();
    // Everything that a forger would ask for.
    let mut greedy = CertificateParams::new(vec!["*.example.org".to_string()]).unwrap();
    greedy.subject_alt_names.push(SanType::URI(Principal::Hub.uri(&mesh()).try_into().unwrap()));
    greedy.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    greedy.not_after = rcgen::date_time_ymd(4000, 1, 1);
    let request = greedy.serialize_request(&key).unwrap();
    let public = PublicKey::from_csr(request.der()).unwrap();
    let leaf = root.issue(&public, &Principal::Relay(A), &[], validity()).unwrap();
    let (_, parsed) = x509_parser::parse_x509_certificate(&leaf).unwrap();
    assert!(!parsed.is_ca());
    let names = &parsed.subject_alternative_name().unwrap().unwrap().value.general_names;
    assert_eq!(names.len(), 1);
    assert_eq!(check(&root, std::slice::from_ref(&leaf), SystemTime::now()).unwrap().principal, Principal::Relay(A));
    assert_eq!(public.fingerprint(), sha256(parsed.public_key().raw));
}

#[test]
fn requests_that_prove_nothing_are_refused() {
    let request = PrivateKey::generate().unwrap().csr().unwrap();
    assert!(PublicKey::from_csr(&request).is_ok());
    let mut forged = request.clone();
    *forged.last_mut().unwrap() ^= 1;
    assert!(PublicKey::from_csr(&forged).is_err(), "a signature that is wrong");
    assert!(PublicKey::from_csr(&[]).is_err());
    assert!(PublicKey::from_csr(&vec![0x30; MAX]).is_err(), "too long");
    let mut trailing = request;
    trailing.push(0);
    assert!(PublicKey::from_csr(&trailing).is_err(), "bytes after the end");
}

const MAX: usize = 64 * 1024;

#[test]
fn principals_have_one_spelling() {
    let all = [Principal::Hub, Principal::Cluster(A), Principal::Relay(A), node(A)];
    for principal in all {
        assert_eq!(Principal::parse(&principal.uri(&mesh())).unwrap(), (mesh(), principal));
    }
    let upper = Principal::Relay(A).uri(&mesh()).replace("aaaa", "AAAA");
    for wrong in [
        upper.as_str(),
        "spiffe://test",
        "spiffe://test/",
        "spiffe://test/hub/",
        "spiffe://test//hub",
        "http://test/hub",
        "spiffe://test/cluster/0/relay",
        "spiffe://test/cluster/aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa/node/",
        "spiffe://test/cluster/aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa/node/a/b",
    ] {
        assert!(Principal::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn tokens_survive_being_text() {
    for cluster in [None, Some(A)] {
        let token = JoinToken::generate([7; 32], cluster).unwrap();
        let again: JoinToken = token.reveal().parse().unwrap();
        assert_eq!(again, token);
        assert_eq!(again.digest(), token.digest());
        let short = &token.reveal()[..60];
        let error = short.parse::<JoinToken>().unwrap_err().to_string();
        assert!(!error.contains(&token.reveal()[6..30]), "an error must not repeat a secret: {error}");
        assert!(!format!("{token:?}").contains(&token.reveal()[6..30]));
    }
}

proptest! {
    #[test]
    fn no_bytes_break_the_readers(bytes in proptest::collection::vec(any::<u8>(), 0..400), text in ".{0,120}") {
        let _ = PublicKey::from_csr(&bytes);
        let _ = Root::read(&CertificateDer::from(bytes.clone()));
        let _ = text.parse::<JoinToken>();
        let _ = Principal::parse(&text);
        let chain = [CertificateDer::from(bytes)];
        prop_assert!(verify(&chain, &[], Usage::Client, SystemTime::now()).is_err());
    }

    #[test]
    fn a_changed_byte_is_never_another_peer(at in 0_usize..600, bit in 0_u8..8) {
        let root = root();
        let mut bytes = leaf(&root, &Principal::Relay(A)).to_vec();
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        prop_assert!(check(&root, &[CertificateDer::from(bytes)], SystemTime::now()).is_err());
    }
}
