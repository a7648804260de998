//! The acceptor with real TLS, real peers, and peers that mean no good.
mod floods;

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use axle_core::model::{Name, Uid};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::body::Incoming;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tower::{Service as _, ServiceExt as _, service_fn};

use super::*;
use crate::{
    pki::{Authority, Peer, Principal, PrivateKey, Validity, sha256},
    tls::{ClientTls, Credentials, Expect, ServerTls, SharedCredentials, channel, connect, dial},
};

const HOUR: Duration = Duration::from_secs(3600);
const SOON: Duration = Duration::from_secs(20);
const A: Uid = Uid([0xaa; 16]);

struct Mesh {
    root: Authority,
}

impl Mesh {
    fn new() -> Self {
        let validity = Validity::starting(SystemTime::now(), 100 * HOUR);
        Self { root: Authority::new_root(&Name::new("test").unwrap(), validity).unwrap() }
    }

    fn credentials(&self, principal: &Principal, key: &PrivateKey, validity: Validity) -> Credentials {
        let leaf = self.root.issue(&key.public().unwrap(), principal, &[], validity).unwrap();
        Credentials::new(vec![leaf], key.clone(), vec![self.root.certificate().clone()]).unwrap()
    }

    fn shared(&self, principal: &Principal, lifetime: Duration) -> SharedCredentials {
        let key = PrivateKey::generate().unwrap();
        self.credentials(principal, &key, Validity::starting(SystemTime::now(), lifetime)).shared()
    }
}

struct Running {
    address: String,
    stop: CancellationToken,
    served: JoinHandle<()>,
}

/// A server that answers `GET /` with who asked and `GET /wait` never.
fn serve(mesh: &Mesh, guard: Arc<Guard>, limits: Limits) -> Running {
    let tls = ServerTls::new(mesh.shared(&Principal::Hub, HOUR)).unwrap();
    let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let stop = CancellationToken::new();
    let acceptor = Acceptor::new(tls, guard, limits);
    let served = tokio::spawn(acceptor.serve(listener, service_fn(answer), stop.clone()));
    Running { address, stop, served }
}

async fn answer(request: Request<Incoming>) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    assert!(request.extensions().get::<SocketAddr>().is_some());
    if request.uri().path() == "/wait" {
        std::future::pending::<()>().await;
    }
    let known = request.extensions().get::<Peer>().map(|peer| peer.principal.to_string());
    let expired = request.extensions().get::<ExpiredPeer>().map(|peer| format!("expired {}", peer.0.principal));
    let text = known.or(expired).unwrap_or_else(|| "nobody".into());
    Ok(Response::new(Full::from(text).boxed()))
}

async fn ask(channel: &mut Channel, path: &str) -> Result<String, String> {
    let request = Request::get(path).body(tonic::body::Body::empty()).unwrap();
    let service = channel.ready().await.map_err(|why| format!("{why:?}"))?;
    let response = service.call(request).await.map_err(|why| format!("{why:?}"))?;
    let body = response.into_body().collect().await.map_err(|why| format!("{why:?}"))?;
    Ok(String::from_utf8(body.to_bytes().to_vec()).unwrap())
}

fn anyone() -> Arc<Guard> {
    Arc::new(Guard::new(|_| Ok(())))
}

fn quick() -> Limits {
    Limits { recheck: Duration::from_millis(10), drain: Duration::from_millis(50), ..Limits::default() }
}

#[tokio::test]
async fn a_request_carries_its_peer() {
    let mesh = Mesh::new();
    let server = serve(&mesh, anyone(), quick());
    let relay = ClientTls::mutual(mesh.shared(&Principal::Relay(A), HOUR), Expect::Hub).unwrap();
    let mut known = channel(&server.address, &relay).unwrap();
    assert_eq!(ask(&mut known, "/").await.unwrap(), Principal::Relay(A).to_string());
    let anonymous = ClientTls::anonymous(&[mesh.root.certificate().clone()], Expect::Hub).unwrap();
    assert_eq!(ask(&mut channel(&server.address, &anonymous).unwrap(), "/").await.unwrap(), "nobody");
    let joining = ClientTls::joining(sha256(mesh.root.certificate()), Expect::Hub).unwrap();
    assert_eq!(ask(&mut channel(&server.address, &joining).unwrap(), "/").await.unwrap(), "nobody");
}

#[tokio::test]
async fn a_caller_refuses_whom_it_did_not_mean() {
    let mesh = Mesh::new();
    let server = serve(&mesh, anyone(), quick());
    let roots = [mesh.root.certificate().clone()];
    let other = ClientTls::anonymous(&roots, Expect::Relay(A)).unwrap();
    let error = format!("{:?}", connect(&server.address, &other).await.unwrap_err());
    assert!(error.contains("it speaks for hub, wanted the relay"), "{error}");
    let pinned = ClientTls::joining([7; 32], Expect::Hub).unwrap();
    let error = format!("{:?}", connect(&server.address, &pinned).await.unwrap_err());
    let got: String = sha256(mesh.root.certificate()).iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(error.contains(&"07".repeat(32)) && error.contains(&got), "both hashes are shown: {error}");
    let foreign = ClientTls::anonymous(&[Mesh::new().root.certificate().clone()], Expect::Hub).unwrap();
    assert!(connect(&server.address, &foreign).await.is_err());
}

#[tokio::test]
async fn a_foreign_certificate_is_refused() {
    let (mesh, other) = (Mesh::new(), Mesh::new());
    let server = serve(&mesh, anyone(), quick());
    // It trusts our hub, and shows a certificate of another mesh with the same name.
    let key = PrivateKey::generate().unwrap();
    let leaf = other.root.issue(
        &key.public().unwrap(),
        &Principal::Relay(A),
        &[],
        Validity::starting(SystemTime::now(), HOUR),
    );
    let roots = vec![other.root.certificate().clone(), mesh.root.certificate().clone()];
    let credentials = Credentials::new(vec![leaf.unwrap()], key, roots).unwrap().shared();
    let mut channel = channel(&server.address, &ClientTls::mutual(credentials, Expect::Hub).unwrap()).unwrap();
    assert!(ask(&mut channel, "/").await.is_err());
}

#[tokio::test]
async fn who_is_revoked_is_cut_off_at_once() {
    let mesh = Mesh::new();
    let member = Arc::new(AtomicBool::new(true));
    let guard = {
        let member = member.clone();
        Guard::new(move |_| if member.load(Ordering::SeqCst) { Ok(()) } else { Err("removed".into()) })
    };
    let server = serve(&mesh, Arc::new(guard), quick());
    let tls = ClientTls::mutual(mesh.shared(&Principal::Relay(A), HOUR), Expect::Hub).unwrap();
    let mut known = channel(&server.address, &tls).unwrap();
    assert!(ask(&mut known, "/").await.is_ok());
    let mut waiting = known.clone();
    let live = tokio::spawn(async move { ask(&mut waiting, "/wait").await });
    member.store(false, Ordering::SeqCst);
    let cut = timeout(SOON, live).await.expect("the live stream ends").unwrap();
    assert!(cut.is_err());
    assert!(ask(&mut known, "/").await.is_err(), "nor may it come back");
}

#[tokio::test]
async fn an_expired_certificate_ends_its_connection_unless_renewed() {
    let mesh = Mesh::new();
    for renews in [false, true] {
        let guard = anyone();
        let server = serve(&mesh, guard.clone(), quick());
        let shared = mesh.shared(&Principal::Relay(A), Duration::from_secs(4));
        let expiring = shared.load().peer().clone();
        let mut known = channel(&server.address, &ClientTls::mutual(shared.clone(), Expect::Hub).unwrap()).unwrap();
        assert!(ask(&mut known, "/").await.is_ok());
        if renews {
            guard.renewed(&expiring, SystemTime::now() + HOUR);
        }
        let mut waiting = known.clone();
        let live = tokio::spawn(async move { ask(&mut waiting, "/wait").await });
        let ended = if renews {
            // Well past the old certificate's end.
            let left = expiring.not_after.duration_since(SystemTime::now()).unwrap_or_default();
            timeout(left + Duration::from_secs(1), live).await
        } else {
            timeout(SOON, live).await
        };
        assert_eq!(ended.is_ok(), !renews);
        // A new connection shows the old certificate: it is known as expired, and as nothing else.
        if !renews {
            assert!(ask(&mut known, "/").await.unwrap().starts_with("expired cluster/"));
            let key = shared.load().key().clone();
            let renewed = mesh.credentials(&Principal::Relay(A), &key, Validity::starting(SystemTime::now(), HOUR));
            shared.store(Arc::new(renewed));
            let mut again = channel(&server.address, &ClientTls::mutual(shared, Expect::Hub).unwrap()).unwrap();
            assert_eq!(ask(&mut again, "/").await.unwrap(), Principal::Relay(A).to_string());
        }
    }
}

#[tokio::test]
async fn silence_at_the_door_holds_up_nobody() {
    let mesh = Mesh::new();
    let limits = Limits { handshakes: 1, handshake_timeout: Duration::from_millis(100), ..quick() };
    let server = serve(&mesh, anyone(), limits);
    // One that never says a word, one that talks rubbish.
    let mut silent = TcpStream::connect(&server.address).await.unwrap();
    let mut rubbish = TcpStream::connect(&server.address).await.unwrap();
    rubbish.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let tls = ClientTls::mutual(mesh.shared(&Principal::Relay(A), HOUR), Expect::Hub).unwrap();
    assert!(timeout(SOON, ask(&mut channel(&server.address, &tls).unwrap(), "/")).await.unwrap().is_ok());
    let closed = timeout(SOON, silent.read(&mut [0; 1])).await.expect("it is hung up on");
    assert!(matches!(closed, Ok(0) | Err(_)));
}

#[tokio::test]
async fn who_says_nothing_or_not_all_takes_nobodys_turn() {
    let mesh = Mesh::new();
    // Long enough that only a turn that was never taken, or given back, lets anybody in.
    let long = Duration::from_secs(3600);
    let limits = Limits { handshakes: 1, turn: Duration::from_millis(50), handshake_timeout: long, ..quick() };
    let server = serve(&mesh, anyone(), limits);
    let _silent = TcpStream::connect(&server.address).await.unwrap();
    // A true hello, after which nothing comes.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let between = listener.local_addr().unwrap().to_string();
    let tls = ClientTls::mutual(mesh.shared(&Principal::Relay(A), HOUR), Expect::Hub).unwrap();
    let (dialling, address) = (tls.clone(), between.clone());
    let dialled = tokio::spawn(async move { drop(dial(&address.parse().unwrap(), &dialling).await) });
    let mut hello = vec![0; 4096];
    let (mut caller, _) = listener.accept().await.unwrap();
    let len = caller.read(&mut hello).await.unwrap();
    let mut halfway = TcpStream::connect(&server.address).await.unwrap();
    halfway.write_all(&hello[..len]).await.unwrap();
    assert!(halfway.read(&mut [0; 1]).await.unwrap() == 1, "the server has answered");
    assert!(timeout(SOON, ask(&mut channel(&server.address, &tls).unwrap(), "/")).await.unwrap().is_ok());
    dialled.abort();
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_one_in_use_is_not() {
    let mesh = Mesh::new();
    let server = serve(&mesh, anyone(), Limits { idle: Duration::from_millis(100), ..quick() });
    let tls = ClientTls::anonymous(&[mesh.root.certificate().clone()], Expect::Hub).unwrap();
    let mut used = connect(&server.address, &tls).await.unwrap();
    let waits = tokio::spawn(async move { ask(&mut used, "/wait").await });
    // One that never says what it wants, one that has been answered.
    let mut mute = dial(&server.address.parse().unwrap(), &tls).await.unwrap();
    let read = timeout(SOON, mute.read(&mut [0; 64])).await.expect("it is hung up on");
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    let stream = dial(&server.address.parse().unwrap(), &tls).await.unwrap();
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    let ended = tokio::spawn(connection);
    let request = Request::get("https://hub/").body(()).unwrap();
    let (answer, _) = sender.send_request(request, true).unwrap();
    drop(answer.await.unwrap());
    assert!(timeout(SOON, ended).await.expect("it is told to go").unwrap().is_ok());
    assert!(!waits.is_finished(), "a request in flight is use");
}

#[tokio::test]
async fn one_address_cannot_take_every_place() {
    let mesh = Mesh::new();
    let server = serve(&mesh, anyone(), Limits { strangers: 3, ..quick() });
    let anonymous = ClientTls::anonymous(&[mesh.root.certificate().clone()], Expect::Hub).unwrap();
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(connect(&server.address, &anonymous).await.unwrap());
    }
    // Whoever shows a certificate does not count.
    let tls = ClientTls::mutual(mesh.shared(&Principal::Relay(A), HOUR), Expect::Hub).unwrap();
    for _ in 0..5 {
        let mut known = connect(&server.address, &tls).await.unwrap();
        assert!(ask(&mut known, "/").await.is_ok());
        held.push(known);
    }
    held.push(connect(&server.address, &anonymous).await.unwrap());
    assert!(connect(&server.address, &anonymous).await.is_err(), "a fourth");
    held.remove(0);
    let again = async {
        while connect(&server.address, &anonymous).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, again).await.expect("a place is given back");
}

#[tokio::test]
async fn one_peer_cannot_take_every_place_either() {
    let mesh = Mesh::new();
    let server = serve(&mesh, anyone(), Limits { of_one_peer: 2, ..quick() });
    let tls = |cluster| ClientTls::mutual(mesh.shared(&Principal::Relay(cluster), HOUR), Expect::Hub).unwrap();
    let (greedy, other) = (tls(A), tls(Uid([0xbb; 16])));
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut one = connect(&server.address, &greedy).await.unwrap();
        assert!(ask(&mut one, "/").await.is_ok());
        held.push(one);
    }
    assert!(ask(&mut channel(&server.address, &greedy).unwrap(), "/").await.is_err(), "a third");
    assert!(ask(&mut channel(&server.address, &other).unwrap(), "/").await.is_ok(), "another peer");
    held.clear();
    let again = async {
        while ask(&mut channel(&server.address, &greedy).unwrap(), "/").await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, again).await.expect("a place is given back");
}

#[tokio::test]
async fn connections_are_bounded_and_their_places_given_back() {
    let mesh = Mesh::new();
    let server = serve(&mesh, anyone(), Limits { connections: 1, ..quick() });
    let tls = ClientTls::mutual(mesh.shared(&Principal::Relay(A), HOUR), Expect::Hub).unwrap();
    let mut first = connect(&server.address, &tls).await.unwrap();
    assert!(ask(&mut first, "/").await.is_ok());
    let mut second = channel(&server.address, &tls).unwrap();
    let waits = tokio::spawn(async move { ask(&mut second, "/").await });
    assert!(ask(&mut first, "/").await.is_ok());
    assert!(!waits.is_finished());
    drop(first);
    assert!(timeout(SOON, waits).await.unwrap().unwrap().is_ok());
}

#[tokio::test]
async fn a_flood_of_resets_ends_its_own_connection_only() {
    let mesh = Mesh::new();
    // So few that no machine is too slow to flood.
    let server = serve(&mesh, anyone(), Limits { requests: 20, ..quick() });
    let tls = ClientTls::mutual(mesh.shared(&Principal::Relay(A), HOUR), Expect::Hub).unwrap();
    let mut bystander = channel(&server.address, &tls).unwrap();
    assert!(ask(&mut bystander, "/").await.is_ok());

    let stream = dial(&server.address.parse().unwrap(), &tls).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    let ended = tokio::spawn(connection);
    let flood = async {
        let mut sender = sender;
        for _ in 0..100_000 {
            sender = match sender.ready().await {
                Ok(sender) => sender,
                Err(_) => return true,
            };
            let request = Request::get("https://hub/wait").body(()).unwrap();
            match sender.send_request(request, true) {
                Ok((_, mut stream)) => {
                    // Not before it is on its way, else it is never sent.
                    tokio::task::yield_now().await;
                    stream.send_reset(h2::Reason::CANCEL);
                }
                Err(_) => return true,
            }
        }
        false
    };
    assert!(timeout(SOON, flood).await.unwrap(), "the flood is not endured");
    assert!(timeout(SOON, ended).await.unwrap().unwrap().is_err());
    assert!(ask(&mut bystander, "/").await.is_ok());
}

#[tokio::test]
async fn stopping_lets_nobody_in_and_ends() {
    let mesh = Mesh::new();
    let server = serve(&mesh, anyone(), quick());
    let tls = ClientTls::mutual(mesh.shared(&Principal::Relay(A), HOUR), Expect::Hub).unwrap();
    let mut known = channel(&server.address, &tls).unwrap();
    assert!(ask(&mut known, "/").await.is_ok());
    let live = tokio::spawn(async move { ask(&mut known, "/wait").await });
    server.stop.cancel();
    timeout(SOON, server.served).await.expect("it ends although a stream is open").unwrap();
    assert!(timeout(SOON, live).await.unwrap().unwrap().is_err());
    assert!(connect(&server.address, &tls).await.is_err());
}
