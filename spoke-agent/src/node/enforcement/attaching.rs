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
    dataplane::{Attachment, DataPlane, NotEnforced, Status, WorkloadStatus},
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
    pub(super) interfaces: Interfaces,
    /// With the index that the interface had.
    attached: BTreeMap<Local, (Attachment, Option<u32>)>,
    /// By endpoint.
    failed: BTreeMap<Uid, String>,
    locals: BTreeMap<Uid, Local>,
}

impl Attaching {
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
                Some(interface) => wanted.push(Attachment {
                    local: *local,
                    interface: interface.clone(),
                    addresses: endpoint.addresses.clone(),
                    adopt: adoption(endpoint.started_ms, clock::now_ms()),
                }),
            }
        }
        wanted
    }

    /// The data plane was built anew with `attachments`, of which `failed` could not be attached.
    pub(super) fn replaced(&mut self, attachments: Vec<Attachment>, failed: Vec<NotEnforced>) {
        let held = |attachment: Attachment| (attachment.local, (attachment.clone(), index(&attachment.interface)));
        self.attached = attachments.into_iter().map(held).collect();
        for NotEnforced { local, reason, .. } in failed {
            self.attached.remove(&local);
            self.fail(local, reason.to_string());
        }
    }

    fn fail(&mut self, local: Local, reason: String) {
        if let Some((uid, _)) = self.locals.iter().find(|(_, of)| **of == local) {
            tracing::warn!(workload.uid = %uid, %reason, "a workload is not enforced");
            self.failed.insert(*uid, reason);
        }
    }

    /// Attaches what is new or changed, takes away what is gone, and tries again what failed.
    pub(super) fn sync(&mut self, compiler: &Compiler, endpoints: &BTreeMap<Uid, Endpoint>, plane: &mut DataPlane) {
        let before = std::mem::take(&mut self.failed);
        let wanted = self.wanted(compiler, endpoints);
        let numbers: BTreeSet<Local> = wanted.iter().map(|attachment| attachment.local).collect();
        let gone: Vec<Local> = self.attached.keys().filter(|local| !numbers.contains(local)).copied().collect();
        for local in gone {
            if let Err(error) = plane.detach(local) {
                tracing::warn!(local, %error, "a workload that is gone cannot be detached");
            }
            self.attached.remove(&local);
        }
        for attachment in wanted {
            let now = index(&attachment.interface);
            let held = self.attached.get(&attachment.local);
            if held.is_some_and(|(held, then)| same(held, &attachment) && now.is_some() && *then == now) {
                continue;
            }
            let local = attachment.local;
            match plane.attach(&attachment) {
                Ok(()) => drop(self.attached.insert(local, (attachment, now))),
                Err(error) => {
                    self.attached.remove(&local);
                    let uid = self.locals.iter().find(|(_, of)| **of == local).map(|(uid, _)| *uid);
                    let known = uid.and_then(|uid| before.get(&uid)).is_some_and(|reason| *reason == error.to_string());
                    if let (true, Some(uid)) = (known, uid) {
                        self.failed.insert(uid, error.to_string());
                    } else {
                        self.fail(local, error.to_string());
                    }
                }
            }
        }
    }

    /// The node's workloads for status.
    pub(super) fn workloads(&self, endpoints: &BTreeMap<Uid, Endpoint>, status: Option<&Status>) -> Vec<Workload> {
        let seen: BTreeMap<Local, &WorkloadStatus> =
            status.iter().flat_map(|status| &status.workloads).map(|one| (one.local, one)).collect();
        let one = |(uid, endpoint): (&Uid, &Endpoint)| {
            let local = self.locals.get(uid);
            let held = local.is_some_and(|local| self.attached.contains_key(local));
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

fn same(held: &Attachment, wanted: &Attachment) -> bool {
    held.interface == wanted.interface && held.addresses == wanted.addresses
}

fn index(interface: &str) -> Option<u32> {
    nix::net::if_::if_nametoindex(interface).ok()
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
