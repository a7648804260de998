//! Address blocks.
use std::collections::BTreeSet;

use ipnet::IpNet;

use super::{
    reader::{At, Faults, Map},
    rules::Form,
};
use crate::model::IpBlock;

/// A network: `10.0.0.0/8`, or in our own policies `{cidr, except}` too.
pub(super) fn block(at: &At<'_>, form: Form, faults: &mut Faults) -> Option<IpBlock> {
    if form == Form::Cluster {
        return Some(IpBlock { cidr: masked(at, faults)?, except: Vec::new() });
    }
    if at.is_text() {
        return Some(IpBlock { cidr: cidr(at, faults)?, except: Vec::new() });
    }
    let map = at.map(faults)?;
    with_holes(&map, cidr, faults)
}

/// `cidr` and `except`, whose blocks are read by `read`.
pub(super) fn with_holes(
    map: &Map<'_>,
    read: impl Fn(&At<'_>, &mut Faults) -> Option<IpNet>,
    faults: &mut Faults,
) -> Option<IpBlock> {
    let outer = map.required("cidr", faults).and_then(|at| read(&at, faults));
    let holes = map.optional("except").map_or(Some(Vec::new()), |at| at.list(faults));
    map.finish(faults);
    let (outer, holes) = (outer?, holes?);
    let mut except = BTreeSet::new();
    for at in holes {
        let hole = read(&at, faults)?;
        if !outer.contains(&hole) || hole == outer {
            at.invalid(format!("a part of {outer}"), "remove it, or widen cidr", faults);
        }
        except.insert(hole);
    }
    Some(IpBlock { cidr: outer, except: except.into_iter().collect() })
}

const WANT: &str = "a network such as 10.0.0.0/8 or fd00::/8";

fn cidr(at: &At<'_>, faults: &mut Faults) -> Option<IpNet> {
    let net: IpNet = at.parsed(WANT, faults)?;
    if net.addr() != net.network() {
        at.invalid("a network without host bits", format!("write {}", net.trunc()), faults);
        return None;
    }
    Some(net)
}

/// As Kubernetes reads it: host bits do not count.
pub(super) fn masked(at: &At<'_>, faults: &mut Faults) -> Option<IpNet> {
    at.parsed::<IpNet>(WANT, faults).map(|net| net.trunc())
}
