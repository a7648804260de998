//! Real questions over real sockets.
use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr},
};

use axle_core::{model::Family, service::dns::Record};
use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{DNSClass, Name, RData, RecordType},
};

use super::*;

/// As many backends as `many` says below that name, else one.
fn names(name: &str, asked: Asked) -> Option<Answer> {
    let many = |count: u32| (1..=count).map(|n| IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + n)));
    let some = |records| Answer::Records { records, addresses: vec![] };
    Some(match (name, asked) {
        ("later.clusterset.local.", _) => return None,
        ("web.clusterset.local.", Asked::Address(Family::V4)) => some(many(1).map(Record::Address).collect()),
        ("many.clusterset.local.", Asked::Address(Family::V4)) => some(many(200).map(Record::Address).collect()),
        ("more.clusterset.local.", Asked::Address(Family::V4)) => some(many(9_000).map(Record::Address).collect()),
        ("_p._tcp.web.clusterset.local.", Asked::Service) => Answer::Records {
            records: vec![Record::Service { port: 80, target: "web.clusterset.local".into() }],
            addresses: vec![("web.clusterset.local".into(), "fd00::1".parse().unwrap())],
        },
        ("dns-version.clusterset.local.", Asked::Text) => some(vec![Record::Text("1.0.0")]),
        ("web.clusterset.local.", _) => some(vec![]),
        (name, _) if name.ends_with("clusterset.local.") => Answer::NoName,
        _ => Answer::Elsewhere,
    })
}

/// A server for as long as it is held, and how to ask it.
struct Asker {
    address: SocketAddr,
    _tasks: Tasks,
}

impl Asker {
    async fn new() -> Self {
        let mut tasks = Tasks::default();
        let address = serve("127.0.0.1:0".parse().unwrap(), Arc::new(names), &mut tasks).await.unwrap();
        Self { address, _tasks: tasks }
    }

    fn bytes_over_udp(&self, question: &[u8]) -> Option<Vec<u8>> {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket.connect(self.address).unwrap();
        socket.send(question).unwrap();
        let mut answer = vec![0; 65_536];
        let length = socket.recv(&mut answer).ok()?;
        answer.truncate(length);
        Some(answer)
    }

    fn over_udp(&self, question: &Message) -> Message {
        let answer = self.bytes_over_udp(&question.to_vec().unwrap()).expect("an answer");
        let most = question.edns.as_ref().map_or(512, |edns| usize::from(edns.max_payload().min(1_232)));
        assert!(answer.len() <= most, "{} of {most} bytes", answer.len());
        Message::from_vec(&answer).unwrap()
    }

    /// Several questions on one connection.
    fn over_tcp(&self, questions: &[Message]) -> Vec<Message> {
        let mut stream = std::net::TcpStream::connect(self.address).unwrap();
        let one = |question: &Message| {
            let question = question.to_vec().unwrap();
            stream.write_all(&u16::try_from(question.len()).unwrap().to_be_bytes()).unwrap();
            stream.write_all(&question).unwrap();
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut answer).unwrap();
            Message::from_vec(&answer).unwrap()
        };
        questions.iter().map(one).collect()
    }
}

fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(4_711, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn with_payload(mut message: Message, bytes: u16) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(bytes);
    message.set_edns(edns);
    message
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_are_answered_over_both() {
    let asker = Asker::new().await;
    let cases = [
        ("web.clusterset.local.", RecordType::A, ResponseCode::NoError, 1),
        ("web.clusterset.local.", RecordType::AAAA, ResponseCode::NoError, 0),
        ("web.clusterset.local.", RecordType::MX, ResponseCode::NoError, 0),
        ("_p._tcp.web.clusterset.local.", RecordType::SRV, ResponseCode::NoError, 1),
        ("dns-version.clusterset.local.", RecordType::TXT, ResponseCode::NoError, 1),
        ("nobody.clusterset.local.", RecordType::A, ResponseCode::NXDomain, 0),
        ("example.com.", RecordType::A, ResponseCode::Refused, 0),
        ("later.clusterset.local.", RecordType::A, ResponseCode::ServFail, 0),
    ];
    for (name, kind, code, count) in cases {
        let asked = question(name, kind);
        for answer in asker.over_tcp(&[asked.clone(), asked.clone()]).into_iter().chain([asker.over_udp(&asked)]) {
            let case = format!("{name} {kind}: {answer:?}");
            assert_eq!((answer.metadata.response_code, answer.answers.len()), (code, count), "{case}");
            assert_eq!((answer.metadata.id, &answer.queries), (4_711, &asked.queries), "{case}");
            let in_domain = matches!(code, ResponseCode::NoError | ResponseCode::NXDomain);
            assert_eq!(answer.metadata.authoritative, in_domain, "{case}");
            let soa = answer.authorities.iter().any(|record| matches!(record.data, RData::SOA(_)));
            assert_eq!(soa, in_domain && count == 0, "what is not there may be kept for a while: {case}");
            assert!(answer.answers.iter().all(|record| record.ttl == 5), "{case}");
        }
    }
    let port = asker.over_udp(&question("_p._tcp.web.clusterset.local.", RecordType::SRV));
    let RData::SRV(srv) = &port.answers[0].data else { panic!("{port:?}") };
    assert_eq!((srv.port, srv.target.to_ascii().as_str()), (80, "web.clusterset.local."));
    assert_eq!(port.additionals.len(), 1, "the address comes along");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_long_for_a_datagram_comes_over_tcp() {
    let asker = Asker::new().await;
    let many = question("many.clusterset.local.", RecordType::A);
    for asked in [many.clone(), with_payload(many.clone(), 1_232), with_payload(many.clone(), 65_000)] {
        let answer = asker.over_udp(&asked);
        assert!(answer.metadata.truncation && answer.answers.is_empty(), "{answer:?}");
        assert_eq!(answer.edns.is_some(), asked.edns.is_some());
    }
    assert_eq!(asker.over_tcp(&[many])[0].answers.len(), 200);
    let more = &asker.over_tcp(&[question("more.clusterset.local.", RecordType::A)])[0];
    let unique: BTreeSet<String> = more.answers.iter().map(|record| record.data.to_string()).collect();
    assert!(unique.len() > 1_000 && unique.len() == more.answers.len(), "some of them: {}", unique.len());
    assert!(!more.metadata.truncation);
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_refused_and_answers_are_not_answered() {
    let asker = Asker::new().await;
    let code = |message: &Message| asker.over_udp(message).metadata.response_code;
    let web = || question("web.clusterset.local.", RecordType::A);
    let mut two = web();
    two.add_query(Query::query(Name::root(), RecordType::A));
    assert_eq!(code(&two), ResponseCode::FormErr);
    let mut chaos = web();
    chaos.queries[0].set_query_class(DNSClass::CH);
    assert_eq!(code(&chaos), ResponseCode::Refused);
    let mut notify = web();
    notify.metadata.op_code = OpCode::Notify;
    assert_eq!(code(&notify), ResponseCode::NotImp);
    let mut newer = with_payload(web(), 1_232);
    newer.edns.as_mut().unwrap().set_version(1);
    assert_eq!(u16::from(code(&newer)), 16, "BADVERS, whose number is BADSIG's too");

    let mut cut = web().to_vec().unwrap();
    cut.truncate(20);
    let answer = Message::from_vec(&asker.bytes_over_udp(&cut).expect("an answer")).unwrap();
    assert_eq!((answer.metadata.id, answer.metadata.response_code), (4_711, ResponseCode::FormErr));
    let mut reply = web();
    reply.metadata.message_type = MessageType::Response;
    let resolve = |_: &str, _| panic!("nobody asked");
    for silent in [&reply.to_vec().unwrap()[..], &[][..], &[0; 11][..], &[0xff; 40][..]] {
        assert_eq!(answer_to(silent, &resolve), None, "{silent:?}");
    }
    assert_eq!(code(&web()), ResponseCode::NoError, "it is still there");
}

fn answer_to(question: &[u8], resolve: &dyn Fn(&str, Asked) -> Option<Answer>) -> Option<Vec<u8>> {
    message::answer(question, Transport::Datagram, resolve)
}

#[tokio::test]
async fn an_address_that_cannot_be_had_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = serve(address, Arc::new(names), &mut Tasks::default()).await.unwrap_err();
    let text = format!("{error:#}");
    assert!(text.contains("--dns-listen") && text.contains(&address.to_string()), "{text}");
}

#[tokio::test]
async fn an_address_that_is_free_later_is_answered_then() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let problems = Problems::default();
    let mut said = problems.watch();
    let serving = tokio::spawn(keep_serving(vec![address], Arc::new(names), problems));
    said.wait_for(|said| said.values().flatten().any(|why| why.contains(&address.to_string()))).await.unwrap();
    drop(taken);
    let well = said.wait_for(|said| said.values().all(Vec::is_empty));
    tokio::time::timeout(AGAIN * 4, well).await.unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_ok());
    serving.abort();
}
