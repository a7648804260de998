use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::atomic::Ordering::{Relaxed, Release},
    time::Duration,
};

use axle_core::policy::tables::{Direction, Limits, Local, Plan, Write};
use aya::{
    Ebpf,
    maps::{HashMap, MapData},
};

use super::{
    Attachment, Collected, Error, Events, NotEnforced, Settings, WriteError,
    attach::{HOOKS, hold, link_index, link_name},
    capacity::check,
    error::kernel,
    flows::Flows,
    interfaces::Interfaces,
    load, offline,
    pins::{self, Pins},
    sys,
    tables::Tables,
};

/// Asked before every write; an error stands for the kernel refusing it. For tests of what happens then.
pub type Gate = Box<dyn FnMut(&Write) -> io::Result<()> + Send>;

/// The data plane of one node. Its methods do not wait for anything but the kernel: [`DataPlane::apply`] takes
/// microseconds, [`DataPlane::replace`] and [`DataPlane::settle`] some milliseconds.
pub struct DataPlane {
    pub(super) settings: Settings,
    pub(super) pins: Pins,
    pub(super) set: Option<Set>,
    pub(super) attached: BTreeMap<Local, Attached>,
    pending: Pending,
    gate: Option<Gate>,
}

/// One set of tables and the programs bound to it, with the maps that outlive both.
pub(super) struct Set {
    pub(super) object: Ebpf,
    pub(super) tables: Tables,
    pub(super) flows: Flows,
    pub(super) interfaces: Interfaces,
    adoptions: HashMap<MapData, u32, u64>,
}

/// A workload whose interface we hold.
#[derive(Debug, Clone)]
pub(super) struct Attached {
    pub(super) attachment: Attachment,
    pub(super) index: u32,
}

/// What has to wait for packets that are under way.
#[derive(Default)]
struct Pending {
    settle: Vec<Write>,
    flipped: bool,
}

impl DataPlane {
    /// Takes the pin directory. What is in force stays so until [`DataPlane::replace`].
    ///
    /// # Errors
    /// [`Error::Locked`] if another agent has it, [`Error::Pins`] if it cannot be used.
    pub fn open(settings: Settings) -> Result<Self, Error> {
        let pins = Pins::open(&settings.pins)?;
        Ok(Self { settings, pins, set: None, attached: BTreeMap::new(), pending: Pending::default(), gate: None })
    }

    /// How much the tables hold.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.settings.limits
    }

    /// The pin directory.
    #[must_use]
    pub fn pins(&self) -> &Pins {
        &self.pins
    }

    /// Sets what is asked before every write, or nothing.
    pub fn set_gate(&mut self, gate: Option<Gate>) {
        self.gate = gate;
    }

    /// Builds a whole new set of tables aside and puts it in force, hook by hook, each at one instant and without losing
    /// a packet. For the start, the restart, and after a failed write.
    ///
    /// `plan` is a whole state: it starts from empty tables. The result names the workloads that could not be attached.
    /// Hooks of theirs that were held before, and those that no attachment names, stay as they are on the former tables:
    /// the first until [`DataPlane::attach`] succeeds, the others until [`DataPlane::release`].
    ///
    /// # Errors
    /// [`Error::Load`], [`Error::Capacity`], [`Error::Write`], [`Error::Map`], [`Error::Pins`]; nothing in force has
    /// changed then.
    pub fn replace(&mut self, plan: &Plan, attachments: &[Attachment]) -> Result<Vec<NotEnforced>, Error> {
        self.pins.restore()?;
        let (mut set, fresh_flows) = Set::load(&self.settings, &self.pins)?;
        check(&set.tables, plan, &self.settings.limits)?;
        write_all(&mut set.tables, &plan.writes, &mut self.gate)?;
        write_all(&mut set.tables, &plan.settle, &mut self.gate)?;
        let living = set.flows.collect(&self.settings.timeouts)?;
        let held = self.held()?;
        // From here on hooks are switched: whatever else happens, this is the set in force.
        let mut attached = BTreeMap::new();
        let mut failed = Vec::new();
        for attachment in attachments {
            let result = attachment.index().and_then(|index| {
                let is_known = held.contains(&index) && !fresh_flows;
                if let Some(count) = set.tables.flows(attachment.local) {
                    count.store(living.by_interface.get(&index).copied().unwrap_or(0), Relaxed);
                }
                set.attach(&self.pins, attachment, index, is_known)?;
                Ok(Attached { attachment: attachment.clone(), index })
            });
            match result {
                Ok(workload) => drop(attached.insert(attachment.local, workload)),
                Err(reason) => failed.push(NotEnforced {
                    local: attachment.local,
                    interface: attachment.interface.clone(),
                    reason,
                }),
            }
        }
        (self.set, self.attached, self.pending) = (Some(set), attached, Pending::default());
        load::remove_former(&self.pins);
        Ok(failed)
    }

    /// Takes the hooks of all interfaces away that none of `wanted` is at. Only whoever knows every workload that runs
    /// here may say so.
    ///
    /// # Errors
    /// [`Error::Pins`] if a link cannot be removed.
    pub fn release(&mut self, wanted: &[Attachment]) -> Result<(), Error> {
        let wanted: BTreeSet<u32> = wanted.iter().filter_map(|attachment| attachment.index().ok()).collect();
        let mut known = self.held()?;
        let set = self.set.as_mut().ok_or(Error::NotReady)?;
        known.extend(set.interfaces.known());
        known.difference(&wanted).try_for_each(|index| set.detach(&self.pins, *index))
    }

    /// Indices of the interfaces at which hooks are held.
    fn held(&self) -> Result<BTreeSet<u32>, Error> {
        Ok(self.pins.links()?.iter().filter_map(|name| link_index(name)).collect())
    }

    /// Forgets the workloads of which somebody took a hook away, and says at which interfaces.
    pub fn lost(&mut self) -> Vec<String> {
        let names = match self.pins.links() {
            Ok(names) => names,
            Err(Error::Pins { source, .. }) if source.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(_) => return Vec::new(),
        };
        let is_held = |index| HOOKS.iter().all(|(direction, ..)| names.contains(&link_name(index, *direction)));
        let lost = self.attached.extract_if(.., |_, workload| !is_held(workload.index));
        lost.map(|(_, workload)| workload.attachment.interface).collect()
    }

    /// The interface at which a workload is attached, and how.
    #[must_use]
    pub fn attached(&self, local: Local) -> Option<(u32, &Attachment)> {
        self.attached.get(&local).map(|workload| (workload.index, &workload.attachment))
    }

    /// Whether an attached workload's hooks are at an interface. They are not if it is gone, whoever has its name and index
    /// by now.
    #[must_use]
    pub fn is_hooked(&self, local: Local) -> bool {
        self.attached.get(&local).is_some_and(|Attached { index, .. }| {
            let hook = |direction| sys::link_interface(&self.pins.link(&link_name(*index, direction)));
            HOOKS.iter().all(|(direction, ..)| hook(*direction).is_ok_and(|at| at == *index))
        })
    }

    /// The workloads that are attached.
    pub fn locals(&self) -> impl Iterator<Item = Local> + '_ {
        self.attached.keys().copied()
    }

    /// Whether a hook at the workload's interface is held that judges by former tables or addresses, because attaching it
    /// anew has failed.
    #[must_use]
    pub fn is_stale(&self, attachment: &Attachment) -> bool {
        let held = || attachment.index().is_ok_and(|index| self.held().is_ok_and(|held| held.contains(&index)));
        !self.attached.contains_key(&attachment.local) && held()
    }

    /// Carries a plan out, one write after the other. What the plan before left to settle is settled first.
    ///
    /// # Errors
    /// [`Error::Capacity`] before anything is written, else [`Error::Write`] with the write that failed.
    pub fn apply(&mut self, plan: &Plan) -> Result<(), Error> {
        self.settle()?;
        let set = self.set.as_mut().ok_or(Error::NotReady)?;
        check(&set.tables, plan, &self.settings.limits)?;
        self.pending.flipped = plan.writes.iter().any(|write| matches!(write, Write::Flip { .. }));
        write_all(&mut set.tables, &plan.writes, &mut self.gate)?;
        self.pending.settle.clone_from(&plan.settle);
        Ok(())
    }

    /// Waits until no packet is under way that read what the last plan replaced, makes its last writes, and waits again:
    /// then the numbers that it freed may be used anew. Call it when there is time; [`DataPlane::apply`] does if nobody
    /// has.
    ///
    /// # Errors
    /// [`Error::Write`] with the write that failed, [`Error::Map`] if the kernel cannot tell when packets are through.
    pub fn settle(&mut self) -> Result<(), Error> {
        let set = self.set.as_mut().ok_or(Error::NotReady)?;
        if !self.pending.flipped && self.pending.settle.is_empty() && !set.tables.addresses4.has_unlinked() {
            return Ok(());
        }
        let wait = || sys::grace_period().map_err(|source| Error::Map { map: "CONTROL", source });
        wait()?;
        let settle = std::mem::take(&mut self.pending).settle;
        if !settle.is_empty() {
            write_all(&mut set.tables, &settle, &mut self.gate)?;
            wait()?;
        }
        set.tables.addresses4.free_unlinked();
        Ok(())
    }

    /// Whether a plan fits, before anything of it is written.
    ///
    /// # Errors
    /// [`Error::Capacity`] with what there is too little of.
    pub fn check(&self, plan: &Plan) -> Result<(), Error> {
        let set = self.set.as_ref().ok_or(Error::NotReady)?;
        Ok(check(&set.tables, plan, &self.settings.limits)?)
    }

    /// Attaches a workload, or changes the addresses of one that is attached, or its interface. Until a plan says
    /// otherwise, all its packets are denied; so they are for good under a number that the tables do not have.
    ///
    /// # Errors
    /// [`Error::Interface`] and [`Error::TooManyAddresses`]: the workload's packets are then not judged, or as before
    /// ([`DataPlane::is_stale`]). Hooks at an interface that it had stay until [`DataPlane::release`].
    pub fn attach(&mut self, attachment: &Attachment) -> Result<(), Error> {
        let before = self.attached.remove(&attachment.local);
        let set = self.set.as_mut().ok_or(Error::NotReady)?;
        let index = attachment.index()?;
        let is_known = self.pins.links()?.contains(&link_name(index, Direction::Egress));
        set.attach(&self.pins, attachment, index, is_known)?;
        self.attached.insert(attachment.local, Attached { attachment: attachment.clone(), index });
        before.map_or(Ok(()), |before| self.leave(before.index))
    }

    /// Takes a workload's hooks away: its packets are no longer judged. If another workload is attached at the same
    /// interface by now, they are its hooks and stay.
    ///
    /// # Errors
    /// [`Error::UnknownWorkload`] if it is not attached, [`Error::Pins`] if its links cannot be removed.
    pub fn detach(&mut self, local: Local) -> Result<(), Error> {
        let workload = self.attached.remove(&local).ok_or(Error::UnknownWorkload(local))?;
        self.leave(workload.index)
    }

    fn leave(&mut self, index: u32) -> Result<(), Error> {
        if self.attached.values().any(|workload| workload.index == index) {
            return Ok(());
        }
        self.set.as_mut().ok_or(Error::NotReady)?.detach(&self.pins, index)
    }

    /// Removes idle flows and corrects the workloads' shares. Meant to be called every few seconds.
    ///
    /// # Errors
    /// [`Error::Map`] if the table of flows cannot be read or written.
    pub fn collect(&mut self) -> Result<Collected, Error> {
        let set = self.set.as_mut().ok_or(Error::NotReady)?;
        let collected = set.flows.collect(&self.settings.timeouts)?;
        for (local, workload) in &self.attached {
            if let Some(count) = set.tables.flows(*local) {
                count.store(collected.by_interface.get(&workload.index).copied().unwrap_or(0), Release);
            }
        }
        Ok(collected)
    }

    /// Lets denied packets pass for a while, or (`None`) ends that. It ends by itself also without an agent.
    ///
    /// # Errors
    /// [`Error::Map`] if there are no programs yet.
    pub fn bypass(&self, lasting: Option<Duration>) -> Result<(), Error> {
        offline::bypass(self.pins.path(), lasting)
    }

    /// Opens the stream of events.
    ///
    /// # Errors
    /// [`Error::Map`] if there are no programs yet.
    pub fn events(&self) -> Result<Events, Error> {
        Events::open(self.pins.path())
    }
}

impl Set {
    fn load(settings: &Settings, pins: &Pins) -> Result<(Self, bool), Error> {
        let (mut object, fresh_flows) = load::load(settings, pins)?;
        for (_, name, _) in HOOKS {
            load::program(&mut object, name)?;
        }
        let tables = Tables::new(&mut object, settings)?;
        let interfaces = Interfaces::new(&mut object)?;
        let flows = Flows::new(&mut object)?;
        let adoptions = load::map(&mut object, "ADOPTIONS")?;
        Ok((Self { object, tables, interfaces, flows, adoptions }, fresh_flows))
    }

    /// Makes both hooks of an interface judge for a workload. `is_known`: its flows have been tracked before.
    fn attach(&mut self, pins: &Pins, attachment: &Attachment, index: u32, is_known: bool) -> Result<(), Error> {
        self.interfaces.put(attachment.entry(index)?)?;
        if !is_known && !attachment.adopt.is_zero() {
            let until = sys::now() + attachment.adopt.as_nanos() as u64;
            let result = self.adoptions.insert(&index, &until, 0);
            result.map_err(|error| Error::Map { map: "ADOPTIONS", source: kernel(error) })?;
        }
        for (direction, program, hook) in HOOKS {
            let program = load::program(&mut self.object, program)?;
            hold(program, pins, index, direction, hook).map_err(|error| attachment.error("attaching to it", error))?;
        }
        Ok(())
    }

    fn detach(&mut self, pins: &Pins, index: u32) -> Result<(), Error> {
        for (direction, ..) in HOOKS {
            pins::remove_link(&pins.link(&link_name(index, direction)))?;
        }
        self.interfaces.remove(index)?;
        match self.adoptions.remove(&index).map_err(kernel) {
            Err(source) if source.raw_os_error() != Some(libc::ENOENT) => Err(Error::Map { map: "ADOPTIONS", source }),
            _ => Ok(()),
        }
    }
}

fn write_all(tables: &mut Tables, writes: &[Write], gate: &mut Option<Gate>) -> Result<(), Error> {
    for (index, write) in writes.iter().enumerate() {
        let allowed = gate.as_mut().map_or(Ok(()), |gate| gate(write)).map_err(WriteError::Kernel);
        allowed.and_then(|()| tables.write(write)).map_err(|source| Error::Write {
            index,
            count: writes.len(),
            write: Box::new(write.clone()),
            source,
        })?;
    }
    Ok(())
}
