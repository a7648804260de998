//! Identity: what a workload is, as a name that any node computes alone.
//!
//! An identity is namespace, service account and labels, but for the label keys that the fleet excludes. The cluster is
//! no part of it, nor are the namespace's labels: `app=x` in fifty clusters is one identity, and a namespace that is
//! relabelled changes no endpoint.
pub use crate::model::IdentityId;
use crate::model::{Endpoint, Labels, Name};

/// The domain of the hash, and with it the version of the canonical form: another form gets another text here, so that
/// no name is ever computed in two ways.
const DOMAIN: &str = "axle.dev 2026 workload identity v1";

/// What a workload is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// Its namespace.
    pub namespace: Name,
    /// The account it runs as; may be empty.
    pub service_account: String,
    /// Its labels without the excluded keys.
    pub labels: Labels,
}

impl Identity {
    /// The identity of an endpoint. `excluded` are the fleet's excluded label keys
    /// ([`Fleet::excluded_label_keys`](crate::model::Fleet::excluded_label_keys)).
    #[must_use]
    pub fn of(endpoint: &Endpoint, excluded: &[String]) -> Self {
        Self::new(&endpoint.namespace, &endpoint.service_account, &endpoint.labels, excluded)
    }

    /// The identity of a workload with this namespace, account and labels.
    #[must_use]
    pub fn new(namespace: &Name, service_account: &str, labels: &Labels, excluded: &[String]) -> Self {
        let counts = |key: &String| !excluded.contains(key);
        let labels = labels.iter().filter(|(key, _)| counts(key)).map(|(k, v)| (k.clone(), v.clone()));
        Self { namespace: namespace.clone(), service_account: service_account.into(), labels: labels.collect() }
    }

    /// Its name.
    ///
    /// The canonical form is a sequence of texts, each as its length in bytes (`u64`, little-endian) and its UTF-8:
    /// namespace, service account, then key and value of each label in the byte order of the keys. A text cannot be
    /// mistaken for two, nor a label for an account.
    #[must_use]
    pub fn id(&self) -> IdentityId {
        let mut hasher = blake3::Hasher::new_derive_key(DOMAIN);
        let mut text = |text: &str| {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        };
        text(self.namespace.as_str());
        text(&self.service_account);
        for (key, value) in &self.labels {
            text(key);
            text(value);
        }
        let mut id = [0; 16];
        hasher.finalize_xof().fill(&mut id);
        IdentityId(id)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn identity(namespace: &str, account: &str, labels: &[(&str, &str)]) -> Identity {
        Identity {
            namespace: Name::new(namespace).unwrap(),
            service_account: account.into(),
            labels: labels.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
        }
    }

    /// These names are in every fleet's memory: a change here is a change of every identity, and needs a new version.
    /// Computed with another implementation of BLAKE3.
    #[test]
    fn golden_vectors() {
        let cases: [(Identity, &str); 5] = [
            (identity("default", "", &[]), "c503f5dcc9a60a2763c875f68694e0d7"),
            (identity("shop", "web", &[("app", "web")]), "e4b5e0027577a482fdefe0c71c2f1f60"),
            (identity("shop", "web", &[("app", "web"), ("tier", "front")]), "9a4a9eb2ecabc57156e02d8ce76415d2"),
            (
                identity("shop", "", &[("app.kubernetes.io/name", "wéb"), ("empty", "")]),
                "f157011a5a17c2f13b0487e422755e21",
            ),
            (identity("a.b", "default", &[("k", "v"), ("kk", "vv"), ("k-1", "v")]), "c1ee80d7f36a0b21aabb388cf75d240a"),
        ];
        for (identity, name) in cases {
            assert_eq!(identity.id().to_string(), name, "{identity:?}");
        }
    }

    #[test]
    fn parts_do_not_run_together() {
        let pairs = [
            (identity("shop", "", &[("a", "bc")]), identity("shop", "", &[("ab", "c")])),
            (identity("shop", "a", &[("b", "c")]), identity("shop", "", &[("a", "b"), ("c", "")])),
            (identity("shop", "web", &[]), identity("web", "shop", &[])),
        ];
        for (one, other) in pairs {
            assert_ne!(one.id(), other.id(), "{one:?} and {other:?}");
        }
    }

    #[test]
    fn excluded_keys_do_not_count() {
        let endpoint = |hash: &str| Endpoint {
            namespace: Name::new("shop").unwrap(),
            name: Name::new("web-1").unwrap(),
            node: Name::new("n1").unwrap(),
            service_account: "web".into(),
            labels: [("app".into(), "web".into()), ("pod-template-hash".into(), hash.into())].into(),
            addresses: vec![],
            named_ports: vec![],
            started_ms: 0,
            ready: true,
            host: None,
        };
        let excluded = ["pod-template-hash".to_owned()];
        assert_eq!(Identity::of(&endpoint("1"), &excluded).id(), Identity::of(&endpoint("2"), &excluded).id());
        assert_ne!(Identity::of(&endpoint("1"), &[]).id(), Identity::of(&endpoint("2"), &[]).id());
    }

    #[test]
    fn text_form() {
        let id = identity("shop", "web", &[]).id();
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "12", "+0000000000000000000000000000000", "g0000000000000000000000000000000"] {
            assert!(bad.parse::<IdentityId>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        /// Equal names only for equal identities (as far as chance can find one).
        #[test]
        fn names_follow_content(
            a in prop::collection::btree_map("[ab]{0,2}", "[ab]{0,2}", 0..3),
            b in prop::collection::btree_map("[ab]{0,2}", "[ab]{0,2}", 0..3),
            account in "[ab]{0,2}", other in "[ab]{0,2}",
        ) {
            let one = Identity { namespace: Name::new("n").unwrap(), service_account: account, labels: a };
            let two = Identity { namespace: Name::new("n").unwrap(), service_account: other, labels: b };
            prop_assert_eq!(one == two, one.id() == two.id());
        }
    }
}
