//! This machine's part of the inventory: itself, its workloads, and where they are attached.
use std::{convert::Infallible, path::PathBuf, sync::Arc};

use axle_core::manifest::Document;

use super::{
    NodeSetup,
    addresses::own_addresses,
    enforcement::{Enforcement, Work},
};
use crate::{
    clock,
    disk::{self, Sealed},
    inventory::{Interfaces, Inventory, InventoryWatch, Machine, NodeObjects, ThisNode},
    merged_log::Feed,
    problems::Problems,
    shared_log::{SharedLog, Unread, fresh_uid},
    state_directory::StateDirectory,
};

/// See the module.
pub(super) struct LocalInventory {
    setup: NodeSetup,
    log: Arc<SharedLog>,
    enforcement: Enforcement,
    problems: Problems,
    path: PathBuf,
    interfaces: Interfaces,
    complete: bool,
}

impl LocalInventory {
    /// Begins with the interfaces that were known before.
    pub(super) fn open(
        setup: &NodeSetup,
        state: &StateDirectory,
        log: Arc<SharedLog>,
        enforcement: Enforcement,
        problems: Problems,
    ) -> std::io::Result<Self> {
        let path = state.interfaces();
        let interfaces = match disk::unseal(&path)? {
            Sealed::Missing => Interfaces::new(),
            Sealed::SetAside(why) => {
                tracing::error!(%why, "workloads are attached again once the inventory is read");
                Interfaces::new()
            }
            Sealed::Whole(bytes) => serde_json::from_slice(&bytes).map_err(|error| disk::at(&path, &error.into()))?,
        };
        enforcement.ask(Work::Place { interfaces: interfaces.clone(), complete: false });
        Ok(Self { setup: setup.clone(), log, enforcement, problems, path, interfaces, complete: false })
    }

    /// Takes the inventory at each change, and this machine's addresses now and then.
    pub(super) async fn follow(mut self, mut inventory: InventoryWatch) {
        self.log.begun().await;
        // Not before the directory was looked at: what it says may be less than what is running.
        if inventory.wait_for(|inventory| inventory.complete || !inventory.problems.is_empty()).await.is_err() {
            return;
        }
        loop {
            let now = inventory.borrow_and_update().clone();
            self.take(&now);
            tokio::select! {
                changed = inventory.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(self.setup.rescan) => {}
            }
        }
    }

    fn take(&mut self, inventory: &Inventory) {
        let node = ThisNode { name: self.setup.enrollment.node.clone(), machine: self.machine(inventory) };
        // Nobody else writes what this takes, so it stays as it is between the two steps.
        let objects = self.log.read(|log| NodeObjects::of(inventory, log, &node, clock::now_ms(), &mut fresh_uid));
        self.place(objects.interfaces, objects.complete);
        let batch = objects.batch;
        let Ok(_) =
            self.log.take_with(&Feed::Local, (None, None), Unread::default(), |_| Ok::<_, Infallible>((batch, ())));
        let mut wrong = inventory.problems.clone();
        if !self.setup.beside_relay {
            wrong.extend(foreign(inventory));
        }
        wrong.extend(self.log.trouble());
        self.problems.set("node inventory", wrong);
    }

    /// What is set counts, then what the inventory says, and what the system says.
    fn machine(&self, inventory: &Inventory) -> Option<Machine> {
        let said = if self.setup.inventory_knows { inventory.machine.clone()? } else { Machine::default() };
        let mut addresses = self.setup.addresses.clone();
        if addresses.is_empty() {
            addresses = own_addresses();
            addresses.extend(said.addresses);
            addresses.sort_unstable();
            addresses.dedup();
        }
        let labels = said.labels.into_iter().chain(self.setup.labels.clone()).collect();
        Some(Machine { labels, addresses })
    }

    /// Known before the log names the workloads, so that they are attached at once.
    fn place(&mut self, interfaces: Interfaces, complete: bool) {
        let mut next = if complete { Interfaces::new() } else { self.interfaces.clone() };
        next.extend(interfaces);
        if (&next, complete) == (&self.interfaces, self.complete) {
            return;
        }
        if next != self.interfaces {
            let text = serde_json::to_vec(&next).map_err(std::io::Error::other);
            if let Err(error) = text.and_then(|text| disk::seal(&self.path, &text)) {
                tracing::error!(%error, "interfaces cannot be kept on disk");
            }
        }
        (self.interfaces, self.complete) = (next, complete);
        self.enforcement.ask(Work::Place { interfaces: self.interfaces.clone(), complete });
    }
}

/// What only a relay takes.
fn foreign(inventory: &Inventory) -> Option<String> {
    let mut kinds: Vec<&str> = inventory
        .documents
        .iter()
        .filter(|document| !matches!(document, Document::Workload(_)))
        .map(Document::kind)
        .collect();
    kinds.dedup();
    let kinds = kinds.join(", ");
    (!kinds.is_empty())
        .then(|| format!("{kinds}: these belong into the inventory of the cluster's relay, here they are ignored"))
}
