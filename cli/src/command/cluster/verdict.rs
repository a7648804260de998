//! What a probe says of the way between two pods.
use std::{fmt, net::IpAddr};

use serde::{Deserialize, Serialize};

/// What `axle-agent probe` prints of one address.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Found {
    pub(super) to: IpAddr,
    pub(super) there: Way,
    pub(super) back: Option<Way>,
}

/// One direction.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Way {
    Passed {
        from: IpAddr,
        seen: IpAddr,
    },
    Failed {
        why: String,
    },
    /// Nobody was there who could have tried.
    #[serde(skip)]
    Untried,
}

/// A probe in one direction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Probe {
    /// `cluster/namespace/pod`.
    pub(super) from: String,
    pub(super) to: String,
    /// That was called, or that called where it is known.
    pub(super) address: Option<IpAddr>,
    pub(super) state: State,
    pub(super) detail: String,
}

/// See [`judge`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// They arrive as they were sent.
    Passes,
    /// They arrive with another source address.
    Rewritten,
    /// A policy denies them.
    Denied,
    /// No policy denies them, and no answer comes.
    Silent,
    /// They arrive, and nobody listens.
    Refused,
    /// It could not be tried.
    Unknown,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passes => "passes",
            Self::Rewritten => "REWRITTEN",
            Self::Denied => "denied",
            Self::Silent => "NO ROUTE",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        })
    }
}

/// Both directions between two pods. `denied` has the rule that denies each, and `nodes` the addresses of the first one's
/// cluster's nodes.
pub(super) fn judge(
    (here, there): (&str, &str),
    found: &Found,
    denied: [Option<String>; 2],
    nodes: &[(IpAddr, String)],
) -> [Probe; 2] {
    let [denied_there, denied_back] = denied;
    let back = found.back.as_ref().unwrap_or(&Way::Untried);
    let probe = |from: &str, to: &str, address, way: &Way, denied: Option<String>| {
        let (state, detail) = match (way, denied) {
            (Way::Passed { from, seen }, _) if from == seen => (State::Passes, String::new()),
            (Way::Passed { from, seen }, _) => {
                let node = nodes.iter().find(|(address, _)| address == seen);
                let whose = node.map(|(_, name)| format!(", node {name}")).unwrap_or_default();
                (State::Rewritten, format!("{from} arrives as {seen}{whose}"))
            }
            (Way::Failed { why }, _) if why == "outside" => {
                (State::Unknown, "its address is in no cluster's prefixes there, so that nobody was asked".into())
            }
            (Way::Failed { .. }, Some(rule)) => {
                (State::Denied, format!("by {rule}: what else is in the way is not known"))
            }
            (Way::Failed { why }, None) if why == "refused" => {
                (State::Refused, "nobody listens there: is that relay of this version?".into())
            }
            (Way::Failed { why }, None) => {
                (State::Silent, format!("{why}; the way there or back is missing, or another plugin's policy cuts it"))
            }
            (Way::Untried, _) => (State::Unknown, "nobody there could be asked".into()),
        };
        Probe { from: from.into(), to: to.into(), address, state, detail }
    };
    let caller = match &found.there {
        Way::Passed { from, .. } => Some(*from),
        _ => None,
    };
    [probe(here, there, Some(found.to), &found.there, denied_there), probe(there, here, caller, back, denied_back)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states(text: &str, denied: [Option<&str>; 2]) -> [(State, String); 2] {
        let found: Found = serde_json::from_str(text).unwrap();
        let nodes = [("10.255.0.3".parse().unwrap(), "oslo1".to_owned())];
        judge(("oslo/a/r", "lima/a/r"), &found, denied.map(|rule| rule.map(ToOwned::to_owned)), &nodes)
            .map(|probe| (probe.state, probe.detail))
    }

    #[test]
    fn each_direction_is_judged_by_itself() {
        let own = r#"{"passed":{"from":"10.1.0.2","seen":"10.1.0.2"}}"#;
        let node = r#"{"passed":{"from":"10.1.0.2","seen":"10.255.0.3"}}"#;
        let [there, back] = states(&format!(r#"{{"to":"10.2.0.2","there":{own},"back":{own}}}"#), [None, None]);
        assert_eq!((there.0, back.0), (State::Passes, State::Passes));
        let [there, back] = states(&format!(r#"{{"to":"10.2.0.2","there":{node},"back":{own}}}"#), [None, None]);
        assert_eq!((there.0, back.0), (State::Rewritten, State::Passes));
        assert_eq!(there.1, "10.1.0.2 arrives as 10.255.0.3, node oslo1");
    }

    #[test]
    fn who_is_in_no_cluster_was_not_asked() {
        let way = r#"{"passed":{"from":"192.0.2.7","seen":"192.0.2.7"}}"#;
        let outside = format!(r#"{{"to":"10.2.0.2","there":{way},"back":{{"failed":{{"why":"outside"}}}}}}"#);
        let [there, back] = states(&outside, [None, Some("p nobody")]);
        assert_eq!((there.0, back.0), (State::Passes, State::Unknown));
    }

    #[test]
    fn a_denial_is_told_from_a_missing_way() {
        let silence = r#"{"to":"10.2.0.2","there":{"failed":{"why":"silence"}},"back":null}"#;
        let [there, back] = states(silence, [None, None]);
        assert_eq!((there.0, back.0), (State::Silent, State::Unknown));
        let [there, _] = states(silence, [Some("p nobody"), None]);
        assert!(there.0 == State::Denied && there.1.starts_with("by p nobody"), "{there:?}");
        let [there, _] = states(&silence.replace("silence", "refused"), [None, None]);
        assert_eq!(there.0, State::Refused);
        let way = r#"{"passed":{"from":"10.1.0.2","seen":"10.1.0.2"}}"#;
        let half = format!(r#"{{"to":"10.2.0.2","there":{way},"back":{{"failed":{{"why":"silence"}}}}}}"#);
        let [there, back] = states(&half, [None, Some("q")]);
        assert_eq!((there.0, back.0), (State::Passes, State::Denied));
    }
}
