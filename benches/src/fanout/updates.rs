//! The updates: endpoints with six labels that change, about 240 bytes each.
use axle_core::{
    log::{Change, Delta, Position},
    model::{Endpoint, Labels, Name, Resource, Scope, Uid},
};
use axle_proto::convert;

/// An endless sequence of revisions, one endpoint each.
pub(super) struct Updates {
    at: Position,
}

impl Updates {
    pub(super) fn from(at: Position) -> Self {
        Self { at }
    }

    pub(super) fn next(&mut self) -> anyhow::Result<Delta> {
        let revision = self.at.revision + 1;
        let mut uid = Uid([3; 16]);
        uid.0[0] = u8::try_from(revision % 200)?;
        let labels: Labels =
            [("app", "checkout"), ("tier", "backend"), ("team", "payments"), ("version", "v2"), ("zone", "a")]
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .chain([("generation".to_owned(), format!("{:06}", revision % 1_000_000))])
                .collect();
        let endpoint = Endpoint {
            namespace: Name::new("shop")?,
            name: Name::new("checkout-7d9c")?,
            node: Name::new("node-17")?,
            service_account: "checkout".into(),
            labels,
            addresses: vec![[10, 1, 2, uid.0[0]].into()],
            named_ports: vec![],
            started_ms: 1_700_000_000_000,
            ready: true,
            host: None,
        };
        let object = convert::object(Resource::Endpoint(endpoint), Scope::Cluster(Uid([1; 16])), uid, revision);
        let delta = Delta::next(&self.at, vec![Change::Put(object)], None);
        self.at = delta.to;
        Ok(delta)
    }
}
