//! Strict reading of a tree: each reader gives a value or adds violations, and goes on.
use std::{cell::RefCell, fmt::Display, ops::RangeInclusive, str::FromStr};

use super::{
    Violation,
    tree::{Entry, Node, Value},
};
use crate::model::Name;

/// The violations found so far.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Violation>);

impl Faults {
    pub(super) fn add(&mut self, violation: Violation) {
        self.0.push(violation);
    }

    /// The value if there is no fault.
    pub(super) fn none_or<T>(mut self, value: T) -> Result<T, Vec<Violation>> {
        self.0.sort_by_key(|violation| (violation.line, violation.column));
        if self.0.is_empty() { Ok(value) } else { Err(self.0) }
    }
}

/// A part of a document with its path.
#[derive(Debug, Clone)]
pub(super) struct At<'n> {
    node: &'n Node,
    pub(super) path: String,
}

/// A mapping whose unknown fields will be reported.
#[derive(Debug)]
pub(super) struct Map<'n> {
    pub(super) at: At<'n>,
    entries: &'n [Entry],
    known: RefCell<Vec<&'static str>>,
}

impl<'n> At<'n> {
    pub(super) fn root(node: &'n Node) -> Self {
        Self { node, path: String::new() }
    }

    /// A violation at this place; the caller sets what else it knows.
    pub(super) fn violation(&self, got: impl Into<String>, want: impl Into<String>) -> Violation {
        Violation {
            code: "invalid-value",
            line: self.node.line,
            column: self.node.column,
            field: self.path.clone(),
            got: got.into(),
            want: want.into(),
            fix: String::new(),
        }
    }

    /// Reports what is here as not what was wanted.
    pub(super) fn invalid(&self, want: impl Into<String>, fix: impl Into<String>, faults: &mut Faults) {
        faults.add(Violation { fix: fix.into(), ..self.violation(self.node.value.describe(), want) });
    }

    fn wrong_type<T>(&self, want: &str, faults: &mut Faults) -> Option<T> {
        let fix = match (&self.node.value, want) {
            (Value::Bool(_) | Value::Integer(_) | Value::Number(_), "a text") => "put it in quotes",
            (Value::Null, _) => "give it a value or remove the field",
            _ => "",
        };
        let violation = self.violation(self.node.value.describe(), want);
        faults.add(Violation { code: "wrong-type", fix: fix.into(), ..violation });
        None
    }

    pub(super) fn map(&self, faults: &mut Faults) -> Option<Map<'n>> {
        match &self.node.value {
            Value::Map(entries) => Some(Map { at: self.clone(), entries, known: RefCell::default() }),
            _ => self.wrong_type("a mapping", faults),
        }
    }

    /// The items of a list.
    pub(super) fn list(&self, faults: &mut Faults) -> Option<Vec<At<'n>>> {
        match &self.node.value {
            Value::List(items) => {
                let at = |(n, node)| At { node, path: format!("{}[{n}]", self.path) };
                Some(items.iter().enumerate().map(at).collect())
            }
            _ => self.wrong_type("a list", faults),
        }
    }

    /// The items of a list that may not be empty; `fix` says what to write instead.
    pub(super) fn some_list(&self, fix: &str, faults: &mut Faults) -> Option<Vec<At<'n>>> {
        let list = self.list(faults)?;
        if list.is_empty() {
            self.invalid("at least one item", fix, faults);
            return None;
        }
        Some(list)
    }

    pub(super) fn text(&self, faults: &mut Faults) -> Option<&'n str> {
        match &self.node.value {
            Value::Text(text) => Some(text),
            _ => self.wrong_type("a text", faults),
        }
    }

    /// A text or a whole number, as text.
    pub(super) fn scalar(&self, faults: &mut Faults) -> Option<String> {
        match &self.node.value {
            Value::Integer(number) => Some(number.to_string()),
            _ => self.text(faults).map(str::to_owned),
        }
    }

    pub(super) fn is_text(&self) -> bool {
        matches!(self.node.value, Value::Text(_))
    }

    pub(super) fn is_integer(&self) -> bool {
        matches!(self.node.value, Value::Integer(_))
    }

    pub(super) fn bool(&self, faults: &mut Faults) -> Option<bool> {
        match self.node.value {
            Value::Bool(value) => Some(value),
            _ => self.wrong_type("true or false", faults),
        }
    }

    /// A whole number within bounds.
    pub(super) fn integer<T>(&self, bounds: RangeInclusive<T>, faults: &mut Faults) -> Option<T>
    where
        T: TryFrom<i64> + PartialOrd + Display,
    {
        let want = format!("a whole number from {} to {}", bounds.start(), bounds.end());
        let Value::Integer(value) = self.node.value else { return self.wrong_type(&want, faults) };
        let within = T::try_from(value).ok().filter(|value| bounds.contains(value));
        if within.is_none() {
            self.invalid(want, "", faults);
        }
        within
    }

    /// A text that parses as `T`; the parser's own words become part of the violation.
    pub(super) fn parsed<T: FromStr>(&self, want: &str, faults: &mut Faults) -> Option<T>
    where
        T::Err: Display,
    {
        let text = self.text(faults)?;
        text.parse().map_err(|error: T::Err| self.invalid(want, error.to_string(), faults)).ok()
    }

    pub(super) fn name(&self, faults: &mut Faults) -> Option<Name> {
        let text = self.text(faults)?;
        Name::new(text)
            .map_err(|error| {
                let want = "lower-case letters, digits, '-' and '.', 1 to 253 characters (RFC 1123)";
                self.invalid(want, error.why, faults);
            })
            .ok()
    }

    /// One of the given texts.
    pub(super) fn choice<T: Clone>(&self, choices: &[(&str, T)], faults: &mut Faults) -> Option<T> {
        let text = self.text(faults)?;
        let found = choices.iter().find(|(name, _)| *name == text).map(|(_, value)| value.clone());
        if found.is_none() {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            let fix = suggest(text, names.iter().copied()).unwrap_or_default();
            self.invalid(names.join(" or "), fix, faults);
        }
        found
    }
}

impl<'n> Map<'n> {
    /// The field, if it is there.
    pub(super) fn optional(&self, key: &'static str) -> Option<At<'n>> {
        self.known.borrow_mut().push(key);
        let path = if self.at.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.at.path) };
        self.entries.iter().find(|entry| entry.key == key).map(|entry| At { node: &entry.node, path })
    }

    /// The field, or a violation.
    pub(super) fn required(&self, key: &'static str, faults: &mut Faults) -> Option<At<'n>> {
        let found = self.optional(key);
        if found.is_none() {
            let violation = self.at.violation("no such field", format!("the field {key}"));
            let path = if self.at.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.at.path) };
            faults.add(Violation { code: "missing-field", field: path, fix: format!("add {key}"), ..violation });
        }
        found
    }

    /// Every entry as it is, for mappings whose keys are free.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'n str, At<'n>)> + use<'n, '_> {
        self.entries.iter().map(|entry| {
            (entry.key.as_str(), At { node: &entry.node, path: format!("{}[{}]", self.at.path, entry.key) })
        })
    }

    /// Reports every field that nobody asked for. Call it after the last `optional` or `required`.
    pub(super) fn finish(&self, faults: &mut Faults) {
        let known = self.known.borrow();
        for entry in self.entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let unused = known.iter().copied().filter(|key| self.entries.iter().all(|other| other.key != *key));
            faults.add(Violation {
                code: "unknown-field",
                line: entry.line,
                column: entry.column,
                field: self.at.path.clone(),
                got: format!("the unknown field {:?}", entry.key),
                want: format!("one of {}", known.join(", ")),
                fix: suggest(&entry.key, unused).unwrap_or_else(|| "remove it".into()),
            });
        }
    }

    /// The names of those of `keys` that are there.
    pub(super) fn present(&self, keys: &[&'static str]) -> Vec<&'static str> {
        keys.iter().copied().filter(|key| self.entries.iter().any(|entry| entry.key == *key)).collect()
    }
}

/// The most similar of the known words as a question, if it is similar enough to be meant.
#[must_use]
pub fn suggest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<String> {
    let lower = word.to_lowercase();
    let scored = known.map(|key| (strsim::jaro_winkler(&lower, &key.to_lowercase()), key));
    let (score, best) = scored.max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    (score > 0.8).then(|| format!("did you mean {best:?}?"))
}
