//! The other side of a rule.
use ipnet::IpNet;

use super::{
    super::{
        Violation,
        reader::{At, Map},
    },
    Effect, Importer, Selected,
};
use crate::model::{ClusterSelector, DomainName, LabelSelector, Name, Peer, Peers};

/// Every address of both families.
pub(super) const EVERYWHERE: [&str; 2] = ["0.0.0.0/0", "::/0"];

impl Importer<'_> {
    /// The peers of a rule; `None` if nothing of them can be said here. Without any field for them,
    /// whoever the rule's ports are about.
    pub(super) fn peers(&mut self, map: &Map<'_>, side: &str) -> Option<Peers> {
        let key = |from: &'static str, to: &'static str| if side == "from" { from } else { to };
        let fields = [
            key("fromEndpoints", "toEndpoints"),
            key("fromEntities", "toEntities"),
            key("fromNodes", "toNodes"),
            key("fromGroups", "toGroups"),
            key("fromCIDR", "toCIDR"),
            key("fromCIDRSet", "toCIDRSet"),
            key("fromRequires", "toRequires"),
            "toServices",
            "toFQDNs",
        ];
        let fields = if side == "from" { &fields[..7] } else { &fields };
        let present = map.present(fields);
        let several = present.iter().filter(|field| !field.ends_with("CIDRSet")).count() > 1;
        if several || present.len() > 2 {
            let violation = map.at.violation(present.join(" and "), "one kind of peer in a rule");
            self.faults.add(Violation { fix: "write several rules, as Cilium wants it".into(), ..violation });
            return None;
        }
        if present.is_empty() {
            fields.iter().for_each(|field| drop(map.optional(field)));
            return Some(Peers::Any);
        }
        let mut peers = Vec::new();
        for field in fields {
            let Some(at) = map.optional(field) else { continue };
            let items = at.list(self.faults)?;
            if items.is_empty() {
                self.lose(&at, "an empty list of peers selects nothing");
                continue;
            }
            match *field {
                "fromEndpoints" | "toEndpoints" => peers.extend(items.iter().filter_map(|item| self.endpoints(item))),
                "fromEntities" | "toEntities" => items.iter().for_each(|item| peers.extend(self.entity(item))),
                "fromNodes" | "toNodes" => peers.extend(items.iter().filter_map(|item| self.nodes(item))),
                "fromCIDR" | "toCIDR" => peers.extend(networks(self.cidrs(&at))),
                "fromCIDRSet" | "toCIDRSet" => peers.extend(networks(self.cidr_sets(&at))),
                "toServices" => peers.extend(items.iter().filter_map(|item| self.service(item))),
                "toFQDNs" => peers.extend(self.names(&items)),
                "fromGroups" | "toGroups" => self.lose(&at, format!("{field} has no counterpart here")),
                // It restricts what the rules of every other document allow too.
                _ => at.invalid("no such field", "write its labels into every rule that it is meant for", self.faults),
            }
        }
        // What is left of none matches nothing, and a rule of none is not needed.
        (!peers.is_empty()).then_some(Peers::Of(peers))
    }

    fn endpoints(&mut self, at: &At<'_>) -> Option<Peer> {
        let Selected { clusters, namespaces, pods } = self.selected(at, true)?;
        Some(Peer::Pods { clusters, namespaces, pods })
    }

    fn nodes(&mut self, at: &At<'_>) -> Option<Peer> {
        let Selected { clusters, namespaces, pods } = self.selected(at, false)?;
        if namespaces != LabelSelector::default() {
            self.lose(at, "nodes are in no namespace");
            return None;
        }
        Some(Peer::Nodes { clusters, nodes: pods })
    }

    fn entity(&mut self, at: &At<'_>) -> Vec<Peer> {
        let pods =
            |clusters| Peer::Pods { clusters, namespaces: LabelSelector::default(), pods: LabelSelector::default() };
        let nodes = || Peer::Nodes { clusters: ClusterSelector::Any, nodes: LabelSelector::default() };
        match at.text(self.faults).unwrap_or_default() {
            "all" => {
                let block = |net: &str| net.parse().ok().map(|cidr| crate::model::IpBlock { cidr, except: vec![] });
                networks(EVERYWHERE.iter().filter_map(|net| block(net)).collect()).into_iter().collect()
            }
            "world" => self.world(at, &EVERYWHERE),
            "world-ipv4" => self.world(at, &EVERYWHERE[..1]),
            "world-ipv6" => self.world(at, &EVERYWHERE[1..]),
            "cluster" => vec![pods(ClusterSelector::Own), nodes()],
            "cluster-mesh" => vec![pods(ClusterSelector::Any)],
            "remote-node" => {
                if self.denies {
                    self.note(at, Effect::Stricter, "it denies a workload's own node too");
                }
                vec![nodes()]
            }
            "host" if self.denies => {
                self.note(at, Effect::Stricter, "it denies every node, not only a workload's own");
                vec![nodes()]
            }
            // A workload is never cut off from its own node.
            "host" | "none" => Vec::new(),
            other => {
                self.lose(at, format!("the entity {other:?} has no counterpart here"));
                Vec::new()
            }
        }
    }

    /// Addresses outside the mesh.
    fn world(&mut self, at: &At<'_>, families: &[&str]) -> Vec<Peer> {
        let families: Vec<IpNet> = families.iter().filter_map(|net| net.parse().ok()).collect();
        let blocks = families.into_iter().filter_map(|net| self.outside(at, net, Vec::new())).collect();
        networks(blocks).into_iter().collect()
    }

    fn service(&mut self, at: &At<'_>) -> Option<Peer> {
        let map = at.map(self.faults)?;
        let (by_name, by_labels) = (map.optional("k8sService"), map.optional("k8sServiceSelector"));
        map.finish(self.faults);
        if let Some(at) = by_labels {
            self.lose(&at, "services are named here, not selected by labels");
        }
        let at = by_name?;
        let map = at.map(self.faults)?;
        let mut part = |key| map.required(key, self.faults).and_then(|at| at.name(self.faults));
        let (name, namespace) = (part("serviceName"), part("namespace"));
        map.finish(self.faults);
        self.lose(&at, "it is carried over as the service's backends while the cluster exports it (ServiceExport)");
        let (namespace, name): (Name, Name) = (namespace?, name?);
        (!self.denies).then_some(Peer::Service { clusters: ClusterSelector::Own, namespace, name })
    }

    /// In a pattern of Cilium `*` is a part of one label; only a leading `**.` is what a wildcard is here.
    fn names(&mut self, items: &[At<'_>]) -> Option<Peer> {
        let mut names: Vec<DomainName> = Vec::new();
        for item in items {
            let Some(map) = item.map(self.faults) else { continue };
            let (name, pattern) = (map.optional("matchName"), map.optional("matchPattern"));
            map.finish(self.faults);
            for at in [name, pattern].into_iter().flatten() {
                let text = at.text(self.faults).unwrap_or_default();
                let ours = text.strip_prefix("**.").map_or_else(|| text.to_owned(), |rest| format!("*.{rest}"));
                match ours.parse() {
                    Ok(_) if text.starts_with("*.") => {
                        self.lose(&at, format!("{text:?} is one label in Cilium, here \"*.\" is one or more: name them, or write \"**.\""));
                    }
                    Ok(name) => names.push(name),
                    Err(why) => self.lose(&at, why),
                }
            }
        }
        (!names.is_empty()).then_some(Peer::DomainNames(names))
    }
}

fn networks(blocks: Vec<crate::model::IpBlock>) -> Option<Peer> {
    (!blocks.is_empty()).then_some(Peer::Networks(blocks))
}
