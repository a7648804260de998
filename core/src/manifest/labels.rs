//! Labels and selectors, as Kubernetes spells them.
use super::{
    Violation,
    reader::{At, Faults, Map},
};
use crate::model::{LabelSelector, Labels, Name, Operator, Requirement};

const WANT_KEY: &str = "a label key: an optional DNS prefix and '/', then 1 to 63 letters, digits, '-', '_' or '.', \
                        starting and ending with a letter or digit";
const WANT_VALUE: &str =
    "a label value: at most 63 letters, digits, '-', '_' or '.', starting and ending with a letter or digit, or empty";

/// A mapping of label keys to values.
pub(super) fn labels(at: &At<'_>, faults: &mut Faults) -> Option<Labels> {
    labels_by(at, is_key, faults)
}

fn labels_by(at: &At<'_>, is_key: fn(&str) -> bool, faults: &mut Faults) -> Option<Labels> {
    let mut labels = Labels::new();
    for (key, value_at) in at.map(faults)?.entries() {
        if !is_key(key) {
            faults.add(value_at.violation(format!("the key {key:?}"), WANT_KEY));
        }
        let Some(value) = label_value(&value_at, faults) else { continue };
        labels.insert(key.to_owned(), value);
    }
    Some(labels)
}

/// A LabelSelector; an empty one selects everything.
pub(super) fn selector(at: &At<'_>, faults: &mut Faults) -> Option<LabelSelector> {
    selector_by(at, is_key, faults)
}

/// The same with keys of which this says what they are.
pub(super) fn selector_by(at: &At<'_>, is_key: fn(&str) -> bool, faults: &mut Faults) -> Option<LabelSelector> {
    let map = at.map(faults)?;
    let selector = fields(&map, is_key, faults);
    map.finish(faults);
    selector
}

/// The fields of a LabelSelector, of a mapping that may have more.
pub(super) fn selector_fields(map: &Map<'_>, faults: &mut Faults) -> Option<LabelSelector> {
    fields(map, is_key, faults)
}

fn fields(map: &Map<'_>, is_key: fn(&str) -> bool, faults: &mut Faults) -> Option<LabelSelector> {
    let match_labels = map.optional("matchLabels").map(|at| labels_by(&at, is_key, faults));
    let match_expressions = map.optional("matchExpressions").map(|at| {
        let items = at.list(faults)?;
        Some(items.iter().filter_map(|item| requirement(item, is_key, faults)).collect())
    });
    Some(LabelSelector {
        match_labels: match_labels.unwrap_or_else(|| Some(Labels::new()))?,
        match_expressions: match_expressions.unwrap_or_else(|| Some(Vec::new()))?,
    })
}

fn requirement(at: &At<'_>, is_key: fn(&str) -> bool, faults: &mut Faults) -> Option<Requirement> {
    let map = at.map(faults)?;
    let key = map.required("key", faults).and_then(|at| {
        let key = at.text(faults)?;
        if !is_key(key) {
            at.invalid(WANT_KEY, "", faults);
            return None;
        }
        Some(key.to_owned())
    });
    let operators = ["In", "NotIn", "Exists", "DoesNotExist"].map(|name| (name, name));
    let operator = map.required("operator", faults).and_then(|at| at.choice(&operators, faults));
    let values_at = map.optional("values");
    map.finish(faults);
    let values = |faults: &mut Faults| match &values_at {
        None => {
            let violation = map.at.violation("no values", "the field values with at least one value");
            faults.add(Violation { code: "missing-field", fix: "add values, or use Exists".into(), ..violation });
            None
        }
        Some(at) => {
            let items = at.some_list("give the values, or use Exists or DoesNotExist", faults)?;
            items.iter().map(|item| label_value(item, faults)).collect::<Option<Vec<_>>>()
        }
    };
    let operator = match operator? {
        "In" => Operator::In(values(faults)?),
        "NotIn" => Operator::NotIn(values(faults)?),
        bare => {
            if let Some(at) = &values_at
                && !at.list(faults)?.is_empty()
            {
                at.invalid(format!("no values with {bare}"), "remove values, or use In or NotIn", faults);
                return None;
            }
            if bare == "Exists" { Operator::Exists } else { Operator::DoesNotExist }
        }
    };
    Some(Requirement { key: key?, operator })
}

/// The value of a label.
pub(super) fn label_value(at: &At<'_>, faults: &mut Faults) -> Option<String> {
    let text = at.text(faults)?;
    if !is_value(text) {
        at.invalid(WANT_VALUE, "", faults);
        return None;
    }
    Some(text.to_owned())
}

/// Whether Kubernetes takes it for a label's key; an annotation's key is the same.
#[must_use]
pub fn is_key(key: &str) -> bool {
    match key.split_once('/') {
        None => is_word(key),
        Some((prefix, name)) => Name::new(prefix).is_ok() && is_word(name),
    }
}

/// Whether Kubernetes takes it for a label's value.
#[must_use]
pub fn is_value(text: &str) -> bool {
    text.is_empty() || is_word(text)
}

/// 1 to 63 characters, with a letter or digit at both ends.
fn is_word(text: &str) -> bool {
    let bytes = text.as_bytes();
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    bytes.len() <= 63 && edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(inner)
}
