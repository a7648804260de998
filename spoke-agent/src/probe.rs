//! Whether packets pass between the pods of two clusters, and with which source address they arrive.
//!
//! Who asks says which address it has; who answers says with which it came, and asks back at that address and the same port.
//! A line of JSON each way. What is told is where the asker came from, and whether the address that it names, one of a cluster
//! of the fleet, answers at this one port, so nobody needs to prove who they are.
use std::{io, net::IpAddr, sync::Arc, time::Duration};

use axle_core::{
    log::Contents,
    model::{Kind, Resource},
};
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};

/// The port in clusters.
pub const PORT: u16 = 7446;
/// How long a connection may take to be made, and a line to come.
const PATIENCE: Duration = Duration::from_secs(2);
/// The longest line that is read.
const LONGEST: u64 = 1_024;
/// Connections at a time.
const CONNECTIONS: usize = 16;
/// Those of one address: a cluster's two relays in both families, behind one address.
const OF_ONE: usize = 4;
/// Why an address that no cluster of the fleet has is not asked back.
const OUTSIDE: &str = "outside";
/// The rest after an error of the system.
const REST: Duration = Duration::from_millis(50);

/// What became of the packets of one direction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Way {
    /// They arrived.
    Passed {
        /// The sender's own address.
        from: IpAddr,
        /// The address with which they arrived.
        seen: IpAddr,
    },
    /// There was no connection.
    Failed {
        /// `silence`, `refused`, `outside` (no cluster has the address, so it was not tried), or the system's word.
        why: String,
    },
}

/// What a probe found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Whom it asked.
    pub to: IpAddr,
    /// The way there.
    pub there: Way,
    /// The way back, as a connection of its own; absent if nobody answered.
    pub back: Option<Way>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Question {
    from: IpAddr,
    back: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    seen: IpAddr,
    back: Option<Way>,
}

/// Which addresses a cluster of the fleet has, as the relay knows at the moment; before it knows of the fleet, none.
#[derive(Clone, Default)]
pub struct Fleet(Arc<RwLock<Option<Box<Has>>>>);

type Has = dyn Fn(IpAddr) -> bool + Send + Sync;

impl Fleet {
    /// From now on this says so.
    pub fn known_by(&self, has: impl Fn(IpAddr) -> bool + Send + Sync + 'static) {
        *self.0.write() = Some(Box::new(has));
    }

    fn has(&self, address: IpAddr) -> bool {
        self.0.read().as_ref().is_some_and(|has| has(address))
    }
}

/// Whether a cluster of this log has the address.
#[must_use]
pub fn has(log: &Contents, address: IpAddr) -> bool {
    log.list(Kind::Cluster).any(|object| match &*object.resource {
        Resource::Cluster(cluster) => cluster.prefixes.iter().any(|prefix| prefix.contains(&address)),
        _ => false,
    })
}

/// Answers for ever.
pub async fn serve(listener: TcpListener, fleet: Fleet) {
    let port = listener.local_addr().map_or(PORT, |address| address.port());
    let turns = Arc::new(Semaphore::new(CONNECTIONS));
    let served = Arc::new(Mutex::new(Vec::new()));
    while let Ok(turn) = turns.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let (peer, fleet, served) = (peer.ip().to_canonical(), fleet.clone(), served.clone());
                if enters(&mut served.lock(), peer) {
                    tokio::spawn(async move {
                        // What goes wrong on a connection ends it.
                        let _ = answer(stream, peer, port, &fleet).await;
                        leaves(&mut served.lock(), peer);
                        drop(turn);
                    });
                }
            }
            Err(_) => tokio::time::sleep(REST).await,
        }
    }
}

/// One more of this address, if it has not too many already.
fn enters(served: &mut Vec<IpAddr>, peer: IpAddr) -> bool {
    let enters = served.iter().filter(|other| **other == peer).count() < OF_ONE;
    served.extend(enters.then_some(peer));
    enters
}

fn leaves(served: &mut Vec<IpAddr>, peer: IpAddr) {
    if let Some(at) = served.iter().position(|other| *other == peer) {
        served.swap_remove(at);
    }
}

/// Asks whoever answers at `to`, and has itself asked back.
pub async fn probe(to: IpAddr, port: u16) -> Found {
    match ask(to, port, true).await {
        Ok((from, Answer { seen, back })) => Found { to, there: Way::Passed { from, seen }, back },
        Err(error) => Found { to, there: failed(&error), back: None },
    }
}

async fn answer(mut stream: TcpStream, seen: IpAddr, port: u16, fleet: &Fleet) -> io::Result<()> {
    let Question { from, back } = line(&mut stream, PATIENCE).await?;
    let from = from.to_canonical();
    let back = match back && may_be_asked(from, seen) {
        true if !fleet.has(from) => Some(Way::Failed { why: OUTSIDE.into() }),
        true => Some(match ask(from, port, false).await {
            Ok((own, Answer { seen, .. })) => Way::Passed { from: own, seen },
            Err(error) => failed(&error),
        }),
        false => None,
    };
    say(&mut stream, &Answer { seen, back }).await
}

/// The asker's own address, and what it was told.
async fn ask(to: IpAddr, port: u16, back: bool) -> io::Result<(IpAddr, Answer)> {
    let mut stream = timeout(PATIENCE, TcpStream::connect((to, port))).await??;
    let from = stream.local_addr()?.ip().to_canonical();
    say(&mut stream, &Question { from, back }).await?;
    // Who asks back has as long as we had, twice.
    let answer = line(&mut stream, PATIENCE * 3).await?;
    Ok((from, answer))
}

/// Where the source was rewritten the asker alone knows its address. Nothing else of a machine is to be reached by that.
fn may_be_asked(from: IpAddr, seen: IpAddr) -> bool {
    // An address of IPv4 leads to the same place in the clothes of IPv6.
    let from = from.to_canonical();
    let ordinary = match from {
        IpAddr::V4(v4) => !(v4.is_loopback() || v4.is_link_local() || v4.is_multicast() || v4.is_broadcast()),
        IpAddr::V6(v6) => !(v6.is_loopback() || v6.is_unicast_link_local() || v6.is_multicast()),
    };
    from == seen || ordinary && !from.is_unspecified()
}

async fn say(stream: &mut TcpStream, what: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_string(what)? + "\n";
    timeout(PATIENCE, stream.write_all(text.as_bytes())).await?
}

async fn line<T: DeserializeOwned>(stream: &mut TcpStream, patience: Duration) -> io::Result<T> {
    let mut text = String::new();
    timeout(patience, BufReader::new(stream.take(LONGEST)).read_line(&mut text)).await??;
    Ok(serde_json::from_str(&text)?)
}

fn failed(error: &io::Error) -> Way {
    let why = match error.kind() {
        io::ErrorKind::TimedOut => "silence".into(),
        io::ErrorKind::ConnectionRefused => "refused".into(),
        _ => error.to_string(),
    };
    Way::Failed { why }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use axle_core::{
        log::{Entry, Position},
        model::{Action, Cluster, Labels, Name, Scope, Uid},
    };
    use axle_proto::convert;

    use super::*;
    use crate::listener::listen;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    async fn served() -> (u16, tokio::task::JoinHandle<()>) {
        let fleet = Fleet::default();
        fleet.known_by(|_| true);
        served_in(fleet).await
    }

    async fn served_in(fleet: Fleet) -> (u16, tokio::task::JoinHandle<()>) {
        let listener = listen((HERE, 0).into()).unwrap();
        let port = listener.local_addr().unwrap().port();
        (port, tokio::spawn(serve(listener, fleet)))
    }

    #[tokio::test]
    async fn both_ways_are_told_apart_with_the_addresses_that_were_seen() {
        let (port, _served) = served().await;
        let way = Way::Passed { from: HERE, seen: HERE };
        assert_eq!(probe(HERE, port).await, Found { to: HERE, there: way.clone(), back: Some(way) });
    }

    #[tokio::test]
    async fn what_is_wrong_is_said() {
        let (port, server) = served().await;
        let mut stream = TcpStream::connect((HERE, port)).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text).await;
        assert!(text.is_empty(), "who speaks something else is told nothing");
        server.abort();
        let _ = server.await;
        assert_eq!(probe(HERE, port).await.there, Way::Failed { why: "refused".into() });
    }

    #[tokio::test]
    async fn who_is_in_no_cluster_is_not_asked_back() {
        let fleet = Fleet::default();
        let (port, _served) = served_in(fleet.clone()).await;
        let outside = Some(Way::Failed { why: OUTSIDE.into() });
        assert_eq!(probe(HERE, port).await.back, outside, "nothing is known of the fleet");
        fleet.known_by(|address| address != HERE);
        assert_eq!(probe(HERE, port).await.back, outside);
        fleet.known_by(|address| address == HERE);
        assert_eq!(probe(HERE, port).await.back, Some(Way::Passed { from: HERE, seen: HERE }));
    }

    #[tokio::test]
    async fn nobody_keeps_others_out_by_connections_that_say_nothing() {
        let (port, _served) = served().await;
        let mut idle = Vec::new();
        for _ in 0..2 * CONNECTIONS {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
            idle.push(socket.connect((HERE, port).into()).await.unwrap());
        }
        let found = timeout(PATIENCE / 2, probe(HERE, port)).await.expect("before they end by themselves");
        assert!(matches!(found.there, Way::Passed { .. }), "{found:?}");
        // Those that were let in end as well, and count no more.
        for stream in &mut idle {
            let _ = timeout(PATIENCE * 2, stream.read_u8()).await.expect("it ends");
        }
    }

    /// Written as one of IPv6 it is the same address.
    #[tokio::test]
    async fn no_other_way_of_writing_an_address_leads_to_this_machine() {
        let listener = listen("[::]:0".parse().unwrap()).unwrap();
        let port = listener.local_addr().unwrap().port();
        let _served = tokio::spawn(serve(listener, Fleet::default()));
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        say(&mut stream, &Question { from: "::ffff:127.0.0.2".parse().unwrap(), back: true }).await.unwrap();
        let answer: Answer = line(&mut stream, PATIENCE * 3).await.unwrap();
        assert_eq!((answer.seen, answer.back), (HERE, None));
    }

    #[test]
    fn addresses_of_the_fleet_are_those_in_its_clusters_prefixes() {
        let cluster = Cluster {
            name: Name::new("oslo").unwrap(),
            region: String::new(),
            labels: Labels::new(),
            prefixes: vec!["10.1.0.0/16".parse().unwrap(), "fd00:1::/48".parse().unwrap()],
            default_action: Action::Accept,
            draining: false,
        };
        let object = convert::object(Resource::Cluster(cluster), Scope::Fleet, Uid([1; 16]), 1);
        let entry = Entry { changed: 1, object };
        let log = Contents::restore(Position::default(), None, vec![entry], &[], Vec::new());
        for (address, wanted) in [("10.1.0.7", true), ("fd00:1::7", true), ("10.2.0.7", false), ("fd00:2::7", false)] {
            assert_eq!(has(&log, address.parse().unwrap()), wanted, "{address}");
        }
    }

    #[test]
    fn only_ordinary_addresses_are_asked_back() {
        let seen = "10.255.0.4".parse().unwrap();
        for (from, may) in [
            ("10.2.0.7", true),
            ("fd00:2::7", true),
            ("127.0.0.1", false),
            ("::1", false),
            ("169.254.169.254", false),
            ("fe80::1", false),
            ("0.0.0.0", false),
            ("::ffff:10.2.0.7", true),
            ("::ffff:127.0.0.1", false),
            ("::ffff:169.254.169.254", false),
            ("::ffff:0.0.0.0", false),
            ("ff02::1", false),
        ] {
            assert_eq!(may_be_asked(from.parse().unwrap(), seen), may, "{from}");
        }
        assert!(may_be_asked(HERE, HERE));
    }
}
