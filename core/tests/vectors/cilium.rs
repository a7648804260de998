//! Random documents of Cilium in a small world. What they mean there is worked out here, naively and from the documents
//! alone; what is imported may never allow more, and exactly as much where the import says that it is exact.
use std::net::IpAddr;

use axle_core::{
    manifest::cilium::{Effect, import_cilium},
    model::{Protocol, Resource},
    policy::{Flow, Target, Verdict, evaluate},
};
use ipnet::IpNet;
use proptest::{collection::vec, option, prelude::*, sample::select};

use super::bench::{Bench, ROOMY};

const MESH: &str = "10.0.0.0/8";

/// Who is there: cluster and namespace of a workload, its labels, its address. The documents are of the cluster east.
#[derive(Debug, PartialEq)]
enum Who {
    Workload {
        cluster: &'static str,
        namespace: &'static str,
        app: &'static str,
    },
    Node {
        cluster: &'static str,
    },
    /// Outside, or in a block of the mesh without being a workload or node.
    Other,
}

const EVERYBODY: [(&str, Who); 9] = [
    ("10.1.1.1", Who::Workload { cluster: "east", namespace: "shop", app: "web" }),
    ("10.1.1.2", Who::Workload { cluster: "east", namespace: "shop", app: "db" }),
    ("10.1.1.3", Who::Workload { cluster: "east", namespace: "back", app: "web" }),
    ("10.2.1.1", Who::Workload { cluster: "west", namespace: "shop", app: "web" }),
    ("10.1.0.1", Who::Node { cluster: "east" }),
    ("10.2.0.1", Who::Node { cluster: "west" }),
    ("10.20.0.9", Who::Other),
    ("192.0.2.5", Who::Other),
    ("192.0.2.130", Who::Other),
];

fn bench() -> Bench {
    let mut bench = Bench::new(ROOMY);
    for (cluster, prefix, node) in [("east", "10.1.0.0/16", "10.1.0.1"), ("west", "10.2.0.0/16", "10.2.0.1")] {
        bench.cluster(cluster, &[], &[prefix]);
        bench.node(cluster, "n1", &[], node);
        ["shop", "back"].iter().for_each(|namespace| bench.namespace(cluster, namespace, &[]));
    }
    for (number, (address, who)) in EVERYBODY.iter().enumerate() {
        if let Who::Workload { cluster, namespace, app } = who {
            bench.workload(&format!("{cluster}/{namespace}/w{number}"), &[("app", app)], address);
        }
    }
    bench
}

#[derive(Debug, Clone)]
enum Peers {
    Absent,
    /// An `app`, and a namespace or the policy's own, and a cluster or the own one.
    Endpoints(Option<&'static str>, Option<&'static str>, Option<&'static str>),
    /// Whoever has not this `app`.
    Without(&'static str),
    Entity(&'static str),
    Cidr(&'static str, Option<&'static str>),
}

/// Ports of a protocol: first and last.
type Range = (Protocol, u16, u16);

#[derive(Debug, Clone)]
struct Rule {
    peers: Peers,
    /// As they are written, and what they mean.
    ports: (&'static str, &'static [Range]),
}

/// The rules of a direction.
#[derive(Debug, Clone)]
struct Direction {
    allows: Option<Vec<Rule>>,
    denies: Option<Vec<Rule>>,
    default_deny: Option<bool>,
}

#[derive(Debug, Clone)]
struct Document {
    namespace: Option<&'static str>,
    app: Option<&'static str>,
    /// Ingress, egress.
    directions: [Direction; 2],
}

const EVERY: &[Range] = &[(Protocol::Tcp, 0, u16::MAX), (Protocol::Udp, 0, u16::MAX), (Protocol::Icmp, 0, u16::MAX)];
const NOTHING: &[Range] = &[];

/// With rules of the application layer not every connection is allowed, and with ICMP a number is type and code.
const PORTS: [(&str, &[Range]); 9] = [
    ("", EVERY),
    ("toPorts: []", EVERY),
    ("toPorts: [{ports: [{port: \"80\", protocol: TCP}]}]", &[(Protocol::Tcp, 80, 80)]),
    (
        "toPorts: [{ports: [{port: 53}, {port: \"70\", endPort: 90, protocol: UDP}]}]",
        &[(Protocol::Tcp, 53, 53), (Protocol::Udp, 53, 53), (Protocol::Udp, 70, 90)],
    ),
    ("toPorts: [{ports: [{port: \"0\", protocol: TCP}]}]", &[(Protocol::Tcp, 0, u16::MAX)]),
    ("toPorts: [{ports: [{port: WEB, protocol: TCP}]}]", &[(Protocol::Tcp, 80, 80)]),
    ("toPorts: [{ports: [{port: \"80\", protocol: TCP}], rules: {http: [{method: GET}]}}]", NOTHING),
    (
        "toPorts: [{ports: [{port: \"80\", protocol: VRRP}]}, {ports: [{port: \"53\", protocol: UDP}]}]",
        &[(Protocol::Udp, 53, 53)],
    ),
    ("icmps: [{fields: [{type: EchoRequest}, {type: 99}]}]", &[(Protocol::Icmp, 0x0800, 0x08ff)]),
];

fn rule() -> impl Strategy<Value = Rule> {
    let app = || option::of(select(&["web", "db"][..]));
    let namespace = option::of(select(&["shop", "back"][..]));
    let cluster = option::of(select(&["east", "west", "*"][..]));
    let entities = ["all", "world", "cluster", "cluster-mesh", "remote-node", "host", "none", "kube-apiserver"];
    let blocks = ["0.0.0.0/0", "10.0.0.0/8", "10.20.0.0/16", "192.0.2.0/24", "192.0.0.0/8"];
    let peers = prop_oneof![
        1 => Just(Peers::Absent),
        3 => (app(), namespace, cluster).prop_map(|(app, namespace, cluster)| Peers::Endpoints(app, namespace, cluster)),
        1 => select(&["web", "db"][..]).prop_map(Peers::Without),
        3 => select(entities.to_vec()).prop_map(Peers::Entity),
        3 => (select(blocks.to_vec()), any::<bool>()).prop_map(|(block, hole)| {
            Peers::Cidr(block, (hole && block.starts_with("192")).then_some("192.0.2.128/25"))
        }),
    ];
    (peers, select(PORTS.to_vec())).prop_map(|(peers, ports)| Rule { peers, ports })
}

fn document() -> impl Strategy<Value = Document> {
    let rules = || option::of(vec(rule(), 0..3));
    let direction = || {
        let direction = (rules(), option::weighted(0.4, vec(rule(), 0..3)), option::weighted(0.3, any::<bool>()));
        direction.prop_map(|(allows, denies, default_deny)| Direction { allows, denies, default_deny })
    };
    let app = option::of(select(&["web", "db"][..]));
    (option::of(select(&["shop", "back"][..])), app, direction(), direction())
        .prop_map(|(namespace, app, ingress, egress)| Document { namespace, app, directions: [ingress, egress] })
}

/// The document as people write it.
fn text(document: &Document, number: usize) -> String {
    let (kind, namespace) = match document.namespace {
        Some(namespace) => ("CiliumNetworkPolicy", format!(", namespace: {namespace}")),
        None => ("CiliumClusterwideNetworkPolicy", String::new()),
    };
    let labels = |pairs: Vec<String>| format!("{{matchLabels: {{{}}}}}", pairs.join(", "));
    let subject = labels(document.app.iter().map(|app| format!("app: {app}")).collect());
    let mut fields = vec![format!("endpointSelector: {subject}")];
    let rules = |rules: &[Rule], side: &str| {
        let rules = rules.iter().map(|rule| {
            let peers = match rule.peers {
                Peers::Absent => String::new(),
                Peers::Endpoints(app, namespace, cluster) => {
                    let app = app.map(|app| format!("app: {app}"));
                    let namespace = namespace.map(|of| format!("k8s:io.kubernetes.pod.namespace: {of}"));
                    let named = cluster.filter(|of| *of != "*");
                    let named = named.map(|of| format!("io.cilium.k8s.policy.cluster: {of}"));
                    let any = if cluster == Some("*") {
                        ", matchExpressions: [{key: io.cilium.k8s.policy.cluster, operator: Exists}]"
                    } else {
                        ""
                    };
                    let equal = [app, namespace, named].into_iter().flatten().collect::<Vec<_>>().join(", ");
                    format!("{side}Endpoints: [{{matchLabels: {{{equal}}}{any}}}]")
                }
                Peers::Without(app) => {
                    format!("{side}Endpoints: [{{matchExpressions: [{{key: app, operator: NotIn, values: [{app}]}}]}}]")
                }
                Peers::Entity(entity) => format!("{side}Entities: [{entity}]"),
                Peers::Cidr(block, None) => format!("{side}CIDR: [{block}]"),
                Peers::Cidr(block, Some(hole)) => format!("{side}CIDRSet: [{{cidr: {block}, except: [{hole}]}}]"),
            };
            let parts: Vec<_> = [&peers[..], rule.ports.0].into_iter().filter(|part| !part.is_empty()).collect();
            format!("{{{}}}", parts.join(", "))
        });
        rules.collect::<Vec<_>>().join(", ")
    };
    let mut isolates = Vec::new();
    for ((key, side), Direction { allows, denies, default_deny }) in
        [("ingress", "from"), ("egress", "to")].iter().zip(&document.directions)
    {
        isolates.extend(default_deny.map(|is| format!("{key}: {is}")));
        fields.extend(allows.as_ref().map(|allows| format!("{key}: [{}]", rules(allows, side))));
        fields.extend(denies.as_ref().map(|denies| format!("{key}Deny: [{}]", rules(denies, side))));
    }
    fields.push(format!("enableDefaultDeny: {{{}}}", isolates.join(", ")));
    let spec = fields.join("\n  ");
    format!("apiVersion: cilium.io/v2\nkind: {kind}\nmetadata: {{name: p{number}{namespace}}}\nspec:\n  {spec}\n---\n")
}

fn who(address: IpAddr) -> &'static Who {
    let found = EVERYBODY.iter().find(|(of, _)| of.parse() == Ok(address));
    &found.expect("somebody").1
}

/// Whether a rule is about a peer. Only its own node is host to a workload.
fn about(peers: &Peers, own: Option<&str>, address: IpAddr) -> bool {
    let peer = who(address);
    match peers {
        Peers::Absent => true,
        Peers::Endpoints(app, namespace, cluster) => match peer {
            Who::Workload { cluster: its_cluster, namespace: its_namespace, app: its_app } => {
                app.is_none_or(|app| app == *its_app)
                    && namespace.or(own).is_none_or(|namespace| namespace == *its_namespace)
                    && (*cluster == Some("*") || cluster.unwrap_or("east") == *its_cluster)
            }
            _ => false,
        },
        Peers::Without(without) => match peer {
            Who::Workload { cluster, namespace, app } => {
                *cluster == "east" && own.is_none_or(|own| own == *namespace) && app != without
            }
            _ => false,
        },
        Peers::Entity(entity) => match (*entity, peer) {
            ("all", _)
            | ("world", Who::Other)
            | ("cluster", Who::Node { .. })
            | ("cluster-mesh", Who::Workload { .. }) => true,
            ("cluster", Who::Workload { cluster, .. }) => *cluster == "east",
            ("remote-node", Who::Node { cluster }) => *cluster != "east",
            ("host", Who::Node { cluster }) => *cluster == "east",
            // It may be whoever is no workload.
            ("kube-apiserver", peer) => matches!(peer, Who::Other),
            _ => false,
        },
        Peers::Cidr(block, hole) => {
            let holds = |net: &str| net.parse::<IpNet>().expect("a block").contains(&address);
            *peer == Who::Other && holds(block) && !hole.is_some_and(holds)
        }
    }
}

/// Whether a rule is about the flow. A port's name is one of a workload.
fn matches(rule: &Rule, own: Option<&str>, peer: IpAddr, receiver: &Who, (protocol, number): (Protocol, u16)) -> bool {
    if rule.ports.0.contains("WEB") && !matches!(receiver, Who::Workload { .. }) {
        return false;
    }
    let silent = matches!(rule.peers, Peers::Absent) && rule.ports.1 == EVERY;
    let of_port = |(of, first, last): &Range| *of == protocol && (*first..=*last).contains(&number);
    !silent && about(&rule.peers, own, peer) && rule.ports.1.iter().any(of_port)
}

/// What Cilium decides at one end.
fn allowed(documents: &[Document], direction: usize, subject: &Who, peer: IpAddr, port: (Protocol, u16)) -> bool {
    let Who::Workload { cluster: "east", namespace, app } = subject else { return true };
    let (mut isolated, mut allowed) = (false, false);
    for document in documents {
        if document.namespace.is_some_and(|of| of != *namespace) || document.app.is_some_and(|of| of != *app) {
            continue;
        }
        let receiver = if direction == 0 { subject } else { who(peer) };
        let Direction { allows, denies, default_deny } = &document.directions[direction];
        isolated |= default_deny.unwrap_or(allows.is_some() || denies.is_some());
        let any = |rules: &Option<Vec<Rule>>| {
            rules.iter().flatten().any(|rule| matches(rule, document.namespace, peer, receiver, port))
        };
        if any(denies) {
            return false;
        }
        allowed |= any(allows);
    }
    allowed || !isolated
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]
    #[test]
    fn an_import_never_allows_more(documents in vec(document(), 1..4), is_mesh_known in any::<bool>()) {
        let text: String = documents.iter().zip(0..).map(|(document, number)| text(document, number)).collect();
        let mesh: &[IpNet] = if is_mesh_known { &[MESH.parse().unwrap()] } else { &[] };
        let import = import_cilium(&text, mesh).unwrap_or_else(|faults| panic!("{text}\n{faults:#?}"));
        let exact = import.notes.iter().all(|note| matches!(note.effect, Effect::None | Effect::Wider));
        let mut bench = bench();
        for policy in import.policies {
            bench.put(bench.scope("east"), &policy.title(), Resource::Policy(policy));
        }
        let ports = [(Protocol::Tcp, 80), (Protocol::Tcp, 53), (Protocol::Udp, 53), (Protocol::Udp, 75),
            (Protocol::Icmp, 0x0800)];
        let address = |n: usize| EVERYBODY[n].0.parse::<IpAddr>().unwrap();
        for (from, to) in (0..EVERYBODY.len()).flat_map(|from| (0..EVERYBODY.len()).map(move |to| (from, to))) {
            let (sender, receiver) = (&EVERYBODY[from].1, &EVERYBODY[to].1);
            // A workload reaches itself and, as every import says, its own node, which reaches it.
            if from == to || [sender, receiver].contains(&&Who::Node { cluster: "east" }) {
                continue;
            }
            let (from, to) = (address(from), address(to));
            for (protocol, number) in ports {
                let theirs = allowed(&documents, 1, sender, to, (protocol, number))
                    && allowed(&documents, 0, receiver, from, (protocol, number));
                let flow = Flow { from, to, target: Target { table: protocol.into(), number } };
                let decision = evaluate(&bench.world, flow);
                let ours = decision.verdict() == Verdict::Accept;
                prop_assert!(theirs || !ours, "wider: {flow:?} {decision:#?}\n{text}");
                // `--mesh` says that all within are workloads or nodes.
                let as_said = |who: &Who, at| *who != Who::Other || !MESH.parse::<IpNet>().unwrap().contains(&at);
                if exact && as_said(sender, from) && as_said(receiver, to) {
                    prop_assert_eq!(ours, theirs, "not exact: {:?} {:#?}\n{}", flow, decision, text);
                }
            }
        }
    }
}
