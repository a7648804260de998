//! Names of the domain name system, as rules name peers by them.
use std::{fmt, str::FromStr};

/// A domain name, or with a leading `*.` every name of one or more labels more than the rest. In lower case, without the
/// dot at the end.
///
/// Source: ClusterNetworkPolicy v1alpha2, DomainName.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainName(String);

impl DomainName {
    /// The longest name, in characters.
    const MAX: usize = 253;
    /// The longest label, in characters.
    const MAX_LABEL: usize = 63;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a name of DNS is meant: `*.example.com` means `a.example.com` and `a.b.example.com`, never `example.com`.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        match self.0.strip_prefix('*') {
            Some(rest) => name.len() > rest.len() && name.ends_with(rest) && !name.starts_with('.'),
            None => name == self.0,
        }
    }
}

impl FromStr for DomainName {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if name.len() > Self::MAX {
            return Err(format!("it has {} characters, at most {} are a name", name.len(), Self::MAX));
        }
        let labels: Vec<_> = name.strip_prefix("*.").unwrap_or(&name).split('.').collect();
        let inner = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let good = |label: &&str| {
            let edges = [label.chars().next(), label.chars().next_back()];
            label.len() <= Self::MAX_LABEL
                && label.chars().all(inner)
                && edges.iter().all(|edge| edge.is_some_and(|c| c.is_ascii_alphanumeric()))
        };
        match labels.iter().find(|label| !good(label)) {
            Some(label) => Err(format!("{label:?} is no label of a name (a wildcard is a leading \"*.\")")),
            None if labels.len() < 2 => Err("it has one label, a domain name has at least two".into()),
            None => Ok(Self(name)),
        }
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Result<DomainName, String> {
        text.parse()
    }

    #[test]
    fn which_names_are_meant() {
        let exact = name("Kubernetes.io.").unwrap();
        assert!(exact.matches("kubernetes.io") && exact.matches("KUBERNETES.io."));
        assert!(!exact.matches("blog.kubernetes.io") && !exact.matches("ernetes.io"));
        let wild = name("*.kubernetes.io").unwrap();
        assert!(wild.matches("blog.kubernetes.io") && wild.matches("latest.blog.kubernetes.io"));
        for other in ["kubernetes.io", ".kubernetes.io", "evilkubernetes.io", "kubernetes.io.evil.org", ""] {
            assert!(!wild.matches(other), "{other:?}");
        }
    }

    #[test]
    fn what_is_no_name() {
        for bad in ["", "*", "*.", "com", "*.com", "a..b", "a.*.b", "**.a.b", "-a.b", "a.b-", "a b.c", "a.b/", ".a.b"] {
            assert!(name(bad).is_err(), "{bad:?}");
        }
        assert!(name(&format!("{}.io", "a".repeat(64))).is_err() && name(&"a.".repeat(130)).is_err());
        assert_eq!(name("A_b-c.example.COM").unwrap().as_str(), "a_b-c.example.com");
    }
}
