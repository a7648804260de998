//! Policies.
use axle_core::model::{
    Action, Enforcement, IdentityId, IpBlock, Peer, Peers, Policy, PortMatch, Ports, Protocol, Rule, Subject, Tier, Uid,
};

use crate::{
    convert::{
        Invalid,
        invalid::{Within, list, required},
        scalar::{
            action, action_to_wire, known, name, narrow, network, parse, port, port_protocol, protocol,
            protocol_to_wire, uid_from_wire, uid_to_wire, unspecified,
        },
    },
    v1,
};

impl TryFrom<v1::Policy> for Policy {
    type Error = Invalid;
    fn try_from(wire: v1::Policy) -> Result<Self, Invalid> {
        let rules = |at, rules: Option<v1::Rules>| rules.map(|all| list(at, all.rules, TryInto::try_into)).transpose();
        let namespace = (!wire.namespace.is_empty()).then_some(wire.namespace);
        Ok(Self {
            name: name("name", wire.name)?,
            namespace: namespace.map(|text| name("namespace", text)).transpose()?,
            tier: match known("tier", wire.tier)? {
                v1::Tier::Admin => Tier::Admin,
                v1::Tier::Namespace => Tier::Namespace,
                v1::Tier::Baseline => Tier::Baseline,
                v1::Tier::Unspecified => return Err(unspecified::<v1::Tier>("tier")),
            },
            priority: match narrow("priority", wire.priority)? {
                priority @ 0..=1000 => priority,
                other => return Err(Invalid::new("priority", other, "0 to 1000")),
            },
            subject: required("subject", wire.subject)?.try_into().within("subject")?,
            ingress: rules("ingress", wire.ingress)?,
            egress: rules("egress", wire.egress)?,
            enforcement: match known("enforcement", wire.enforcement)? {
                v1::Enforcement::Enforce => Enforcement::Enforce,
                v1::Enforcement::Audit => Enforcement::Audit,
                v1::Enforcement::Unspecified => return Err(unspecified::<v1::Enforcement>("enforcement")),
            },
            disabled: wire.disabled,
            description: wire.description,
            owner: wire.owner,
        })
    }
}

impl From<&Policy> for v1::Policy {
    fn from(policy: &Policy) -> Self {
        let rules = |rules: &Option<Vec<Rule>>| {
            rules.as_ref().map(|rules| v1::Rules { rules: rules.iter().map(Into::into).collect() })
        };
        let tier = match policy.tier {
            Tier::Admin => v1::Tier::Admin,
            Tier::Namespace => v1::Tier::Namespace,
            Tier::Baseline => v1::Tier::Baseline,
        };
        let enforcement = match policy.enforcement {
            Enforcement::Enforce => v1::Enforcement::Enforce,
            Enforcement::Audit => v1::Enforcement::Audit,
        };
        Self {
            name: policy.name.to_string(),
            namespace: policy.namespace.as_ref().map(ToString::to_string).unwrap_or_default(),
            tier: tier.into(),
            priority: policy.priority.into(),
            subject: Some((&policy.subject).into()),
            ingress: rules(&policy.ingress),
            egress: rules(&policy.egress),
            enforcement: enforcement.into(),
            disabled: policy.disabled,
            description: policy.description.clone(),
            owner: policy.owner.clone(),
        }
    }
}

impl TryFrom<v1::Subject> for Subject {
    type Error = Invalid;
    fn try_from(wire: v1::Subject) -> Result<Self, Invalid> {
        Ok(Self {
            clusters: required("clusters", wire.clusters)?.try_into().within("clusters")?,
            namespaces: required("namespaces", wire.namespaces)?.try_into().within("namespaces")?,
            pods: required("pods", wire.pods)?.try_into().within("pods")?,
        })
    }
}

impl From<&Subject> for v1::Subject {
    fn from(subject: &Subject) -> Self {
        Self {
            clusters: Some((&subject.clusters).into()),
            namespaces: Some((&subject.namespaces).into()),
            pods: Some((&subject.pods).into()),
        }
    }
}

impl TryFrom<v1::Rule> for Rule {
    type Error = Invalid;
    fn try_from(wire: v1::Rule) -> Result<Self, Invalid> {
        use v1::{peers, ports};
        let rule = Self {
            name: wire.name,
            action: action("action", wire.action)?,
            peers: match required("peers", wire.peers.and_then(|peers| peers.peers))? {
                peers::Peers::Any(_) => Peers::Any,
                peers::Peers::Of(of) => Peers::Of(list("peers", of.peers, TryInto::try_into)?),
            },
            ports: match required("ports", wire.ports.and_then(|ports| ports.ports))? {
                ports::Ports::Any(_) => Ports::Any,
                ports::Ports::Of(of) => Ports::Of(list("ports", of.ports, TryInto::try_into)?),
            },
        };
        if let (Peers::Of(peers), Action::Deny | Action::Pass) = (&rule.peers, rule.action)
            && peers.iter().any(Peer::only_accepts)
        {
            return Err(Invalid::new("action", format_args!("{:?}", rule.action), "Accept, by the kind of its peers"));
        }
        Ok(rule)
    }
}

impl From<&Rule> for v1::Rule {
    fn from(rule: &Rule) -> Self {
        use v1::{peers, ports};
        let peers = match &rule.peers {
            Peers::Any => peers::Peers::Any(v1::Empty {}),
            Peers::Of(of) => peers::Peers::Of(v1::PeerList { peers: of.iter().map(Into::into).collect() }),
        };
        let ports = match &rule.ports {
            Ports::Any => ports::Ports::Any(v1::Empty {}),
            Ports::Of(of) => ports::Ports::Of(v1::PortList { ports: of.iter().map(Into::into).collect() }),
        };
        Self {
            name: rule.name.clone(),
            action: action_to_wire(rule.action).into(),
            peers: Some(v1::Peers { peers: Some(peers) }),
            ports: Some(v1::Ports { ports: Some(ports) }),
        }
    }
}

impl TryFrom<v1::Peer> for Peer {
    type Error = Invalid;
    fn try_from(wire: v1::Peer) -> Result<Self, Invalid> {
        use v1::peer;
        Ok(match required("peer", wire.peer)? {
            peer::Peer::Pods(pods) => Self::Pods {
                clusters: required("clusters", pods.clusters)?.try_into().within("clusters")?,
                namespaces: required("namespaces", pods.namespaces)?.try_into().within("namespaces")?,
                pods: required("pods", pods.pods)?.try_into().within("pods")?,
            },
            peer::Peer::Networks(networks) => Self::Networks(list("blocks", networks.blocks, TryInto::try_into)?),
            peer::Peer::Nodes(nodes) => Self::Nodes {
                clusters: required("clusters", nodes.clusters)?.try_into().within("clusters")?,
                nodes: required("nodes", nodes.nodes)?.try_into().within("nodes")?,
            },
            peer::Peer::Service(service) => Self::Service {
                clusters: required("clusters", service.clusters)?.try_into().within("clusters")?,
                namespace: name("namespace", service.namespace)?,
                name: name("name", service.name)?,
            },
            peer::Peer::Identities(identities) => Self::Identities {
                clusters: required("clusters", identities.clusters)?.try_into().within("clusters")?,
                names: list("names", identities.names, |bytes| Ok(IdentityId(uid_from_wire("name", &bytes)?.0)))?,
            },
            peer::Peer::Domains(domains) => {
                Self::DomainNames(list("names", domains.names, |text| parse("name", &text, "a domain name"))?)
            }
            peer::Peer::Unknown(text) => Self::Unknown(text),
        })
    }
}

impl From<&Peer> for v1::Peer {
    fn from(peer: &Peer) -> Self {
        use v1::peer;
        let peer = match peer {
            Peer::Pods { clusters, namespaces, pods } => peer::Peer::Pods(v1::PodPeer {
                clusters: Some(clusters.into()),
                namespaces: Some(namespaces.into()),
                pods: Some(pods.into()),
            }),
            Peer::Networks(blocks) => {
                peer::Peer::Networks(v1::NetworkPeer { blocks: blocks.iter().map(Into::into).collect() })
            }
            Peer::Nodes { clusters, nodes } => {
                peer::Peer::Nodes(v1::NodePeer { clusters: Some(clusters.into()), nodes: Some(nodes.into()) })
            }
            Peer::Service { clusters, namespace, name } => peer::Peer::Service(v1::ServicePeer {
                clusters: Some(clusters.into()),
                namespace: namespace.to_string(),
                name: name.to_string(),
            }),
            Peer::Identities { clusters, names } => {
                let names = names.iter().map(|id| uid_to_wire(Uid(id.0))).collect();
                peer::Peer::Identities(v1::IdentityPeer { clusters: Some(clusters.into()), names })
            }
            Peer::DomainNames(names) => {
                peer::Peer::Domains(v1::DomainPeer { names: names.iter().map(ToString::to_string).collect() })
            }
            Peer::Unknown(text) => peer::Peer::Unknown(text.clone()),
        };
        Self { peer: Some(peer) }
    }
}

impl TryFrom<v1::IpBlock> for IpBlock {
    type Error = Invalid;
    fn try_from(wire: v1::IpBlock) -> Result<Self, Invalid> {
        let cidr = network("cidr", &wire.cidr)?;
        let except = list("except", wire.except, |text| network("cidr", &text))?;
        if let Some(outside) = except.iter().find(|except| !cidr.contains(*except)) {
            return Err(Invalid::new("except", outside, format_args!("a part of {cidr}")));
        }
        Ok(Self { cidr, except })
    }
}

impl From<&IpBlock> for v1::IpBlock {
    fn from(block: &IpBlock) -> Self {
        let except = block.except.iter().map(ToString::to_string).collect();
        Self { cidr: block.cidr.to_string(), except }
    }
}

impl TryFrom<v1::PortMatch> for PortMatch {
    type Error = Invalid;
    fn try_from(wire: v1::PortMatch) -> Result<Self, Invalid> {
        use v1::port_match::Port;
        Ok(match required("port", wire.port)? {
            Port::Protocol(number) => Self::Protocol(protocol("protocol", number)?),
            Port::Range(range) => {
                let (first, last) = (port("first", range.first)?, port("last", range.last)?);
                if first > last {
                    return Err(Invalid::new("last", last, format_args!("at least the first port, {first}")));
                }
                Self::Range { protocol: port_protocol("protocol", range.protocol)?, first, last }
            }
            Port::Named(named) => {
                let unspecified = named.protocol == v1::Protocol::Unspecified as i32;
                let protocol = (!unspecified).then(|| port_protocol("protocol", named.protocol)).transpose()?;
                Self::Named { protocol, name: named.name }
            }
            Port::Icmp(icmp) => Self::IcmpType {
                protocol: match protocol("protocol", icmp.protocol)? {
                    protocol @ (Protocol::Icmp | Protocol::Icmpv6) => protocol,
                    other => return Err(Invalid::new("protocol", format_args!("{other:?}"), "Icmp or Icmpv6")),
                },
                kind: narrow("type", icmp.r#type)?,
                code: icmp.code.map(|code| narrow("code", code)).transpose()?,
            },
        })
    }
}

impl From<&PortMatch> for v1::PortMatch {
    fn from(port: &PortMatch) -> Self {
        use v1::port_match::Port;
        let port = match port {
            PortMatch::Protocol(protocol) => Port::Protocol(protocol_to_wire(*protocol).into()),
            PortMatch::Range { protocol, first, last } => Port::Range(v1::PortRange {
                protocol: protocol_to_wire(*protocol).into(),
                first: (*first).into(),
                last: (*last).into(),
            }),
            PortMatch::Named { protocol, name } => Port::Named(v1::PortName {
                protocol: protocol.map_or(v1::Protocol::Unspecified, protocol_to_wire).into(),
                name: name.clone(),
            }),
            PortMatch::IcmpType { protocol, kind, code } => Port::Icmp(v1::IcmpType {
                protocol: protocol_to_wire(*protocol).into(),
                r#type: (*kind).into(),
                code: code.map(Into::into),
            }),
        };
        Self { port: Some(port) }
    }
}
