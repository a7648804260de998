//! `MeshNetworkPolicy` as a resource of Kubernetes: the shape that [`core::manifest`](axle_core::manifest) reads, with as
//! much of its strictness as a schema can say. What it cannot say is refused by that reader, in the condition `Accepted`.
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    condition::PolicyStatus,
    selector::{Clusters, Pods, Selector},
};

/// A policy of this cluster. Kubernetes shows it to all namespaces: the people of one namespace write NetworkPolicy.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[kube(
    group = "axle.dev",
    version = "v1alpha1",
    kind = "MeshNetworkPolicy",
    plural = "meshnetworkpolicies",
    shortname = "mnp",
    category = "axle",
    status = "PolicyStatus",
    derive = "PartialEq",
    doc = "A policy of this cluster, in the words of ClusterNetworkPolicy, with peers of other clusters.",
    printcolumn(name = "Tier", type_ = "string", json_path = ".spec.tier"),
    printcolumn(name = "Priority", type_ = "integer", json_path = ".spec.priority"),
    printcolumn(name = "Accepted", type_ = "string", json_path = ".status.conditions[?(@.type=='Accepted')].status"),
    printcolumn(
        name = "Programmed",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Programmed')].status"
    ),
    printcolumn(name = "Nodes", type_ = "string", json_path = ".status.nodes"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(
    validation = Rule::new("has(self.ingress) || has(self.egress)").message("rules for at least one direction are wanted: add ingress or egress"),
    validation = Rule::new("self.tier == 'Namespace' ? !has(self.priority) : has(self.priority)").message("priority is wanted in the tiers Admin and Baseline, and in no other"),
    validation = Rule::new("self.tier != 'Namespace' || ((!has(self.ingress) || self.ingress.all(rule, rule.action == 'Accept')) && (!has(self.egress) || self.egress.all(rule, rule.action == 'Accept')))").message("every rule of the tier Namespace accepts: what none accepts is denied in a direction that has rules"),
)]
#[serde(rename_all = "camelCase")]
pub struct MeshNetworkPolicySpec {
    /// Where it stands in the order of decision: Admin, then Namespace (and NetworkPolicy), then Baseline.
    pub tier: Tier,
    /// Lower decides first. Equal priority: Deny, then Pass, then Accept, then the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1000))]
    pub priority: Option<u16>,
    /// The workloads that it is about.
    pub subject: Subject,
    /// Rules for what reaches the subject. Absent, the direction is left alone; an empty list selects it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub ingress: Option<Vec<IngressRule>>,
    /// Rules for what the subject sends. Absent and empty as for ingress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub egress: Option<Vec<EgressRule>>,
    /// Whether it decides (Enforce, the default) or only reports what it would decide (Audit).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enforcement: Option<Enforcement>,
    /// Kept and shown, without effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// For people: who answers for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

/// See [`axle_core::model::Tier`].
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[schemars(inline)]
pub enum Tier {
    #[allow(missing_docs, reason = "a schema with a sentence for each value is no enumeration to Kubernetes")]
    Admin,
    #[allow(missing_docs, reason = "as above")]
    Namespace,
    #[allow(missing_docs, reason = "as above")]
    Baseline,
}

/// See [`axle_core::model::Action`].
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "a schema with a sentence for each value is no enumeration to Kubernetes")]
pub enum Action {
    Accept,
    Deny,
    Pass,
}

/// See [`axle_core::model::Enforcement`].
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "a schema with a sentence for each value is no enumeration to Kubernetes")]
pub enum Enforcement {
    Enforce,
    Audit,
}

/// Workloads: of whole namespaces, or by their labels.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
#[x_kube(validation = Rule::new("has(self.namespaces) != has(self.pods)").message("exactly one of namespaces and pods is wanted; `namespaces: {}` is every workload"))]
pub struct Subject {
    /// Of which clusters; absent: of this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clusters: Option<Clusters>,
    /// Every workload of the namespaces with these labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<Selector>,
    /// The workloads with these labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<Pods>,
}

/// A rule for what reaches the subject.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[x_kube(
    validation = Rule::new("self.action == 'Accept' || !self.from.exists(peer, has(peer.service))").message("service is a peer of rules that accept only: what a name leads to can change, deny by labels or networks instead"),
    validation = Rule::new("!self.from.exists(peer, has(peer.domainNames))").message("domainNames are peers of egress rules only: a packet that comes has an address, no name"),
)]
pub struct IngressRule {
    /// For people, and the last part of its name in verdicts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub name: Option<String>,
    /// What it does with a flow that one of the peers and one of the protocols match.
    pub action: Action,
    /// Where the flow comes from.
    #[schemars(length(min = 1, max = 50))]
    pub from: Vec<Peer>,
    /// The ports that it goes to. Absent: every protocol and port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 50))]
    pub protocols: Option<Vec<Port>>,
}

/// A rule for what the subject sends.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[x_kube(validation = Rule::new("self.action == 'Accept' || !self.to.exists(peer, has(peer.service) || has(peer.domainNames))").message("service and domainNames are peers of rules that accept only: what a name leads to can change, deny by labels or networks instead"))]
pub struct EgressRule {
    /// For people, and the last part of its name in verdicts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub name: Option<String>,
    /// What it does with a flow that one of the peers and one of the protocols match.
    pub action: Action,
    /// Where the flow goes.
    #[schemars(length(min = 1, max = 50))]
    pub to: Vec<Peer>,
    /// The ports that it goes to. Absent: every protocol and port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 50))]
    pub protocols: Option<Vec<Port>>,
}

/// One kind of other side; exactly one of the fields but `clusters`.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
#[x_kube(
    validation = Rule::new("[has(self.namespaces), has(self.pods), has(self.nodes), has(self.service), has(self.identities), has(self.domainNames)].filter(is, is).size() <= 1").message("exactly one of namespaces, pods, networks, nodes, service, identities and domainNames is wanted"),
    validation = Rule::new("!has(self.clusters) || !has(self.domainNames)").message("domainNames have no clusters: an address is where it is"),
)]
#[serde(rename_all = "camelCase")]
pub struct Peer {
    /// Of which clusters; absent: of this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clusters: Option<Clusters>,
    /// Every workload of the namespaces with these labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<Selector>,
    /// The workloads with these labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<Pods>,
    /// Any address in these blocks, workloads included: `10.0.0.0/8`, or `{cidr: 10.0.0.0/8, except: [10.1.0.0/16]}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1000))]
    pub networks: Option<Vec<serde_json::Value>>,
    /// Nodes of the mesh with these labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<Selector>,
    /// The backends of an exported service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    /// Workloads of these identities, as `axle identity list` names them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1000), inner(regex(pattern = r"^[0-9A-Fa-f]{32}$")))]
    pub identities: Option<Vec<String>>,
    /// Addresses outside the mesh that these names lead to; a leading `*.` stands for one or more labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 1000),
        inner(
            length(max = 254),
            regex(
                pattern = r"^(\*\.)?[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?)+\.?$"
            )
        )
    )]
    pub domain_names: Option<Vec<String>>,
}

/// A service, by its name.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
pub struct ServiceName {
    /// Its namespace.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub namespace: String,
    /// Its name there.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub name: String,
}

/// One kind of port: exactly one of the fields.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
#[x_kube(validation = Rule::new("[has(self.tcp), has(self.udp), has(self.sctp), has(self.icmp), has(self.icmpv6), has(self.destinationNamedPort)].filter(is, is).size() == 1").message("exactly one of tcp, udp, sctp, icmp, icmpv6 and destinationNamedPort is wanted"))]
#[serde(rename_all = "camelCase")]
pub struct Port {
    /// TCP; `{}` is every port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<Numbered>,
    /// UDP; `{}` is every port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp: Option<Numbered>,
    /// SCTP; `{}` is every port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sctp: Option<Numbered>,
    /// ICMP for IPv4; `{}` is every type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp: Option<IcmpType>,
    /// ICMP for IPv6; `{}` is every type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmpv6: Option<IcmpType>,
    /// The destination's port of this name, of whatever protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 15), regex(pattern = r"^([0-9]+-)*[0-9]*[a-z][a-z0-9]*(-[a-z0-9]+)*$"))]
    pub destination_named_port: Option<String>,
}

/// Ports of a protocol, by number or by name.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
#[x_kube(validation = Rule::new("!(has(self.destinationPort) && has(self.destinationNamedPort))").message("one of destinationPort and destinationNamedPort is wanted, or neither for every port"))]
#[serde(rename_all = "camelCase")]
pub struct Numbered {
    /// By number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_port: Option<Numbers>,
    /// The destination's port of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 15), regex(pattern = r"^([0-9]+-)*[0-9]*[a-z][a-z0-9]*(-[a-z0-9]+)*$"))]
    pub destination_named_port: Option<String>,
}

/// A port or a range of ports.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
#[x_kube(validation = Rule::new("has(self.number) != has(self.range)").message("exactly one of number and range is wanted"))]
pub struct Numbers {
    /// One port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub number: Option<u16>,
    /// Several ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<Range>,
}

/// Ports `start` to `end`, both included.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
#[x_kube(validation = Rule::new("self.start <= self.end").message("start is greater than end: exchange them"))]
pub struct Range {
    /// The first port.
    #[schemars(range(min = 1, max = 65535))]
    pub start: u16,
    /// The last port.
    #[schemars(range(min = 1, max = 65535))]
    pub end: u16,
}

/// Messages of ICMP.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
#[x_kube(validation = Rule::new("!has(self.code) || has(self.type)").message("a code is one of a type: add type"))]
pub struct IcmpType {
    /// The type; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "type")]
    #[schemars(range(max = 255))]
    pub kind: Option<u8>,
    /// The code; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 255))]
    pub code: Option<u8>,
}
