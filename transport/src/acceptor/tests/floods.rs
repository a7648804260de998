//! HTTP/2 spoken by hand, and badly: each flood ends its own connection or costs nothing, and others are served.
use std::fs;

use tokio::io::{AsyncRead, AsyncWrite, split};

use super::*;

/// RFC 9113 section 3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;
/// What a flood may make this process grow by, in bytes.
const MOST: u64 = 50 << 20;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// HPACK (RFC 7541) without a table: a header field that is not indexed, names and values as they are.
fn field(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    [vec![0], text(name), text(value)].concat()
}

fn request(path: &str) -> Vec<u8> {
    [field(":method", "POST"), field(":scheme", "https"), field(":authority", "hub"), field(":path", path)].concat()
}

fn resident() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// Sends `frames` until they are all sent and endured (false) or the connection is over (true).
async fn flood<S>(stream: S, begin: Vec<u8>, frames: usize, each: &[u8]) -> bool
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (mut reader, mut writer) = split(stream);
    // What the server says is read, or it would wait for us.
    let over = tokio::spawn(async move {
        let mut said = vec![0; 16 << 10];
        while matches!(reader.read(&mut said).await, Ok(1..)) {}
    });
    let begin = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &begin].concat();
    let piece = each.repeat(64);
    for piece in std::iter::once(&begin).chain(std::iter::repeat_n(&piece, frames / 64)) {
        if over.is_finished() || writer.write_all(piece).await.is_err() {
            return true;
        }
    }
    timeout(Duration::from_secs(2), over).await.is_ok()
}

async fn endures(name: &str, begin: Vec<u8>, frames: usize, each: Vec<u8>, must_end: bool) {
    let mesh = Mesh::new();
    let server = serve(&mesh, anyone(), quick());
    let tls = ClientTls::mutual(mesh.shared(&Principal::Relay(A), HOUR), Expect::Hub).unwrap();
    let mut bystander = channel(&server.address, &tls).unwrap();
    assert!(ask(&mut bystander, "/").await.is_ok());
    let before = resident();
    let stream = dial(&server.address.parse().unwrap(), &tls).await.unwrap();
    let flooding = tokio::spawn(async move { flood(stream, begin, frames, &each).await });
    let mut most = 0;
    while !flooding.is_finished() {
        assert!(timeout(SOON, ask(&mut bystander, "/")).await.unwrap().is_ok(), "{name}: others are served");
        most = most.max(resident().saturating_sub(before));
        // Or it would be a flood itself.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let ended = flooding.await.unwrap();
    assert!(ended || !must_end, "{name}: it is not endured for ever");
    assert!(most < MOST, "{name}: {most} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_that_never_end() {
    let begin = frame(HEADERS, 0, 1, &request("/"));
    let each = frame(CONTINUATION, 0, 1, &field("x", &"y".repeat(100)));
    endures("CONTINUATION", begin, 10_000, each, true).await;
    let begin = frame(HEADERS, 0, 1, &request("/"));
    endures("empty CONTINUATION", begin, 10_000, frame(CONTINUATION, 0, 1, &[]), true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_that_holds_nothing() {
    let begin = frame(HEADERS, END_HEADERS, 1, &request("/wait"));
    endures("empty DATA", begin, 1_000_000, frame(DATA, 0, 1, &[]), true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_without_end() {
    endures("SETTINGS", Vec::new(), 100_000, frame(SETTINGS, 0, 0, &[]), false).await;
}
