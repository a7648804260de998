//! Selectors of labels and clusters.
use axle_core::model::{ClusterSelector, LabelSelector, Operator, Requirement};

use crate::{
    convert::{
        Invalid,
        invalid::{Within, list, required},
        scalar::{known, name, unspecified},
    },
    v1,
};

impl TryFrom<v1::LabelSelector> for LabelSelector {
    type Error = Invalid;
    fn try_from(wire: v1::LabelSelector) -> Result<Self, Invalid> {
        let match_expressions = list("match_expressions", wire.match_expressions, TryInto::try_into)?;
        Ok(Self { match_labels: wire.match_labels, match_expressions })
    }
}

impl From<&LabelSelector> for v1::LabelSelector {
    fn from(selector: &LabelSelector) -> Self {
        let match_expressions = selector.match_expressions.iter().map(Into::into).collect();
        Self { match_labels: selector.match_labels.clone(), match_expressions }
    }
}

impl TryFrom<v1::Requirement> for Requirement {
    type Error = Invalid;
    fn try_from(wire: v1::Requirement) -> Result<Self, Invalid> {
        let values = wire.values;
        let operator: v1::Operator = known("operator", wire.operator)?;
        match operator {
            v1::Operator::In | v1::Operator::NotIn if values.is_empty() => {
                return Err(Invalid::new("values", "none", "at least one value for In and NotIn"));
            }
            v1::Operator::Exists | v1::Operator::DoesNotExist if !values.is_empty() => {
                return Err(Invalid::new("values", values.join(", "), "no values for Exists and DoesNotExist"));
            }
            _ => {}
        }
        let operator = match operator {
            v1::Operator::In => Operator::In(values),
            v1::Operator::NotIn => Operator::NotIn(values),
            v1::Operator::Exists => Operator::Exists,
            v1::Operator::DoesNotExist => Operator::DoesNotExist,
            v1::Operator::Unspecified => return Err(unspecified::<v1::Operator>("operator")),
        };
        Ok(Self { key: wire.key, operator })
    }
}

impl From<&Requirement> for v1::Requirement {
    fn from(requirement: &Requirement) -> Self {
        let (operator, values) = match &requirement.operator {
            Operator::In(values) => (v1::Operator::In, values.clone()),
            Operator::NotIn(values) => (v1::Operator::NotIn, values.clone()),
            Operator::Exists => (v1::Operator::Exists, Vec::new()),
            Operator::DoesNotExist => (v1::Operator::DoesNotExist, Vec::new()),
        };
        Self { key: requirement.key.clone(), operator: operator.into(), values }
    }
}

impl TryFrom<v1::ClusterSelector> for ClusterSelector {
    type Error = Invalid;
    fn try_from(wire: v1::ClusterSelector) -> Result<Self, Invalid> {
        use v1::cluster_selector::Of;
        Ok(match required("of", wire.of)? {
            Of::Own(_) => Self::Own,
            Of::Any(_) => Self::Any,
            Of::Names(all) => Self::Names(list("names", all.names, |text| name("name", text))?),
            Of::Labels(labels) => Self::Labels(labels.try_into().within("labels")?),
        })
    }
}

impl From<&ClusterSelector> for v1::ClusterSelector {
    fn from(selector: &ClusterSelector) -> Self {
        use v1::cluster_selector::Of;
        let of = match selector {
            ClusterSelector::Own => Of::Own(v1::Empty {}),
            ClusterSelector::Any => Of::Any(v1::Empty {}),
            ClusterSelector::Names(names) => {
                Of::Names(v1::NameList { names: names.iter().map(ToString::to_string).collect() })
            }
            ClusterSelector::Labels(labels) => Of::Labels(labels.into()),
        };
        Self { of: Some(of) }
    }
}
