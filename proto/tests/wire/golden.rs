use std::{
    collections::BTreeMap,
    fmt::Debug,
    fs,
    path::{Path, PathBuf},
};

use axle_core::{
    codec::Codec,
    log::Hash,
    refusal::Refusal,
    session::{Ack, Marker},
};
use axle_proto::{
    convert::{self, Wire},
    v1,
};
use bytes::Bytes;
use prost::Message;

use super::sample;

/// Reads a message and writes it again.
type Reread = Box<dyn Fn(&[u8]) -> Vec<u8>>;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn hex(bytes: &[u8]) -> String {
    let lines = bytes.chunks(32).map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    lines.map(|line| line + "\n").collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn message<M: Message + Default + PartialEq + Debug + 'static>(sample: M) -> (Vec<u8>, Reread) {
    let bytes = sample.encode_to_vec();
    let reread = move |bytes: &[u8]| {
        let read = M::decode(bytes).expect("a golden message is read for ever");
        assert_eq!(read, sample, "and means what it meant");
        read.encode_to_vec()
    };
    (bytes, Box::new(reread))
}

/// Every message and record that is on disk or on the wire between versions.
fn samples() -> BTreeMap<String, (Vec<u8>, Reread)> {
    let mut all = BTreeMap::new();
    let mut add = |name: &str, sample: (Vec<u8>, Reread)| {
        assert!(all.insert(name.to_owned(), sample).is_none(), "{name} twice");
    };
    for (name, resource) in
        sample::resources().into_iter().chain(sample::later()).chain([("policy-test", sample::policy_test())])
    {
        let kind = resource.kind();
        let bytes = Wire.encode(&resource).to_vec();
        let reread = move |bytes: &[u8]| {
            let read = Wire.decode(kind, &Bytes::copy_from_slice(bytes)).expect("a golden resource is read for ever");
            assert_eq!(read, resource, "and means what it meant");
            Wire.encode(&read).to_vec()
        };
        add(name, (bytes, Box::new(reread)));
    }
    let record = sample::record();
    let reread = {
        let record = record.clone();
        move |bytes: &[u8]| {
            let wire = v1::Record::decode(bytes).expect("a golden record is read for ever");
            let read = convert::record_from_wire(wire).expect("and understood");
            assert_eq!(read, record);
            assert_eq!(read.hash_after(sample::position(1, 41).hash), read.hash, "and its hash still holds");
            convert::record_to_wire(&read).encode_to_vec()
        }
    };
    add("record", (convert::record_to_wire(&record).encode_to_vec(), Box::new(reread)));
    let reread = |bytes: &[u8]| {
        let wire = v1::Contents::decode(bytes).expect("a golden cache is read for ever");
        let read = convert::contents_from_wire(wire).expect("and understood");
        assert!(read.remembers(&read.position()));
        convert::contents_to_wire(&read).encode_to_vec()
    };
    add("contents", (convert::contents_to_wire(&sample::contents()).encode_to_vec(), Box::new(reread)));
    for (name, of) in hub_messages() {
        add(&format!("hub-{name}"), message(v1::HubMessage { deltas: vec![], message: Some(of) }));
    }
    for (name, of) in spoke_messages() {
        add(&format!("spoke-{name}"), message(v1::SpokeMessage { deltas: vec![], message: Some(of) }));
    }
    let deltas = vec![convert::delta_to_wire(&sample::delta())];
    add("hub-deltas", message(v1::HubMessage { deltas: deltas.clone(), message: None }));
    add("spoke-deltas", message(v1::SpokeMessage { deltas, message: None }));
    for (name, sample) in enrollment() {
        add(name, sample);
    }
    add("flows", message(flows()));
    all
}

fn wire_position() -> Option<v1::Position> {
    Some(convert::position_to_wire(&sample::position(1, 42)))
}

fn refusal() -> Refusal {
    let key = sample::objects()[0].key.clone();
    Refusal { key, revision: 42, code: "does_not_fit".into(), message: "why".into() }
}

fn ack() -> v1::Ack {
    convert::ack_to_wire(&Ack { received: sample::position(1, 42), refused: vec![refusal()] })
}

fn page() -> v1::SnapshotPage {
    let objects = sample::objects().iter().map(convert::envelope_to_wire).collect();
    v1::SnapshotPage { at: wire_position(), index: 3, objects }
}

fn marker() -> v1::SyncMarker {
    let origin = Some(sample::position(2, 17));
    convert::marker_to_wire(&Marker { at: sample::position(1, 42), count: 9, digest: Hash([8; 32]), origin })
}

fn hub_messages() -> Vec<(&'static str, v1::hub_message::Message)> {
    use v1::hub_message::Message as of;
    let features = vec!["later".into()];
    vec![
        ("welcome", of::Welcome(v1::Welcome { version: 1, features, head: wire_position(), resume: wire_position() })),
        ("page", of::Page(page())),
        ("marker", of::Marker(marker())),
        ("ack", of::Ack(ack())),
        ("heartbeat", of::Heartbeat(v1::Heartbeat { head: wire_position() })),
        ("goodbye", of::Goodbye(v1::Goodbye { reason: "drain".into(), retry_after_ms: 250 })),
        ("ask", of::Ask(v1::Ask {})),
    ]
}

fn spoke_messages() -> Vec<(&'static str, v1::spoke_message::Message)> {
    use v1::spoke_message::Message as of;
    let status = v1::NodeStatus {
        node: "n1".into(),
        agent_version: "0.1.0".into(),
        applied: wire_position(),
        digest: vec![7; 32].into(),
        refused: vec![convert::refusal_to_wire(&refusal())],
        connected: true,
        bypassed: true,
        workloads: 3,
        enforced_workloads: 2,
        problems: vec!["no such interface".into()],
        capacity: vec![v1::Capacity { table: "rows".into(), used: 5, limit: 9 }],
        held: None,
    };
    let hello = v1::Hello {
        min_version: 1,
        max_version: 2,
        features: vec!["later".into()],
        agent_version: "0.1.0".into(),
        node: "n1".into(),
        resume: wire_position(),
        head: wire_position(),
    };
    let held = v1::NodeStatus { held: wire_position(), ..status.clone() };
    vec![
        ("hello", of::Hello(hello)),
        ("page", of::Page(page())),
        ("marker", of::Marker(marker())),
        ("ack", of::Ack(ack())),
        ("heartbeat", of::Heartbeat(v1::Heartbeat { head: wire_position() })),
        ("statuses", of::Statuses(v1::NodeStatuses { statuses: vec![status] })),
        ("statuses-held", of::Statuses(v1::NodeStatuses { statuses: vec![held] })),
    ]
}

fn enrollment() -> Vec<(&'static str, (Vec<u8>, Reread))> {
    let bytes = |byte: u8| Bytes::from(vec![byte; 5]);
    let request = v1::EnrollRequest {
        token: "axle1.x.y".into(),
        name: "berlin".into(),
        csr: bytes(1),
        ca_csr: bytes(2),
        service_account_token: String::new(),
    };
    let (token, ca_csr) = (String::new(), Bytes::new());
    let node = v1::EnrollRequest { token, ca_csr, service_account_token: "eyJ.x.y".into(), ..request.clone() };
    let response = v1::EnrollResponse {
        chain: vec![bytes(3)],
        ca_chain: vec![bytes(4)],
        roots: vec![bytes(5)],
        cluster: bytes(6),
        cluster_name: "berlin".into(),
    };
    vec![
        ("enroll-request", message(request)),
        ("enroll-request-service-account", message(node)),
        ("renew-request", message(v1::RenewRequest { csr: bytes(1), ca_csr: bytes(2) })),
        ("enroll-response", message(response)),
    ]
}

fn flows() -> v1::FlowBatch {
    let end = |byte: u8| v1::FlowEnd {
        address: vec![10, 0, 0, byte].into(),
        cluster: "berlin".into(),
        namespace: "shop".into(),
        workload: "web-1".into(),
        identity: vec![byte; 16].into(),
        labels: [("app".into(), "web".into())].into(),
    };
    let rule = v1::RuleId {
        policy_uid: vec![1; 16].into(),
        policy: "web".into(),
        revision: 42,
        direction: "ingress".into(),
        index: 2,
        name: "deny".into(),
    };
    let flow = v1::Flow {
        time_ms: 1_700_000_000_789,
        cluster: vec![1; 16].into(),
        node: "n1".into(),
        direction: "ingress".into(),
        source: Some(end(1)),
        destination: Some(end(2)),
        protocol: "tcp".into(),
        port: 80,
        verdict: "deny".into(),
        rule: Some(rule),
        reason: "policy".into(),
        count: 4,
    };
    v1::FlowBatch { flows: vec![flow], dropped: 6 }
}

/// A golden file is written once, for a message that is new, by `AXLE_GOLDEN=write`; one that is there is never changed.
#[test]
fn everything_ever_written_is_still_read_and_written_alike() {
    let samples = samples();
    let write = std::env::var("AXLE_GOLDEN").is_ok_and(|value| value == "write");
    for (name, (bytes, reread)) in &samples {
        let path = directory().join(format!("{name}.hex"));
        if write && !path.exists() {
            fs::write(&path, hex(bytes)).unwrap();
        }
        let text = fs::read_to_string(&path).unwrap_or_else(|error| {
            panic!("{}: {error}; a new message gets its file by AXLE_GOLDEN=write", path.display())
        });
        let golden = unhex(&text);
        assert_eq!(hex(&reread(&golden)), text, "{name}: read and written again it is the same");
        assert_eq!(hex(bytes), text, "{name}: it is still written the same way");
    }
    for file in fs::read_dir(directory()).unwrap() {
        let file = file.unwrap().path();
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(samples.contains_key(&name), "{}: what was written once must stay readable", file.display());
    }
}

/// The trick that distribution rests on: encoded messages of deltas, laid end to end, are one message; in both directions.
#[test]
fn deltas_laid_end_to_end_are_one_message() {
    let delta = convert::delta_to_wire(&sample::delta());
    let one = v1::HubMessage { deltas: vec![delta.clone()], message: None }.encode_to_vec();
    let joined = [one.clone(), one.clone(), one].concat();
    assert_eq!(v1::HubMessage::decode(&joined[..]).unwrap().deltas, vec![delta.clone(); 3]);
    assert_eq!(v1::SpokeMessage::decode(&joined[..]).unwrap().deltas, vec![delta; 3]);
    let page = v1::HubMessage { deltas: vec![], message: Some(v1::hub_message::Message::Page(page())) };
    let spoke = v1::SpokeMessage { deltas: vec![], message: Some(v1::spoke_message::Message::Page(self::page())) };
    assert_eq!(page.encode_to_vec(), spoke.encode_to_vec());
}
