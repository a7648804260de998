//! From a question's bytes to its answer's.
use axle_core::{
    model::Family,
    service::dns::{Answer, Asked, DOMAIN, Record},
};
use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, ResponseCode},
    rr::{
        DNSClass, Name, RData, Record as Resource, RecordType,
        rdata::{A, AAAA, SOA, SRV, TXT},
    },
};

/// How long an answer may be kept, in seconds: as long as Kubernetes' own names.
const TTL: u32 = 5;
/// The longest datagram that no way through the network divides (DNS flag day 2020).
const DATAGRAM: u16 = 1_232;
/// The longest datagram for who does not say more (RFC 1035).
const SHORT_DATAGRAM: u16 = 512;

/// How an answer travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Datagram,
    Stream,
}

/// The answer to a question; none to what is no question.
pub(super) fn answer(
    question: &[u8],
    transport: Transport,
    resolve: &dyn Fn(&str, Asked) -> Option<Answer>,
) -> Option<Vec<u8>> {
    let Ok(asked) = Message::from_vec(question) else { return malformed(question) };
    let head = &asked.metadata;
    if head.message_type != MessageType::Query {
        return None;
    }
    let mut reply = Message::response(head.id, head.op_code);
    reply.metadata.recursion_desired = head.recursion_desired;
    reply.add_queries(asked.queries.iter().cloned());
    if asked.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(DATAGRAM);
        reply.set_edns(edns);
    }
    reply.metadata.response_code = match (asked.queries.as_slice(), head.op_code) {
        _ if asked.edns.as_ref().is_some_and(|edns| edns.version() > 0) => ResponseCode::BADVERS,
        (_, op_code) if op_code != OpCode::Query => ResponseCode::NotImp,
        ([one], _) if one.query_class() != DNSClass::IN => ResponseCode::Refused,
        ([one], _) => fill(&mut reply, one.name(), one.query_type(), resolve),
        _ => ResponseCode::FormErr,
    };
    let most = match (transport, &asked.edns) {
        (Transport::Stream, _) => u16::MAX,
        (Transport::Datagram, Some(edns)) => edns.max_payload().clamp(SHORT_DATAGRAM, DATAGRAM),
        (Transport::Datagram, None) => SHORT_DATAGRAM,
    };
    fit(reply, usize::from(most), transport)
}

/// Says that a question cannot be read, if it can be read that far.
fn malformed(question: &[u8]) -> Option<Vec<u8>> {
    let [high, low, flags, ..] = question else { return None };
    let is_question = question.len() >= 12 && flags & 0x80 == 0;
    let id = u16::from_be_bytes([*high, *low]);
    is_question.then(|| Message::error_msg(id, OpCode::Query, ResponseCode::FormErr).to_vec().ok())?
}

fn fill(
    reply: &mut Message,
    name: &Name,
    kind: RecordType,
    resolve: &dyn Fn(&str, Asked) -> Option<Answer>,
) -> ResponseCode {
    let asked = match kind {
        RecordType::A => Asked::Address(Family::V4),
        RecordType::AAAA => Asked::Address(Family::V6),
        RecordType::SRV => Asked::Service,
        RecordType::TXT => Asked::Text,
        _ => Asked::Other,
    };
    let Some(answer) = resolve(&name.to_ascii(), asked) else { return ResponseCode::ServFail };
    let (code, (records, addresses)) = match answer {
        Answer::Elsewhere => return ResponseCode::Refused,
        Answer::NoName => (ResponseCode::NXDomain, (Vec::new(), Vec::new())),
        Answer::Records { records, addresses } => (ResponseCode::NoError, (records, addresses)),
    };
    reply.metadata.authoritative = true;
    let found = records.iter().filter_map(data).map(|data| Resource::from_rdata(name.clone(), TTL, data));
    reply.add_answers(found.collect::<Vec<_>>());
    let more = addresses.iter().filter_map(|(name, address)| {
        let name = Name::from_ascii(format!("{name}.")).ok()?;
        Some(Resource::from_rdata(name, TTL, data(&Record::Address(*address))?))
    });
    reply.add_additionals(more.collect::<Vec<_>>());
    if records.is_empty() {
        reply.add_authorities(authority());
    }
    code
}

fn data(record: &Record) -> Option<RData> {
    Some(match record {
        Record::Address(std::net::IpAddr::V4(address)) => RData::A(A(*address)),
        Record::Address(std::net::IpAddr::V6(address)) => RData::AAAA(AAAA(*address)),
        Record::Service { port, target } => {
            RData::SRV(SRV::new(0, 100, *port, Name::from_ascii(format!("{target}.")).ok()?))
        }
        Record::Text(text) => RData::TXT(TXT::new(vec![(*text).to_owned()])),
    })
}

/// For how long it may be kept that there is nothing (RFC 2308).
fn authority() -> Option<Resource> {
    let zone = Name::from_ascii(format!("{DOMAIN}.")).ok()?;
    let server = Name::from_ascii(format!("ns.dns.{DOMAIN}.")).ok()?;
    let person = Name::from_ascii(format!("hostmaster.{DOMAIN}.")).ok()?;
    let data = SOA::new(server, person, 1, 7_200, 1_800, 86_400, TTL);
    Some(Resource::from_rdata(zone, TTL, RData::SOA(data)))
}

/// The reply in at most so many bytes: first without what was not asked for; then a datagram sends the asker to TCP, and a
/// stream holds some of a headless service's backends, which is allowed.
fn fit(mut reply: Message, most: usize, transport: Transport) -> Option<Vec<u8>> {
    // What is longer than any message is cut while it is written, and says so.
    let is_cut = |bytes: &[u8]| bytes.get(2).is_some_and(|flags| flags & 0x02 != 0);
    loop {
        match reply.to_vec() {
            Ok(bytes) if bytes.len() <= most && is_cut(&bytes) == reply.metadata.truncation => return Some(bytes),
            _ if !reply.additionals.is_empty() => reply.additionals.clear(),
            _ if reply.answers.is_empty() => return None,
            _ if transport == Transport::Datagram => {
                reply.answers.clear();
                reply.metadata.truncation = true;
            }
            _ => reply.answers.truncate(reply.answers.len() / 2),
        }
    }
}
