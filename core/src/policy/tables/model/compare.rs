//! Whether two tables mean the same, whatever else lies in them that nothing leads to.
use std::collections::{BTreeSet, HashSet};

use super::Tables;
use crate::policy::tables::{BLOCK_CLASSES, BLOCK_DENY, Class, Direction, Local, PortTable, RowBits, SLOT_DENY, Slot};

impl Tables {
    /// Where these tables and `other` judge differently, in one line; `None` if they judge every packet alike.
    ///
    /// Both have to number classes and port classes alike, as the kernel's tables and their compiler do. Numbers of rows,
    /// blocks and slots may differ, and so may what is left in those that are not used.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<String> {
        self.address_difference(other)
            .or_else(|| self.port_difference(other))
            .or_else(|| self.verdict_difference(other))
    }

    fn address_difference(&self, other: &Self) -> Option<String> {
        let addresses: HashSet<_> = self.addresses.keys().chain(other.addresses.keys()).collect();
        let address = addresses.into_iter().find(|address| self.addresses.get(address) != other.addresses.get(address));
        let prefixes: HashSet<_> = self.prefixes.keys().chain(other.prefixes.keys()).collect();
        let prefix = prefixes.into_iter().find(|prefix| self.prefixes.get(prefix) != other.prefixes.get(prefix));
        let say = |what: String, ours: Option<&Class>, theirs: Option<&Class>| {
            let class = |class: Option<&Class>| class.map_or("no class".into(), |class| format!("class {class}"));
            format!("{what} leads to {} here and to {} there", class(ours), class(theirs))
        };
        let of_address = address.map(|key| say(key.to_string(), self.addresses.get(key), other.addresses.get(key)));
        of_address.or_else(|| prefix.map(|key| say(key.to_string(), self.prefixes.get(key), other.prefixes.get(key))))
    }

    fn port_difference(&self, other: &Self) -> Option<String> {
        PortTable::ALL.into_iter().find_map(|table| {
            let (ours, theirs) = (&self.ports[table as usize], &other.ports[table as usize]);
            let port = ours.iter().zip(theirs).position(|(ours, theirs)| ours != theirs)?;
            Some(format!("{table:?} {port} leads to port class {} here and to {} there", ours[port], theirs[port]))
        })
    }

    fn verdict_difference(&self, other: &Self) -> Option<String> {
        let locals = |tables: &Self| tables.workloads[usize::from(tables.generation)].keys().copied().collect();
        let (mut all, more): (BTreeSet<Local>, BTreeSet<Local>) = (locals(self), locals(other));
        all.extend(more);
        let classes: BTreeSet<Class> = self.addresses.values().chain(self.prefixes.values()).copied().collect();
        let mut ports = RowBits::default();
        for class in self.ports.iter().flatten() {
            ports[usize::from(*class) / 64] |= 1 << (class % 64);
        }
        let mut compared = HashSet::new();
        for local in all {
            for direction in [Direction::Ingress, Direction::Egress] {
                let pair = (self.slot(local, direction), other.slot(local, direction));
                if !compared.insert(pair) {
                    continue;
                }
                let differs = |class: &&Class| {
                    let (ours, theirs) = (self.row(pair.0, **class), other.row(pair.1, **class));
                    ours.iter().zip(theirs).zip(&ports).any(|((ours, theirs), ports)| (ours ^ theirs) & ports != 0)
                };
                if let Some(class) = classes.iter().filter(|class| **class != 0).find(differs) {
                    return Some(format!("workload {local}, {direction:?}: class {class} is judged differently"));
                }
            }
        }
        None
    }

    fn slot(&self, local: Local, direction: Direction) -> Slot {
        let words = self.workloads[usize::from(self.generation)].get(&local);
        let (ingress, egress) = words.copied().unwrap_or((SLOT_DENY, SLOT_DENY));
        match direction {
            Direction::Ingress => ingress,
            Direction::Egress => egress,
        }
    }

    fn row(&self, slot: Slot, class: Class) -> &RowBits {
        // A slot that was never written denies everything.
        let block = self.slots.get(slot as usize).map_or(BLOCK_DENY, |blocks| blocks[(class / BLOCK_CLASSES) as usize]);
        &self.rows[self.blocks[block as usize][(class % BLOCK_CLASSES) as usize] as usize]
    }
}

#[cfg(test)]
mod tests {
    use crate::policy::tables::{Limits, PortTable, Tables, Write};

    fn tables(writes: &[Write]) -> Tables {
        let limits = Limits {
            classes: 512,
            port_classes: 64,
            rows: 16,
            blocks: 16,
            slots: 8,
            locals: 4,
            addresses4: 8,
            addresses6: 8,
            prefixes: 8,
        };
        let mut tables = Tables::new(limits);
        writes.iter().for_each(|write| tables.apply(write).expect("a write that fits"));
        tables
    }

    /// A workload that accepts one port from the peers of one class, with these numbers of row, block and slot.
    fn accepting(number: u32) -> Vec<Write> {
        let mut rows = Box::new([0; 256]);
        rows[3] = number;
        vec![
            Write::Row { row: number, bits: Box::new([2, 0, 0, 0, 0, 0, 0, 0]) },
            Write::Block { block: number, rows },
            Write::SlotBlock { slot: number, index: 1, block: number },
            Write::Ports { table: PortTable::Tcp, first: 80, last: 80, class: 1 },
            Write::Address { address: [10, 0, 0, 1].into(), class: Some(256 + 3) },
            Write::Workload { local: 2, generation: 0, ingress: number, egress: 1 },
        ]
    }

    #[test]
    fn numbers_and_what_nothing_leads_to_make_no_difference() {
        let mut writes = accepting(5);
        // A row of a class that no address has, a bit of a port class that no port has, a generation not in force.
        writes.push(Write::Cell { block: 5, index: 4, row: 1 });
        writes.push(Write::Row { row: 5, bits: Box::new([6, 0, 0, 0, 0, 0, 0, 0]) });
        writes.push(Write::Workload { local: 3, generation: 1, ingress: 1, egress: 1 });
        assert_eq!(tables(&accepting(2)).difference(&tables(&writes)), None);
        assert_eq!(tables(&writes).difference(&tables(&accepting(2))), None);
    }

    #[test]
    fn every_write_that_changes_a_verdict_is_found() {
        let base = tables(&accepting(2));
        for (write, what) in [
            (Write::Address { address: [10, 0, 0, 1].into(), class: None }, "10.0.0.1"),
            (Write::Address { address: [10, 0, 0, 2].into(), class: Some(1) }, "10.0.0.2"),
            (Write::Prefix { prefix: "10.0.0.0/8".parse().expect("a prefix"), class: Some(1) }, "10.0.0.0/8"),
            (Write::Ports { table: PortTable::Udp, first: 53, last: 53, class: 1 }, "Udp 53"),
            (Write::Row { row: 2, bits: Box::new([3, 0, 0, 0, 0, 0, 0, 0]) }, "class 259"),
            (Write::Cell { block: 2, index: 3, row: 1 }, "class 259"),
            (Write::SlotBlock { slot: 2, index: 1, block: 1 }, "class 259"),
            (Write::Workload { local: 2, generation: 0, ingress: 2, egress: 0 }, "workload 2, Egress"),
            (Write::Workload { local: 3, generation: 0, ingress: 1, egress: 0 }, "workload 3, Ingress"),
            (Write::Flip { generation: 1 }, "workload 2"),
        ] {
            let mut writes = accepting(2);
            writes.push(write);
            let changed = tables(&writes);
            for difference in [base.difference(&changed), changed.difference(&base)] {
                assert!(difference.as_ref().is_some_and(|said| said.contains(what)), "{what}: {difference:?}");
            }
        }
    }
}
