//! Names of the fleet's services, asked for at a running agent.
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use axle_agent::app::Settings;
use hickory_proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RecordType},
};
use tokio::{net::UdpSocket, time::timeout};

use crate::stage::{PATIENCE, Stage, on_stage};

const SERVICE: &str = "\
apiVersion: axle.dev/v1alpha1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{name: http, port: 80}]}
---
apiVersion: axle.dev/v1alpha1
kind: ServiceExport
metadata: {name: web, namespace: shop}
";

/// Asks once: how it was answered, and with how many records. `None`: not at all.
async fn ask(at: SocketAddr, name: &str, kind: RecordType) -> Option<(ResponseCode, usize)> {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(at).await.unwrap();
    let mut question = Message::new(7, MessageType::Query, OpCode::Query);
    question.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    socket.send(&question.to_vec().unwrap()).await.unwrap();
    let mut answer = vec![0; 1_232];
    let length = timeout(Duration::from_secs(1), socket.recv(&mut answer)).await.ok()?.ok()?;
    let answer = Message::from_vec(&answer[..length]).unwrap();
    Some((answer.metadata.response_code, answer.answers.len()))
}

#[test]
fn names_are_answered_also_with_the_hub_away() {
    on_stage(async |stage: &mut Stage| {
        stage.hub_starts().await;
        stage.join_hub("n1").await;
        stage.write("n1", "web.yaml", SERVICE);
        let at: SocketAddr = "127.0.0.1:5353".parse().unwrap();
        let one = stage.start(Settings { dns_listen: vec![at], ..stage.settings("n1") }).await;
        let web = "web.shop.svc.clusterset.local.";
        let deadline = Instant::now() + PATIENCE;
        loop {
            match ask(at, web, RecordType::A).await {
                Some((ResponseCode::NoError, 1)) => break,
                other => assert!(Instant::now() < deadline, "not in {PATIENCE:?}: {other:?}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        stage.hub_stops().await;
        stage.until("the relay misses it", || !one.status().relay.unwrap().connected).await;
        let cases = [
            (web, RecordType::AAAA, ResponseCode::NoError, 1),
            ("_http._tcp.web.shop.svc.clusterset.local.", RecordType::SRV, ResponseCode::NoError, 1),
            ("dns-version.clusterset.local.", RecordType::TXT, ResponseCode::NoError, 1),
            ("api.shop.svc.clusterset.local.", RecordType::A, ResponseCode::NXDomain, 0),
        ];
        for (name, kind, code, count) in cases {
            assert_eq!(ask(at, name, kind).await, Some((code, count)), "{name} {kind}");
        }
    });
}
