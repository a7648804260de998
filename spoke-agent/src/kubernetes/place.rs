//! Where a cluster's relay is and how it is known: a ConfigMap that the relay keeps and its nodes read.
use std::collections::BTreeMap;

use axle_core::model::{Name, Uid};
use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::ObjectMeta};

/// The name of the ConfigMap, of the Service in front of the relay, of its Lease and of the Secret with its credentials.
pub(super) const RELAY: &str = "axle-relay";
/// The audience of the tokens that nodes show to the relay.
pub const AUDIENCE: &str = "axle.dev/relay";

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayPlace {
    /// `HOST:PORT`.
    pub address: String,
    /// Its cluster.
    pub cluster: Uid,
    /// SHA-256 of the mesh's root certificate in DER.
    pub root: [u8; 32],
}

impl RelayPlace {
    /// As it is kept.
    #[must_use]
    pub fn config_map(&self) -> ConfigMap {
        let root: String = self.root.iter().map(|byte| format!("{byte:02x}")).collect();
        let data = [("address", self.address.clone()), ("cluster", self.cluster.to_string()), ("root", root)];
        let metadata = ObjectMeta { name: Some(RELAY.into()), ..ObjectMeta::default() };
        let data = data.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        ConfigMap { metadata, data: Some(data), ..ConfigMap::default() }
    }

    /// What is kept.
    ///
    /// # Errors
    /// Which entry is missing or wrong.
    pub fn read(map: &ConfigMap) -> Result<Self, String> {
        let none = BTreeMap::new();
        let data = map.data.as_ref().unwrap_or(&none);
        let entry = |key: &str| data.get(key).ok_or_else(|| format!("ConfigMap {RELAY} has no entry {key}"));
        let wrong = |key: &str, why: String| format!("ConfigMap {RELAY}, entry {key}: {why}");
        let cluster = entry("cluster")?.parse().map_err(|why| wrong("cluster", why))?;
        let text = entry("root")?;
        let digits = |at: usize| text.get(2 * at..2 * at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
        let bytes: Option<Vec<u8>> = (0..text.len().div_ceil(2)).map(digits).collect();
        let root = bytes.and_then(|bytes| bytes.try_into().ok());
        let root = root.ok_or_else(|| wrong("root", format!("{text:?}, wanted 64 hexadecimal digits")))?;
        Ok(Self { address: entry("address")?.clone(), cluster, root })
    }
}

/// Where this agent is in its cluster.
#[derive(Debug, Clone)]
pub struct Here {
    /// The namespace of the installation.
    pub namespace: String,
    /// Its own pod.
    pub pod: String,
    /// The node that it runs on.
    pub node: Name,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_what_it_writes_and_names_what_is_wrong() {
        let place = RelayPlace { address: "10.96.0.9:7444".into(), cluster: Uid([7; 16]), root: [0xa5; 32] };
        assert_eq!(RelayPlace::read(&place.config_map()), Ok(place.clone()));
        for (key, value, wanted) in [
            ("root", Some("a5"), "entry root: \"a5\", wanted 64 hexadecimal digits"),
            ("root", Some("ää"), "entry root"),
            ("cluster", Some("x"), "entry cluster"),
            ("address", None, "no entry address"),
        ] {
            let mut map = place.config_map();
            let data = map.data.as_mut().unwrap();
            match value {
                Some(value) => data.insert(key.into(), value.into()),
                None => data.remove(key),
            };
            assert!(RelayPlace::read(&map).is_err_and(|why| why.contains(wanted)), "{wanted}");
        }
    }
}
