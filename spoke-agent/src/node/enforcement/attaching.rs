//! Which workloads are attached, and why the others are not.
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use axle_core::{
    model::{Endpoint, Uid},
    policy::{compile::Compiler, tables::Local},
};

use crate::{
    clock,
    dataplane::{self, Attachment, DataPlane, NotEnforced, OWN_ADDRESSES, Status, WorkloadStatus},
    inventory::Interfaces,
    status::Workload,
};

/// For how long connections that are older than our hooks are taken over.
const ADOPTION: Duration = Duration::from_secs(60);
/// A workload younger than this has no connections that are older than our hooks.
const JUST_STARTED_MS: u64 = 2_000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Attaching {
    interfaces: Interfaces,
    /// Whether a workload that `interfaces` does not have is none of this machine's.
    complete: bool,
    /// By endpoint.
    failed: BTreeMap<Uid, String>,
    locals: BTreeMap<Uid, Local>,
    /// Whether hooks may be held that no workload needs.
    leftovers: bool,
    /// Whether one of the workloads that failed is judged by former tables.
    pub(super) stale: bool,
}

impl Attaching {
    /// Takes over where workloads are. One that the log still has keeps its interface until the log says that it is gone:
    /// whatever takes its place there may not be unprotected in between.
    pub(super) fn place(&mut self, interfaces: Interfaces, complete: bool, endpoints: &BTreeMap<Uid, Endpoint>) {
        let before = std::mem::replace(&mut self.interfaces, interfaces);
        for (uid, interface) in before.into_iter().filter(|(uid, _)| endpoints.contains_key(uid)) {
            self.interfaces.entry(uid).or_insert(interface);
        }
        self.complete = complete;
    }

    /// What the compiler's workloads need.
    pub(super) fn wanted(&mut self, compiler: &Compiler, endpoints: &BTreeMap<Uid, Endpoint>) -> Vec<Attachment> {
        self.locals = compiler.locals().map(|workload| (workload.endpoint, workload.local)).collect();
        self.failed.clear();
        let without: Vec<Uid> = endpoints.keys().filter(|uid| !self.locals.contains_key(uid)).copied().collect();
        for (uid, local) in without.into_iter().zip((0..=Local::MAX).rev()) {
            self.locals.insert(uid, local);
            self.failed.insert(uid, "the node's tables have no room for it; all its packets are denied".into());
        }
        let mut wanted = Vec::new();
        let mut taken = BTreeSet::new();
        for (uid, local) in &self.locals {
            let Some(endpoint) = endpoints.get(uid) else { continue };
            match self.interfaces.get(uid) {
                None => drop(self.failed.insert(*uid, "the inventory does not say which interface it has".into())),
                Some(interface) if !taken.insert(interface.clone()) => {
                    self.failed.insert(*uid, format!("interface {interface} is another workload's"));
                }
                Some(interface) => {
                    let addresses: Vec<_> = endpoint.addresses.iter().take(OWN_ADDRESSES).copied().collect();
                    if addresses.len() < endpoint.addresses.len() {
                        let why = format!("it may have {OWN_ADDRESSES} addresses; what it sends from others is denied");
                        self.failed.insert(*uid, why);
                    }
                    let adopt = adoption(endpoint.started_ms, clock::now_ms());
                    wanted.push(Attachment { local: *local, interface: interface.clone(), addresses, adopt });
                }
            }
        }
        wanted
    }

    /// The data plane was built anew with `attachments`, of which `failed` could not be attached.
    pub(super) fn replaced(&mut self, attachments: &[Attachment], failed: Vec<NotEnforced>, plane: &DataPlane) {
        (self.leftovers, self.stale) = (true, false);
        for NotEnforced { local, reason, .. } in failed {
            let attachment = attachments.iter().find(|attachment| attachment.local == local);
            let stale = attachment.is_some_and(|attachment| plane.is_stale(attachment));
            self.fail(local, &reason, stale, &BTreeMap::new());
        }
    }

    fn fail(&mut self, local: Local, why: &dataplane::Error, stale: bool, before: &BTreeMap<Uid, String>) {
        let Some((uid, _)) = self.locals.iter().find(|(_, of)| **of == local) else { return };
        let kept = if stale { "; the policy of before stays in force there, and is not kept up to date" } else { "" };
        let reason = format!("{why}{kept}");
        if before.get(uid) != Some(&reason) {
            tracing::warn!(workload.uid = %uid, %reason, "a workload is not enforced");
        }
        self.stale |= stale;
        self.failed.insert(*uid, reason);
    }

    /// Attaches what is new or changed, tries again what failed, and takes away what is gone: last, so that whatever takes
    /// the place of a workload at its interface takes over its hooks.
    pub(super) fn sync(&mut self, compiler: &Compiler, endpoints: &BTreeMap<Uid, Endpoint>, plane: &mut DataPlane) {
        let before = std::mem::take(&mut self.failed);
        let wanted = self.wanted(compiler, endpoints);
        self.stale = false;
        for attachment in &wanted {
            let held = plane.attached(attachment.local);
            if held.is_some_and(|held| is_same(held, attachment)) && plane.is_hooked(attachment.local) {
                continue;
            }
            if let Err(error) = plane.attach(attachment) {
                self.leftovers = true;
                self.fail(attachment.local, &error, plane.is_stale(attachment), &before);
            }
        }
        let numbers: BTreeSet<Local> = wanted.iter().map(|attachment| attachment.local).collect();
        let gone: Vec<Local> = plane.locals().filter(|local| !numbers.contains(local)).collect();
        for local in gone {
            if let Err(error) = plane.detach(local) {
                self.leftovers = true;
                tracing::warn!(local, %error, "a workload that is gone cannot be detached");
            }
        }
        // While the inventory is not complete, whoever is at another hook may run here.
        if self.leftovers && self.complete {
            match plane.release(&wanted) {
                Ok(()) => self.leftovers = false,
                Err(error) => tracing::warn!(%error, "hooks that nobody needs cannot be taken away"),
            }
        }
    }

    /// The node's workloads for status.
    pub(super) fn workloads(
        &self,
        endpoints: &BTreeMap<Uid, Endpoint>,
        plane: &DataPlane,
        status: Option<&Status>,
    ) -> Vec<Workload> {
        let seen: BTreeMap<Local, &WorkloadStatus> =
            status.iter().flat_map(|status| &status.workloads).map(|one| (one.local, one)).collect();
        let one = |(uid, endpoint): (&Uid, &Endpoint)| {
            let local = self.locals.get(uid);
            let held = local.is_some_and(|local| plane.attached(*local).is_some());
            let seen = local.and_then(|local| seen.get(local));
            let reason = match (self.failed.get(uid), held, seen) {
                (Some(reason), ..) => reason.clone(),
                (None, false, _) => "it is not attached yet".into(),
                (None, true, Some(seen)) if seen.is_proven() => String::new(),
                (None, true, Some(seen)) => unproven(seen),
                (None, true, None) => "its hooks cannot be read".into(),
            };
            Workload {
                namespace: endpoint.namespace.to_string(),
                name: endpoint.name.to_string(),
                uid: uid.to_string(),
                interface: self.interfaces.get(uid).cloned().unwrap_or_default(),
                enforced: held,
                proven: reason.is_empty(),
                reason,
            }
        };
        endpoints.iter().map(one).collect()
    }
}

/// Whether what is attached is what is wanted, at the interface that has the name now.
fn is_same((index, held): (u32, &Attachment), wanted: &Attachment) -> bool {
    let now = || nix::net::if_::if_nametoindex(wanted.interface.as_str()).ok();
    held.interface == wanted.interface && held.addresses == wanted.addresses && now() == Some(index)
}

/// A workload that has just started has no connections that are older than our hooks.
fn adoption(started_ms: u64, now_ms: u64) -> Duration {
    if now_ms.saturating_sub(started_ms) < JUST_STARTED_MS { Duration::ZERO } else { ADOPTION }
}

fn unproven(seen: &WorkloadStatus) -> String {
    match (seen.sent, seen.received) {
        (0, 0) => "attached; no packet was seen yet".into(),
        (0, _) => "attached; no packet from it was seen yet".into(),
        _ => "attached; no packet for it was seen yet".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_older_than_the_hooks_is_taken_over() {
        assert_eq!(adoption(1_000, 1_500), Duration::ZERO);
        assert_eq!(adoption(1_000, 500), Duration::ZERO, "a clock that was set back");
        assert_eq!(adoption(1_000, 60_000), ADOPTION);
    }
}
