//! Tests of policies.
use axle_core::model::{Action, Assertion, ExpectedRule, PolicyTest, TestEnd};

use crate::{
    convert::{
        Invalid,
        invalid::{Within, list, required},
        scalar::{action, action_to_wire, address, addresses_to_wire, name, narrow, protocol, protocol_to_wire},
    },
    v1,
};

impl TryFrom<v1::PolicyTest> for PolicyTest {
    type Error = Invalid;
    fn try_from(wire: v1::PolicyTest) -> Result<Self, Invalid> {
        if wire.assertions.is_empty() {
            return Err(Invalid::new("assertions", "none", "at least one"));
        }
        Ok(Self {
            name: name("name", wire.name)?,
            description: wire.description,
            assertions: list("assertions", wire.assertions, TryInto::try_into)?,
        })
    }
}

impl From<&PolicyTest> for v1::PolicyTest {
    fn from(test: &PolicyTest) -> Self {
        Self {
            name: test.name.to_string(),
            description: test.description.clone(),
            assertions: test.assertions.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::Assertion> for Assertion {
    type Error = Invalid;
    fn try_from(wire: v1::Assertion) -> Result<Self, Invalid> {
        Ok(Self {
            name: wire.name,
            from: required("from", wire.from)?.try_into().within("from")?,
            to: required("to", wire.to)?.try_into().within("to")?,
            protocol: protocol("protocol", wire.protocol)?,
            port: narrow("port", wire.port)?,
            verdict: match action("verdict", wire.verdict)? {
                Action::Pass => return Err(Invalid::new("verdict", "pass", "accept or deny")),
                verdict => verdict,
            },
            rule: wire.rule.map(TryInto::try_into).transpose().within("rule")?,
        })
    }
}

impl From<&Assertion> for v1::Assertion {
    fn from(assertion: &Assertion) -> Self {
        Self {
            name: assertion.name.clone(),
            from: Some((&assertion.from).into()),
            to: Some((&assertion.to).into()),
            protocol: protocol_to_wire(assertion.protocol).into(),
            port: assertion.port.into(),
            verdict: action_to_wire(assertion.verdict).into(),
            rule: assertion.rule.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<v1::TestEnd> for TestEnd {
    type Error = Invalid;
    fn try_from(wire: v1::TestEnd) -> Result<Self, Invalid> {
        use v1::test_end::End;
        Ok(match required("end", wire.end)? {
            End::Workload(workload) => Self::Workload {
                cluster: name("cluster", workload.cluster)?,
                namespace: name("namespace", workload.namespace)?,
                name: name("name", workload.name)?,
            },
            End::Labels(labels) => Self::Labels {
                clusters: list("clusters", labels.clusters, |cluster| name("cluster", cluster))?,
                namespace: name("namespace", labels.namespace)?,
                labels: labels.labels,
            },
            End::Address(bytes) => Self::Address(address("address", &bytes)?),
        })
    }
}

impl From<&TestEnd> for v1::TestEnd {
    fn from(end: &TestEnd) -> Self {
        use v1::test_end::End;
        let end = match end {
            TestEnd::Workload { cluster, namespace, name } => End::Workload(v1::TestWorkload {
                cluster: cluster.to_string(),
                namespace: namespace.to_string(),
                name: name.to_string(),
            }),
            TestEnd::Labels { clusters, namespace, labels } => End::Labels(v1::TestLabels {
                clusters: clusters.iter().map(ToString::to_string).collect(),
                namespace: namespace.to_string(),
                labels: labels.clone(),
            }),
            TestEnd::Address(address) => End::Address(addresses_to_wire(&[*address]).swap_remove(0)),
        };
        Self { end: Some(end) }
    }
}

impl TryFrom<v1::ExpectedRule> for ExpectedRule {
    type Error = Invalid;
    fn try_from(wire: v1::ExpectedRule) -> Result<Self, Invalid> {
        Ok(Self { policy: name("policy", wire.policy)?, rule: Some(wire.rule).filter(|rule| !rule.is_empty()) })
    }
}

impl From<&ExpectedRule> for v1::ExpectedRule {
    fn from(expected: &ExpectedRule) -> Self {
        Self { policy: expected.policy.to_string(), rule: expected.rule.clone().unwrap_or_default() }
    }
}
