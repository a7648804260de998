//! What an installation is made of: the agents' chart as it was rendered when this was built, with what differs from
//! cluster to cluster filled in.
use axle_core::model::Name;
use clap::Args;

use crate::failure::Failure;

/// `tests/kubernetes/rendered.rs` makes it and sees that it is the chart's.
const AGENTS: &str = include_str!("agents.yaml");
const DEFINITIONS: [&str; 5] = [
    include_str!("../../../../charts/axle-agent/crds/axle.dev_clusters.yaml"),
    include_str!("../../../../charts/axle-agent/crds/axle.dev_fleetpolicies.yaml"),
    include_str!("../../../../charts/axle-agent/crds/axle.dev_meshnetworkpolicies.yaml"),
    include_str!("../../../../charts/axle-agent/crds/multicluster.x-k8s.io_serviceexports.yaml"),
    include_str!("../../../../charts/axle-agent/crds/multicluster.x-k8s.io_serviceimports.yaml"),
];
/// What is made only when the rest has gone.
const CLEANUP: &str = "\n  name: axle-cleanup\n";
const IMAGE: &str = "axle.dev/axle-agent";

/// Which agents, and where.
#[derive(Debug, Clone, Args)]
pub(super) struct Settings {
    /// The namespace of the agents.
    #[arg(long, value_name = "NAME", default_value = "axle-system", value_parser = namespace)]
    pub(super) namespace: Name,
    /// The agents' image [default: axle.dev/axle-agent of this version].
    #[arg(long, value_name = "IMAGE", value_parser = image)]
    pub(super) image: Option<String>,
}

/// An installation of one cluster.
#[derive(Debug, Clone)]
pub(super) struct Installation {
    pub(super) settings: Settings,
    /// `HOST:PORT`.
    pub(super) hub: String,
    pub(super) cluster: Name,
    /// With which it joins, if it has not yet.
    pub(super) token: Option<String>,
}

impl Installation {
    /// Everything but for its clean-up, in the order in which it is to be applied.
    pub(super) fn documents(&self) -> String {
        let all = DEFINITIONS.iter().map(|text| (*text).to_owned()).chain([self.namespace()]).chain(self.secret());
        all.chain(self.agents()).map(|text| format!("---\n{}\n", text.trim_end())).collect()
    }

    /// The agents and their rights, without what outlives them.
    pub(super) fn agents(&self) -> Vec<String> {
        self.rendered(|document| !document.contains(CLEANUP))
    }

    /// What ends enforcement on every node.
    pub(super) fn cleanup(&self) -> Vec<String> {
        self.rendered(|document| document.contains(CLEANUP) && document.contains("\nkind: DaemonSet\n"))
    }

    /// The chart's values that say the same.
    pub(super) fn values(&self) -> String {
        let Self { settings, hub, cluster, .. } = self;
        let mut text = format!("hub:\n  address: \"{hub}\"\n  cluster: \"{cluster}\"\n");
        if let Some((repository, tag)) = settings.image.as_deref().map(split) {
            text += &format!("image:\n  repository: \"{repository}\"\n");
            text += &tag.map(|tag| format!("  tag: \"{tag}\"\n")).unwrap_or_default();
        }
        text
    }

    /// Its nodes' agents need rights that a namespace may forbid.
    fn namespace(&self) -> String {
        let labels = "app.kubernetes.io/part-of: axle, pod-security.kubernetes.io/enforce: privileged";
        format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: \"{}\", labels: {{{labels}}}}}",
            self.settings.namespace
        )
    }

    fn secret(&self) -> Option<String> {
        let token = self.token.as_ref()?;
        let place = format!("metadata: {{name: axle-join, namespace: \"{}\"}}", self.settings.namespace);
        Some(format!("apiVersion: v1\nkind: Secret\n{place}\nstringData: {{token: \"{token}\"}}"))
    }

    fn rendered(&self, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let Settings { namespace, image } = &self.settings;
        let image = image.clone().unwrap_or_else(|| format!("{IMAGE}:{}", env!("CARGO_PKG_VERSION")));
        let documents = AGENTS.split("---\n").filter(|document| document.contains("\nkind:") && wanted(document));
        // Quoted, since `null` and `123` are names too.
        let (namespace, image) = (format!("\"{namespace}\""), format!("\"{image}\""));
        let filled = |document: &str| {
            document
                .replace("namespace-invalid", &namespace)
                .replace("hub.invalid:1", &self.hub)
                .replace("cluster-invalid", self.cluster.as_str())
                .replace("image.invalid/axle-agent:invalid", &image)
        };
        documents.map(filled).collect()
    }
}

/// An image's repository, and its tag if it has one.
fn split(image: &str) -> (&str, Option<&str>) {
    match image.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
        _ => (image, None),
    }
}

/// Reads a hub's address.
///
/// # Errors
/// Says what is wanted.
pub(super) fn address(text: &str) -> Result<String, String> {
    let host_and_port = text.rsplit_once(':').filter(|(host, port)| {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_host = bare.map_or_else(|| plain(host, "-."), |bare| bare.parse::<std::net::Ipv6Addr>().is_ok());
        is_host && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    host_and_port
        .map(|_| text.to_owned())
        .ok_or_else(|| format!("{text:?} is not HOST:PORT, such as hub.example.org:7443"))
}

/// Reads a namespace's name, which is shorter than other names and has no dots.
///
/// # Errors
/// Says what is wanted.
pub(super) fn namespace(text: &str) -> Result<Name, String> {
    if text.len() > 63 || text.contains('.') {
        return Err(format!("{text:?} is not a namespace's name; wanted at most 63 characters and no dots"));
    }
    Name::new(text).map_err(|error| error.to_string())
}

/// Reads an image's name.
///
/// # Errors
/// Says what is wanted.
pub(super) fn image(text: &str) -> Result<String, String> {
    if plain(text, "-._:/@") { Ok(text.to_owned()) } else { Err(format!("{text:?} is not an image's name")) }
}

/// Whether it is letters and digits of ASCII and `more`: what means itself in YAML.
fn plain(text: &str, more: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
}

/// A name for a cluster, or what else is to be done.
///
/// # Errors
/// If none was given and the context's name is none.
pub(super) fn chosen(given: Option<Name>, found: Option<Name>, context: &str) -> Result<Name, Failure> {
    given.or(found).ok_or_else(|| {
        Failure::usage(format!("no cluster's name can be made of the context's, {context:?}"))
            .fix("give it with --name")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installation(token: Option<&str>) -> Installation {
        let settings = Settings { namespace: Name::new("mesh").unwrap(), image: Some("registry:5000/agent:2".into()) };
        let cluster = Name::new("oslo").unwrap();
        Installation { settings, hub: "[fd00::1]:7443".into(), cluster, token: token.map(ToOwned::to_owned) }
    }

    /// The Service's address is of the cluster's first family.
    #[test]
    fn relays_listen_in_both_families() {
        for (name, port) in [("AXLE_RELAY_LISTEN", 7444), ("AXLE_PROBE_LISTEN", 7446)] {
            let setting = format!("{{name: {name}, value: \"[::]:{port}\"}}");
            assert!(installation(None).documents().contains(&setting), "{setting}");
        }
    }

    #[test]
    fn everything_that_differs_is_filled_in() {
        let documents = installation(Some("axle1.secret")).documents();
        assert!(!documents.contains("invalid"), "{documents}");
        for wanted in [
            "value: \"[fd00::1]:7443\"",
            "value: \"oslo\"",
            "image: \"registry:5000/agent:2\"",
            "namespace: \"mesh\"",
            "metadata: {name: \"mesh\",",
            "token: \"axle1.secret\"",
            "pod-security.kubernetes.io/enforce: privileged",
            "kind: CustomResourceDefinition",
        ] {
            assert!(documents.contains(wanted), "{wanted}");
        }
        assert!(!documents.contains("axle-cleanup") && !installation(None).documents().contains("kind: Secret"));
        assert!(matches!(&installation(None).cleanup()[..], [one] if one.contains("kind: DaemonSet")));
    }

    #[test]
    fn all_definitions_of_the_chart_are_there() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/axle-agent/crds");
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), DEFINITIONS.len());
    }

    #[test]
    fn values_say_the_same() {
        let wanted = "hub:\n  address: \"[fd00::1]:7443\"\n  cluster: \"oslo\"\nimage:\n  repository: \"registry:5000/agent\"\n  tag: \"2\"\n";
        assert_eq!(installation(None).values(), wanted);
    }

    #[test]
    fn nothing_gets_into_yaml_that_means_more() {
        for good in ["hub.example.org:7443", "192.0.2.1:1", "[fd00::1]:7443"] {
            assert_eq!(address(good).as_deref(), Ok(good));
        }
        for bad in ["hub", "hub:0", "hub:70000", ":1", "[x]:1", "fd00::1", "a b:1", "a\"}:1", "hub:"] {
            assert!(address(bad).is_err(), "{bad}");
        }
        for bad in ["a.b", "", "A", &"a".repeat(64)] {
            assert!(namespace(bad).is_err(), "{bad}");
        }
        let mut odd = installation(Some("axle1.secret"));
        odd.settings.namespace = namespace("null").unwrap();
        assert!(!odd.documents().contains(": null"), "what means nothing leads to the namespace of the context");
        assert!(image("a b").is_err() && image("reg:5000/a@sha256:00").is_ok());
    }
}
