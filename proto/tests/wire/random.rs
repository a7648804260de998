use axle_core::{
    codec::Codec,
    log::Record,
    model::{
        Action, ClusterSelector, Endpoint, Enforcement, IdentityId, Kind, LabelSelector, Labels, Name, NamedPort,
        Object, Operator, Peer, Peers, Policy, PortMatch, Ports, Protocol, Requirement, Resource, Rule, Scope, Subject,
        Tier, Uid,
    },
};
use axle_proto::convert::{self, Wire, object};
use proptest::{collection::vec, option, prelude::*, sample::select};

fn name() -> impl Strategy<Value = Name> {
    "[a-z0-9]{1,8}(-[a-z0-9]{1,4})?".prop_map(|text| Name::new(text).unwrap())
}

fn labels() -> impl Strategy<Value = Labels> {
    proptest::collection::btree_map("[a-z/.]{1,8}", ".{0,6}", 0..4)
}

fn selector() -> impl Strategy<Value = LabelSelector> {
    let values = || vec(".{0,4}", 1..3);
    let operator = prop_oneof![
        values().prop_map(Operator::In),
        values().prop_map(Operator::NotIn),
        Just(Operator::Exists),
        Just(Operator::DoesNotExist)
    ];
    let requirement = ("[a-z]{1,5}", operator).prop_map(|(key, operator)| Requirement { key, operator });
    (labels(), vec(requirement, 0..3))
        .prop_map(|(match_labels, match_expressions)| LabelSelector { match_labels, match_expressions })
}

fn clusters() -> impl Strategy<Value = ClusterSelector> {
    prop_oneof![
        Just(ClusterSelector::Own),
        Just(ClusterSelector::Any),
        vec(name(), 0..3).prop_map(ClusterSelector::Names),
        selector().prop_map(ClusterSelector::Labels)
    ]
}

fn peer() -> impl Strategy<Value = Peer> {
    prop_oneof![
        (clusters(), selector(), selector()).prop_map(|(clusters, namespaces, pods)| Peer::Pods {
            clusters,
            namespaces,
            pods
        }),
        (clusters(), selector()).prop_map(|(clusters, nodes)| Peer::Nodes { clusters, nodes }),
        (clusters(), any::<[u8; 16]>())
            .prop_map(|(clusters, id)| Peer::Identities { clusters, names: vec![IdentityId(id)] }),
        ".{0,9}".prop_map(Peer::Unknown),
    ]
}

fn port() -> impl Strategy<Value = PortMatch> {
    let with_ports = || select(vec![Protocol::Tcp, Protocol::Udp, Protocol::Sctp]);
    prop_oneof![
        select(vec![Protocol::Tcp, Protocol::Icmp, Protocol::Icmpv6]).prop_map(PortMatch::Protocol),
        (with_ports(), 1_u16.., 1_u16..).prop_map(|(protocol, a, b)| PortMatch::Range {
            protocol,
            first: a.min(b),
            last: a.max(b)
        }),
        (option::of(with_ports()), "[a-z]{1,9}").prop_map(|(protocol, name)| PortMatch::Named { protocol, name }),
        (any::<u8>(), option::of(any::<u8>())).prop_map(|(kind, code)| PortMatch::IcmpType {
            protocol: Protocol::Icmp,
            kind,
            code
        }),
    ]
}

fn rule() -> impl Strategy<Value = Rule> {
    let peers = prop_oneof![Just(Peers::Any), vec(peer(), 0..3).prop_map(Peers::Of)];
    let ports = prop_oneof![Just(Ports::Any), vec(port(), 0..3).prop_map(Ports::Of)];
    (".{0,9}", select(vec![Action::Accept, Action::Deny, Action::Pass]), peers, ports)
        .prop_map(|(name, action, peers, ports)| Rule { name, action, peers, ports })
}

fn policy() -> impl Strategy<Value = Policy> {
    let subject = (clusters(), selector(), selector()).prop_map(|(clusters, namespaces, pods)| Subject {
        clusters,
        namespaces,
        pods,
    });
    let rules = || option::of(vec(rule(), 0..3));
    let tier = select(vec![Tier::Admin, Tier::Namespace, Tier::Baseline]);
    ((name(), option::of(name()), tier, 0_u16..=1000), subject, rules(), rules(), any::<(bool, bool)>(), ".{0,20}")
        .prop_map(|((name, namespace, tier, priority), subject, ingress, egress, (audit, disabled), description)| {
            Policy {
                name,
                namespace,
                tier,
                priority,
                subject,
                ingress,
                egress,
                enforcement: if audit { Enforcement::Audit } else { Enforcement::Enforce },
                disabled,
                description,
                owner: String::new(),
            }
        })
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    let port = ("[a-z]{1,9}", 1_u16..).prop_map(|(name, port)| NamedPort { name, protocol: Protocol::Udp, port });
    (name(), name(), name(), labels(), vec(any::<std::net::IpAddr>(), 0..3), vec(port, 0..3), any::<(u64, bool)>())
        .prop_map(|(namespace, name, node, labels, addresses, named_ports, (started_ms, ready))| Endpoint {
            namespace,
            name,
            node,
            service_account: String::new(),
            labels,
            addresses,
            named_ports,
            started_ms,
            ready,
            host: None,
        })
}

fn resource() -> impl Strategy<Value = Resource> {
    prop_oneof![policy().prop_map(Resource::Policy), endpoint().prop_map(Resource::Endpoint)]
}

fn some_object() -> impl Strategy<Value = Object> {
    (resource(), any::<[u8; 16]>(), option::of(any::<[u8; 16]>()), any::<u64>()).prop_map(
        |(resource, uid, cluster, revision)| {
            let scope = cluster.map_or(Scope::Fleet, |uid| Scope::Cluster(Uid(uid)));
            object(resource, scope, Uid(uid), revision)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_as_it_was(object in some_object()) {
        let read = Wire.decode(object.key.kind, &object.payload).unwrap();
        prop_assert_eq!(&read, &*object.resource);
        prop_assert_eq!(Wire.encode(&object.resource), object.payload.clone());
        let wire = convert::envelope_to_wire(&object);
        let envelope = convert::envelope_from_wire(wire).unwrap();
        prop_assert_eq!(envelope.open(&Wire), Ok(object));
    }

    #[test]
    fn a_record_comes_back_with_its_hash(objects in vec(some_object(), 0..4), time_ms: u64, actor in ".{0,9}") {
        let changes = objects.into_iter().map(axle_core::log::Change::Put).collect();
        let before = super::sample::position(1, 6);
        let record = Record { changes, time_ms, actor, intake: None, ..super::sample::record() }.sealed(&before);
        let back = convert::record_from_wire(convert::record_to_wire(&record)).unwrap();
        prop_assert_eq!(back.hash_after(before.hash), record.hash);
        prop_assert_eq!(back, record);
    }

    /// Bytes that were garbled on the way are refused, or mean something that is written and read alike.
    #[test]
    fn garbled_bytes_never_crash_and_never_mean_two_things(resource in resource(), at: prop::sample::Index, byte: u8, cut: bool) {
        let kind: Kind = resource.kind();
        let mut bytes = Wire.encode(&resource).to_vec();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        if let Ok(read) = Wire.decode(kind, &bytes.into()) {
            let again = Wire.encode(&read);
            prop_assert_eq!(Wire.decode(kind, &again), Ok(read));
        }
    }
}
