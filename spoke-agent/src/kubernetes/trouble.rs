//! What is wrong between this agent and the API server, in sentences that say how to mend it.
use kube::Resource;

use crate::upstream::innermost;

/// Why something cannot be asked for at present.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// A permission is missing. The sentence names verb and resource.
    #[error("{0}")]
    Forbidden(String),
    /// The server does not know the kind, or the object.
    #[error("{0}")]
    Unknown(String),
    /// The server does not answer, or answers something else.
    #[error("{0}")]
    Away(String),
}

impl Trouble {
    /// What `error` means for whoever wanted to `verb` objects of this kind.
    #[must_use]
    pub fn of<K: Resource<DynamicType = ()>>(verb: &str, error: &kube::Error) -> Self {
        Self::of_part::<K>(verb, "", error)
    }

    /// What `error` means for whoever wanted to `verb` a part of objects of this kind, such as `/status`.
    #[must_use]
    pub fn of_part<K: Resource<DynamicType = ()>>(verb: &str, part: &str, error: &kube::Error) -> Self {
        let (resource, group, plural) = (resource::<K>() + part, K::group(&()), K::plural(&()) + part);
        let kube::Error::Api(status) = error else {
            let why = innermost(error);
            return Self::Away(format!("the API server cannot be asked to {verb} {resource}: {why}"));
        };
        let said = &status.message;
        let verbs = if matches!(verb, "list" | "watch") { "list, watch" } else { verb };
        match status.code {
            401 | 403 => Self::Forbidden(format!(
                "the API server does not let this agent {verb} {resource} ({said}); give its service account a role with \
                 apiGroups [\"{group}\"], resources [{plural}], verbs [{verbs}]"
            )),
            404 if verb == "list" => {
                Self::Unknown(format!("the API server does not know {resource}: its definition is not installed"))
            }
            404 => Self::Unknown(format!("there is nothing to {verb} among {resource}: {said}")),
            code => Self::Away(format!("the API server answers {code} to {verb} {resource}: {said}")),
        }
    }

    /// In a sentence.
    #[must_use]
    pub fn sentence(&self) -> &str {
        match self {
            Self::Forbidden(text) | Self::Unknown(text) | Self::Away(text) => text,
        }
    }
}

/// As rules of RBAC and people call it, such as `endpointslices.discovery.k8s.io`.
pub(super) fn resource<K: Resource<DynamicType = ()>>() -> String {
    match &*K::group(&()) {
        "" => K::plural(&()).into_owned(),
        group => format!("{}.{group}", K::plural(&())),
    }
}
