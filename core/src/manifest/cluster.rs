//! `Cluster`: what a hub knows of a cluster, for who has no hub to ask.
use ipnet::IpNet;

use super::{
    labels::labels,
    reader::{Faults, Map},
};
use crate::model::{Action, Labels, Name};

/// A cluster as a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterDocument {
    /// Its name, if the document says it.
    pub name: Option<Name>,
    /// For locality; may be empty.
    pub region: String,
    /// For cluster selectors.
    pub labels: Labels,
    /// The address ranges of its workloads; none: they follow from the workloads.
    pub prefixes: Vec<IpNet>,
    /// What happens to a flow that no policy decides.
    pub default_action: Action,
}

pub(super) fn read(map: &Map<'_>, faults: &mut Faults) -> Option<ClusterDocument> {
    let metadata = map.optional("metadata").map(|at| {
        let map = at.map(faults)?;
        let name = map.optional("name").map(|at| at.name(faults));
        let labels = map.optional("labels").map_or(Some(Labels::new()), |at| labels(&at, faults));
        map.finish(faults);
        Some((name, labels?))
    });
    let spec = map.optional("spec").map(|at| at.map(faults));
    map.finish(faults);
    let (name, labels) = metadata.unwrap_or_else(|| Some((None, Labels::new())))?;
    let name = match name {
        None => None,
        Some(name) => Some(name?),
    };
    let Some(spec) = spec else {
        let (region, prefixes) = (String::new(), Vec::new());
        return Some(ClusterDocument { name, region, labels, prefixes, default_action: Action::Accept });
    };
    let spec = spec?;
    let region = spec.optional("region").map_or(Some(""), |at| at.text(faults));
    let prefixes = spec.optional("prefixes").map_or(Some(Vec::new()), |at| {
        let items = at.some_list("leave prefixes out to take them from the workloads", faults)?;
        let prefix = |item: &super::reader::At<'_>, faults: &mut Faults| {
            let net: IpNet = item.parsed("a network such as 10.1.0.0/16 or fd00:1::/32", faults)?;
            if net.addr() != net.network() {
                item.invalid("a network without host bits", format!("write {}", net.trunc()), faults);
                return None;
            }
            Some(net)
        };
        items.iter().map(|item| prefix(item, faults)).collect::<Vec<_>>().into_iter().collect()
    });
    let actions = [("Accept", Action::Accept), ("Deny", Action::Deny)];
    let default_action = spec.optional("defaultAction").map_or(Some(Action::Accept), |at| at.choice(&actions, faults));
    spec.finish(faults);
    Some(ClusterDocument {
        name,
        region: region?.to_owned(),
        labels,
        prefixes: prefixes?,
        default_action: default_action?,
    })
}
