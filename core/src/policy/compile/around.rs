//! What the prefixes around an address say of it: found once for each run of addresses that no prefix divides.
use std::net::IpAddr;

use ipnet::IpNet;
use smallvec::SmallVec;

use super::{Compiler, atom::AtomId};
use crate::{model::Uid, policy::tables::Class};

/// Number of an [`Around`] among those of an update.
pub(super) type AroundId = u32;

/// The prefixes around an address or prefix.
#[derive(Debug)]
pub(super) struct Around {
    /// The first and the last address of which all of this holds; none if it was found for a prefix.
    run: Option<(IpAddr, IpAddr)>,
    /// Longest first, with their entries and whether they only wait for their removal.
    pub(super) nets: SmallVec<[(IpNet, Option<Class>, bool); 4]>,
    /// Whether it is an address that nothing may be sent to or come from.
    pub(super) is_service: bool,
    /// The cluster whose prefix it lies in.
    pub(super) home: Option<Uid>,
    /// The blocks in force that it is in.
    pub(super) blocks: SmallVec<[AtomId; 4]>,
}

impl Around {
    /// The class that an address without an entry leads to.
    pub(super) fn class(&self) -> Class {
        self.nets.iter().find_map(|(_, entry, _)| *entry).unwrap_or(0)
    }

    /// The longest prefix that stays.
    pub(super) fn lasting(&self) -> Option<IpNet> {
        self.nets.iter().find(|(.., is_gone)| !is_gone).map(|(net, ..)| *net)
    }
}

/// All that an update looks at, and the way through ascending addresses.
#[derive(Debug, Default)]
pub(super) struct Arounds(Vec<Around>);

impl Arounds {
    /// What is around an address; asked for ascending ones.
    pub(super) fn of_address(&mut self, address: IpAddr, compiler: &Compiler) -> AroundId {
        let holds = |around: &Around| around.run.is_some_and(|(first, last)| (first..=last).contains(&address));
        if !self.0.last().is_some_and(holds) {
            let around = compiler.around(address.into());
            let last = compiler.places.end_of_run(address, around.nets.first().map(|(net, ..)| *net));
            self.0.push(Around { run: Some((address, last)), ..around });
        }
        self.0.len() as AroundId - 1
    }

    /// What is around a prefix, itself included.
    pub(super) fn of_prefix(&mut self, net: IpNet, compiler: &Compiler) -> AroundId {
        self.0.push(compiler.around(net));
        self.0.len() as AroundId - 1
    }

    pub(super) fn get(&self, id: AroundId) -> &Around {
        &self.0[id as usize]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Around> {
        self.0.iter()
    }
}

impl Compiler {
    /// What is around an address or prefix.
    pub(super) fn around(&self, net: IpNet) -> Around {
        let nets: SmallVec<[_; 4]> =
            self.places.covering(net).map(|(net, prefix)| (net, prefix.entry, prefix.is_gone())).collect();
        Around {
            run: None,
            is_service: self.is_service(net),
            home: self.places.home(net),
            blocks: self.places.blocks(net).collect(),
            nets,
        }
    }
}
