//! What the running agent answers on its machine.
use std::{net::IpAddr, time::Duration};

use axle_core::model::Name;
use tokio::sync::SetOnce;

use crate::{
    control::{Answer, Asker, Reply, Request},
    kubernetes::attachment::Attachments,
    node::Node,
    problems::Problems,
    relay::Relay,
    state_directory::Enrollment,
    status::Status,
};

/// How long who asks for something to be done waits for the roles to run.
const STARTING: Duration = Duration::from_secs(10);
/// The longest bypass, in seconds.
const LONGEST_BYPASS: u64 = 24 * 3600;
/// The longest that a pod is held up by one request, whoever asked asks again.
const LONGEST_HOLD: Duration = Duration::from_secs(30);
/// The longest life of a token, in seconds.
const LONGEST_TOKEN: u64 = 7 * 24 * 3600;

/// See the module. Before the roles run it says what they wait for.
pub(super) struct Answers {
    started: SetOnce<Started>,
    /// Whether it is well before its roles run: a relay that stands by is.
    stands_by: bool,
    problems: Problems,
    addresses: Vec<IpAddr>,
}

/// What runs.
pub(super) struct Started {
    pub(super) enrollment: Enrollment,
    pub(super) relay: Option<Relay>,
    pub(super) node: Option<Node>,
    /// In Kubernetes: where the node's pods are attached.
    pub(super) attachments: Option<Attachments>,
}

impl Answers {
    pub(super) fn new(stands_by: bool, problems: Problems, addresses: Vec<IpAddr>) -> Self {
        Self { started: SetOnce::new(), stands_by, problems, addresses }
    }

    /// The roles run.
    pub(super) fn start(&self, started: Started) {
        let _ = self.started.set(started);
    }

    fn relay(&self) -> Option<&Relay> {
        self.started.get()?.relay.as_ref()
    }

    pub(super) fn node(&self) -> Option<&Node> {
        self.started.get()?.node.as_ref()
    }

    /// Ready: the kernel holds a complete state, where there is one to hold.
    pub(super) fn is_ready(&self) -> bool {
        match self.node() {
            Some(node) => node.enforced().borrow().applied.is_some(),
            None => self.stands_by || self.started.get().is_some(),
        }
    }

    pub(super) fn status(&self) -> Status {
        let mut problems = self.problems.all();
        if let Some(node) = self.node() {
            problems.extend(node.enforced().borrow().problems.clone());
        }
        problems.extend(self.relay().and_then(Relay::why_away));
        problems.extend(self.node().and_then(Node::why_away));
        problems.dedup();
        let enrollment = self.started.get().map(|started| &started.enrollment);
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            cluster: enrollment.map(|known| known.cluster_name.to_string()).unwrap_or_default(),
            node_name: enrollment.map(|known| known.node.to_string()).unwrap_or_default(),
            relay: self.relay().map(Relay::status),
            node: self.node().map(Node::status),
            problems,
        }
    }

    async fn bypass(&self, seconds: u64) -> Reply {
        let Some(node) = self.node() else {
            return refused("this agent has no node role: there is nothing to bypass");
        };
        if seconds > LONGEST_BYPASS {
            return refused(&format!("{seconds} s is too long: at most {LONGEST_BYPASS} s (24h)"));
        }
        match node.bypass(seconds).await {
            Ok(until_ms) => Reply::Bypass { until_ms },
            Err(why) => refused(&format!("the kernel did not take it: {why}")),
        }
    }

    /// Until both hooks of the pod are at its interface, with what is in force for it.
    async fn protect(&self, pod: &str, network: i32, asker: Asker) -> Reply {
        let Some(Started { node: Some(node), attachments: Some(attachments), .. }) = self.started.get() else {
            return refused("this agent protects no pods: it is none of a node in Kubernetes, or has not joined yet");
        };
        let place = match asker.file(network).and_then(|file| attachments.announce(pod, &file)) {
            Ok(Some(place)) => place,
            Ok(None) => return refused("no veth of this node leads to its network: its packets are seen by no hook"),
            Err(error) => return refused(&format!("its network cannot be looked at: {error}")),
        };
        let mut enforced = node.enforced();
        let held = enforced.wait_for(|enforced| {
            enforced.workloads.iter().any(|workload| workload.interface == place.interface && workload.enforced)
        });
        match tokio::time::timeout(LONGEST_HOLD, held).await {
            Ok(Ok(_)) => Reply::Protected,
            _ => refused(&format!("what it may do is not in force at {} yet", place.interface)),
        }
    }

    fn create_token(&self, node: Name, ttl_seconds: u64) -> Reply {
        let Some(relay) = self.relay() else {
            return refused("this agent is not its cluster's relay: ask for a token on the relay's machine");
        };
        if ttl_seconds == 0 || ttl_seconds > LONGEST_TOKEN {
            return refused(&format!("a token lives 1 to {LONGEST_TOKEN} s, not {ttl_seconds}"));
        }
        match relay.create_token(node.clone(), Duration::from_secs(ttl_seconds)) {
            Ok((token, expires_ms)) => {
                let at = self.relay_address(relay);
                let join_command = format!("axle-agent join --relay {at} --node {node} --token {token}");
                Reply::Token { token, expires_ms, join_command }
            }
            Err(error) => refused(&error.to_string()),
        }
    }

    /// Where other machines reach the relay, as far as this one knows.
    fn relay_address(&self, relay: &Relay) -> String {
        let listen = relay.address;
        if !listen.ip().is_unspecified() {
            return listen.to_string();
        }
        let own = self.addresses.first().copied().or_else(|| crate::node::own_addresses().first().copied());
        own.map_or_else(
            || format!("RELAY:{}", listen.port()),
            |ip| std::net::SocketAddr::new(ip, listen.port()).to_string(),
        )
    }
}

fn refused(message: &str) -> Reply {
    Reply::Refused { message: message.into() }
}

impl Answer for Answers {
    async fn answer(&self, request: Request, asker: Asker) -> Reply {
        let acts = matches!(request, Request::Bypass { .. } | Request::CreateToken { .. });
        if acts && tokio::time::timeout(STARTING, self.started.wait()).await.is_err() {
            return refused("this agent has not started yet: `axle-agent status` says what it waits for");
        }
        match request {
            Request::Status => Reply::Status(Box::new(self.status())),
            Request::Bypass { seconds } => self.bypass(seconds).await,
            Request::Protect { pod, network } => self.protect(&pod, network, asker).await,
            Request::CreateToken { node, ttl_seconds } => self.create_token(node, ttl_seconds),
        }
    }
}
