//! Services in step with the log: which service addresses the kernel turns into which backends.
use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use axle_core::{
    log::Change,
    model::{Name, Protocol, Resource, Uid},
    service::{
        Services,
        dns::{Answer, Asked},
    },
};
use ipnet::IpNet;
use parking_lot::RwLock;

use crate::dataplane::{self, Calls, ServicePlane, ServiceSettings, detach_services};

/// Where services are translated.
#[derive(Debug, Clone)]
pub struct Translation {
    /// The node's cluster.
    pub cluster: Uid,
    /// The node.
    pub node: Name,
    /// The workloads' cgroup; without one nothing is translated.
    pub cgroup: Option<PathBuf>,
    /// Where the programs are pinned.
    pub pins: PathBuf,
}

/// See the module. What goes wrong leaves the programs of before in force, and is tried again with every change and tick.
pub struct Translating {
    settings: Translation,
    names: Names,
    ranges: Vec<IpNet>,
    plane: Option<ServicePlane>,
    /// Why the kernel is not in step.
    broken: Option<String>,
    /// What the kernel has no hook for.
    untranslated: Option<String>,
}

/// The node's services, as they are asked for by name.
#[derive(Debug, Clone)]
pub struct Names(Arc<RwLock<Known>>);

#[derive(Debug)]
struct Known {
    services: Services,
    /// Whether that is all of them.
    begun: bool,
}

impl Names {
    /// What a name has; `None` before the first complete state.
    #[must_use]
    pub fn resolve(&self, name: &str, asked: Asked) -> Option<Answer> {
        let known = self.0.read();
        known.begun.then(|| known.services.resolve(name, asked))
    }
}

impl Translating {
    /// Leaves the kernel alone until [`Translating::begin`].
    #[must_use]
    pub fn new(settings: Translation) -> Self {
        let services = Services::new(settings.cluster, Some(settings.node.clone()));
        let names = Names(Arc::new(RwLock::new(Known { services, begun: false })));
        Self { settings, names, ranges: Vec::new(), plane: None, broken: None, untranslated: None }
    }

    /// The same services by name.
    #[must_use]
    pub fn names(&self) -> Names {
        self.names.clone()
    }

    /// Takes the first complete state.
    pub(super) fn begin(&mut self, objects: &[Change]) {
        let mut known = self.names.0.write();
        known.services.apply(objects);
        known.begun = true;
        drop(known);
        self.note_ranges(objects);
        self.note_untranslated();
        self.mend();
    }

    /// Takes the next changes.
    pub(super) fn revise(&mut self, changes: &[Change]) {
        let differ = self.names.0.write().services.apply(changes);
        let moved = self.note_ranges(changes);
        if differ.keys().any(|frontend| frontend.protocol == Protocol::Sctp) {
            self.note_untranslated();
        }
        let Some(plane) = self.plane.as_mut().filter(|_| self.broken.is_none()) else { return self.retry() };
        let ranges = if moved { plane.set_ranges(self.ranges.clone()) } else { Ok(()) };
        if let Err(error) = ranges.and_then(|()| plane.apply(&differ)) {
            self.fail(&error);
        }
    }

    /// Tries again what failed.
    pub(super) fn retry(&mut self) {
        if self.begun() && self.broken.is_some() {
            self.mend();
        }
    }

    /// What is wrong, for people.
    pub(super) fn problem(&self) -> Option<String> {
        let unused = || self.names.0.read().services.frontends().next().is_none();
        match (&self.broken, &self.settings.cgroup) {
            (Some(why), _) => Some(format!("services are not up to date on this node: {why}")),
            (None, None) if self.begun() && !unused() => {
                Some("services are not translated on this node: it was given no cgroup (--cgroup)".into())
            }
            (None, _) => self.untranslated.clone(),
        }
    }

    /// Calls of services by what became of them.
    pub(super) fn calls(&self) -> Option<Calls> {
        self.plane.as_ref()?.calls().ok()
    }

    /// Puts everything in force anew.
    fn mend(&mut self) {
        let Translation { cgroup, pins, .. } = self.settings.clone();
        let done = match cgroup {
            Some(cgroup) => {
                let settings = ServiceSettings { ranges: self.ranges.clone(), ..ServiceSettings::new(cgroup) };
                let known = self.names.0.read();
                ServicePlane::start(&pins, settings, known.services.frontends()).map(|plane| self.plane = Some(plane))
            }
            // An agent before this one may have had one: nobody would keep its backends up to date.
            None => detach_services(&pins),
        };
        match done {
            Ok(()) => self.broken = None,
            Err(error) => self.fail(&error),
        }
    }

    fn begun(&self) -> bool {
        self.names.0.read().begun
    }

    fn fail(&mut self, error: &dataplane::Error) {
        let why = error.to_string();
        if self.broken.as_ref() != Some(&why) {
            tracing::error!(error = %why, "the kernel does not take the services; what was in force before stays");
        }
        self.broken = Some(why);
    }

    /// Linux asks no program of a cgroup about SCTP's `connect()`, so its callers would wait for an answer in vain.
    fn note_untranslated(&mut self) {
        let known = self.names.0.read();
        let frontends = known.services.frontends().map(|(frontend, _)| frontend);
        let sctp = frontends.filter(|one| one.protocol == Protocol::Sctp);
        let named: Vec<String> = sctp.map(|one| SocketAddr::new(one.address, one.port).to_string()).collect();
        self.untranslated = named.first().map(|first| {
            let count = named.len();
            format!(
                "SCTP services are not translated ({count} addresses, such as {first}): call their backends directly"
            )
        });
    }

    /// Notes where service addresses come from; says whether that changed.
    fn note_ranges(&mut self, changes: &[Change]) -> bool {
        let fleet = changes.iter().find_map(|change| match change {
            Change::Put(object) => match &*object.resource {
                Resource::Fleet(fleet) => Some(vec![IpNet::V4(fleet.vip4), IpNet::V6(fleet.vip6)]),
                _ => None,
            },
            Change::Delete { .. } => None,
        });
        let moved = fleet.as_ref().is_some_and(|fleet| *fleet != self.ranges);
        self.ranges = fleet.unwrap_or_else(|| self.ranges.clone());
        moved
    }
}

#[cfg(test)]
mod tests {
    use axle_core::model::{PortTarget, Scope, ServiceImport, ServicePort, Traits};
    use axle_proto::convert;

    use super::*;

    #[test]
    fn services_that_no_program_can_translate_are_named() {
        let settings =
            Translation { cluster: Uid([1; 16]), node: Name::new("n1").unwrap(), cgroup: None, pins: PathBuf::new() };
        let mut translating = Translating::new(settings);
        let mut import = |protocol| {
            let port = ServicePort {
                name: String::new(),
                protocol,
                port: 9,
                target: PortTarget::Number(9),
                app_protocol: String::new(),
            };
            let import = ServiceImport {
                namespace: Name::new("shop").unwrap(),
                name: Name::new("db").unwrap(),
                vips: vec!["240.0.0.1".parse().unwrap()],
                ports: vec![port],
                clusters: vec![],
                conflicts: vec![],
                traits: Traits::default(),
            };
            let object = convert::object(Resource::ServiceImport(import), Scope::Fleet, Uid([2; 16]), 1);
            translating.revise(&[Change::Put(object)]);
            translating.problem()
        };
        assert!(
            import(Protocol::Sctp).is_some_and(|problem| problem.contains("SCTP") && problem.contains("240.0.0.1:9"))
        );
        assert_eq!(import(Protocol::Tcp), None);
    }
}
