//! CIDR rules and the groups that they refer to.
use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;

use super::{
    super::{
        labels::selector,
        reader::{At, Faults},
    },
    Document, Importer,
};
use crate::model::{IpBlock, Labels};

/// The CiliumCIDRGroups of a text, by name, with their labels.
#[derive(Debug, Default)]
pub(super) struct Groups(BTreeMap<String, (Labels, Vec<IpNet>)>);

impl Groups {
    pub(super) fn of(documents: &[Document<'_>], faults: &mut Faults) -> Self {
        let mut groups = Self::default();
        for document in documents.iter().filter(|document| document.kind == "CiliumCIDRGroup") {
            let spec = document.map.required("spec", faults).and_then(|at| at.map(faults));
            document.map.finish(faults);
            let Some(spec) = spec else { continue };
            let items = spec.required("externalCIDRs", faults).and_then(|at| at.list(faults)).unwrap_or_default();
            spec.finish(faults);
            let blocks = items.iter().filter_map(|item| cidr(item, faults)).collect();
            groups.0.insert(document.name.to_string(), (document.labels.clone(), blocks));
        }
        groups
    }
}

/// A network, or an address alone.
fn cidr(at: &At<'_>, faults: &mut Faults) -> Option<IpNet> {
    if at.is_text()
        && let Some(address) = at.text(faults).and_then(|text| text.parse::<IpAddr>().ok())
    {
        return Some(IpNet::from(address));
    }
    super::super::blocks::masked(at, faults)
}

impl Importer<'_> {
    /// `fromCIDR` and `toCIDR`.
    pub(super) fn cidrs(&mut self, at: &At<'_>) -> Vec<IpBlock> {
        let items = at.list(self.faults).unwrap_or_default();
        let mut blocks = Vec::new();
        for item in items {
            let Some(cidr) = cidr(&item, self.faults) else { continue };
            blocks.extend(self.outside(&item, cidr, Vec::new()));
        }
        blocks
    }

    /// `fromCIDRSet` and `toCIDRSet`.
    pub(super) fn cidr_sets(&mut self, at: &At<'_>) -> Vec<IpBlock> {
        let items = at.list(self.faults).unwrap_or_default();
        items.iter().flat_map(|item| self.cidr_set(item).unwrap_or_default()).collect()
    }

    fn cidr_set(&mut self, at: &At<'_>) -> Option<Vec<IpBlock>> {
        let map = at.map(self.faults)?;
        let (block, group, groups) =
            (map.optional("cidr"), map.optional("cidrGroupRef"), map.optional("cidrGroupSelector"));
        let holes = map.optional("except").map_or(Some(Vec::new()), |at| at.list(self.faults))?;
        map.finish(self.faults);
        let holes: Vec<_> = holes.iter().filter_map(|hole| cidr(hole, self.faults)).collect();
        let blocks = match (block, group, groups) {
            (Some(at), None, None) => vec![cidr(&at, self.faults)?],
            (None, Some(at), None) => {
                let name = at.text(self.faults)?;
                let Some((_, blocks)) = self.groups.0.get(name) else {
                    self.lose(
                        &at,
                        format!("there is no CiliumCIDRGroup {name:?} among the documents: give its file too"),
                    );
                    return None;
                };
                blocks.clone()
            }
            (None, None, Some(at)) => {
                let selector = selector(&at, self.faults)?;
                let selected = self.groups.0.values().filter(|(labels, _)| selector.matches(labels));
                let blocks = selected.flat_map(|(_, blocks)| blocks.clone()).collect();
                self.lose(&at, "only the CiliumCIDRGroups among the documents are known: name them (cidrGroupRef)");
                blocks
            }
            _ => {
                let fix = "write several items";
                at.invalid("exactly one of cidr, cidrGroupRef, cidrGroupSelector", fix, self.faults);
                return None;
            }
        };
        Some(blocks.into_iter().flat_map(|block| self.outside(at, block, holes.clone())).collect())
    }

    /// A block without the addresses of the mesh, which CIDR rules of Cilium do not mean. Nothing is cut out of one that
    /// is denied: who is not a workload or node there, as on a machine beside the clusters, would be reached.
    pub(super) fn outside(&mut self, at: &At<'_>, cidr: IpNet, mut holes: Vec<IpNet>) -> Option<IpBlock> {
        if self.denies {
            if self.mesh.is_empty() || self.mesh.iter().any(|net| net.contains(&cidr) || cidr.contains(net)) {
                self.note(at, super::Effect::Stricter, "it denies the workloads and nodes in this block too");
            }
        } else if self.mesh.is_empty() {
            let why = "it would allow workloads and nodes in this block too: say which addresses those have (--mesh)";
            self.lose(at, why);
            return None;
        } else {
            holes.extend(self.mesh);
        }
        let covered = holes.iter().any(|hole| hole.contains(&cidr));
        holes.retain(|hole| cidr.contains(hole));
        (!covered).then(|| IpBlock { cidr, except: IpNet::aggregate(&holes) })
    }
}
