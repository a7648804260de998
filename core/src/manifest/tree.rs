//! YAML as a tree that knows where each part stands.
use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::Spanned;

use super::Violation;

/// How deep a text may nest: twice of what any kind needs, and little of the stack of whoever reads it.
const DEPTH: usize = 24;

/// A part of a document.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) line: u64,
    pub(super) column: u64,
    pub(super) value: Value,
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    /// A number that is no 64-bit integer, as text.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key of a mapping with its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) line: u64,
    pub(super) column: u64,
    pub(super) node: Node,
}

/// The documents of a text, or the one violation of a text that is no YAML. Empty documents are skipped.
pub(super) fn parse(text: &str) -> Result<Vec<Node>, Vec<Violation>> {
    let budget = serde_saphyr::budget! { max_depth: DEPTH, flow_nesting_limit: DEPTH };
    let options = serde_saphyr::options! { strict_booleans: true, with_snippet: false, budget: budget };
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
        let place = error.location();
        vec![Violation {
            code: "syntax",
            line: place.map_or(1, |place| place.line()).max(1),
            column: place.map_or(1, |place| place.column()).max(1),
            field: String::new(),
            got: error.without_snippet().to_string(),
            want: format!("YAML without duplicate keys, at most {DEPTH} levels deep"),
            fix: "mend the text at this place".into(),
        }]
    })
}

/// The longest text that [`json`] reads: far below every bound of [`parse`] but the depth's.
const JSON_LENGTH: usize = 256 << 10;

/// The document of a text that is JSON, without places, if it is one that [`parse`] reads in the same way. Programs write
/// JSON, and this is several times as fast.
pub(super) fn json(text: &str) -> Option<Node> {
    // YAML takes only what can be printed.
    let is_plain = text.bytes().all(|byte| byte.is_ascii() && byte != 0x7f);
    if text.len() > JSON_LENGTH || !is_plain || !text.trim_start().starts_with('{') {
        return None;
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Json { depth: 1 }.deserialize(&mut deserializer).ok()?;
    deserializer.end().ok()?;
    Some(nowhere(value))
}

fn nowhere(value: Value) -> Node {
    Node { line: 0, column: 0, value }
}

impl Value {
    /// What it is, for people.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Null => "nothing (null)".into(),
            Self::Bool(value) => format!("the boolean {value}"),
            Self::Integer(value) => format!("the number {value}"),
            Self::Number(value) => format!("the number {value}"),
            Self::Text(text) if text.chars().count() > 80 => {
                format!("{:?}… ({} characters)", text.chars().take(60).collect::<String>(), text.chars().count())
            }
            Self::Text(text) => format!("{text:?}"),
            Self::List(items) if items.is_empty() => "an empty list".into(),
            Self::List(items) => format!("a list of {}", items.len()),
            Self::Map(entries) if entries.is_empty() => "an empty mapping".into(),
            Self::Map(_) => "a mapping".into(),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value, referenced, .. } = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self { line: referenced.line(), column: referenced.column(), value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(i64::try_from(value).map_or_else(|_| Value::Number(value.to_string()), Value::Integer))
    }
    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }
    fn visit_u128<E>(self, value: u128) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }
    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = entries.next_key::<Spanned<String>>()? {
            let (line, column) = (key.referenced.line(), key.referenced.column());
            map.push(Entry { key: key.value, line, column, node: entries.next_value()? });
        }
        Ok(Value::Map(map))
    }
}

/// Reads a value of JSON, so many levels deep.
#[derive(Clone, Copy)]
struct Json {
    depth: usize,
}

impl Json {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        if self.depth < DEPTH { Ok(Self { depth: self.depth + 1 }) } else { Err(E::custom("too deep")) }
    }
}

impl<'de> DeserializeSeed<'de> for Json {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Json {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        ValueVisitor.visit_unit()
    }
    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        ValueVisitor.visit_bool(value)
    }
    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        ValueVisitor.visit_i64(value)
    }
    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        ValueVisitor.visit_u64(value)
    }
    /// Whose last digits not every reader reads alike; no kind has any.
    fn visit_f64<E: Error>(self, _: f64) -> Result<Value, E> {
        Err(E::custom("a fraction"))
    }
    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        ValueVisitor.visit_str(value)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            list.push(nowhere(item));
        }
        Ok(Value::List(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut map = Vec::new();
        while let Some(key) = entries.next_key::<String>()? {
            map.push(Entry { key, line: 0, column: 0, node: nowhere(entries.next_value_seed(inner)?) });
        }
        let mut keys: Vec<&str> = map.iter().map(|entry| entry.key.as_str()).collect();
        keys.sort_unstable();
        // YAML gives `<<` a meaning.
        if keys.contains(&"<<") || keys.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(A::Error::custom("keys that JSON and YAML do not read alike"));
        }
        Ok(Value::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Without places.
    fn bare(value: &Value) -> String {
        match value {
            Value::List(items) => {
                format!("[{}]", items.iter().map(|item| bare(&item.value)).collect::<Vec<_>>().join(","))
            }
            Value::Map(entries) => {
                let entry = |entry: &Entry| format!("{:?}:{}", entry.key, bare(&entry.node.value));
                format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(","))
            }
            plain => format!("{plain:?}"),
        }
    }

    fn values() -> impl Strategy<Value = serde_json::Value> {
        let text = prop_oneof![
            "[a-z/.:~#&*!|>%@`' \\\\\"\t\n-]{0,8}",
            ".{0,6}",
            Just("<<".into()),
            Just("yes".into()),
            Just("1e3".into())
        ];
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<u64>().prop_map(Into::into),
            (-1e9..1e9f64).prop_map(Into::into),
            text.clone().prop_map(|text: String| text.into()),
        ];
        let value = leaf.prop_recursive(4, 32, 5, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::Array),
                proptest::collection::vec((text.clone(), inner), 0..4)
                    .prop_map(|entries| serde_json::Value::Object(entries.into_iter().collect())),
            ]
        });
        proptest::collection::vec(("[a-z]{1,4}", value), 0..4)
            .prop_map(|entries| serde_json::Value::Object(entries.into_iter().collect()))
    }

    proptest! {
        #[test]
        fn json_is_read_as_the_yaml_that_it_is(value in values(), pretty in any::<bool>()) {
            let text = if pretty { format!("{value:#}") } else { value.to_string() };
            if let Some(fast) = json(&text) {
                let whole = parse(&text);
                prop_assert!(whole.is_ok(), "{text}: {whole:?}");
                prop_assert_eq!(whole.unwrap().iter().map(|node| bare(&node.value)).collect::<Vec<_>>(), [bare(&fast.value)]);
            } else {
                prop_assert!(!text.is_ascii() || ["<<", ".", "\u{7f}"].iter().any(|odd| text.contains(odd)), "{text}");
            }
        }
    }

    #[test]
    fn what_yaml_refuses_is_not_read_as_json() {
        let deep = |levels: usize| format!("{{\"a\":{}1{}}}", "[".repeat(levels), "]".repeat(levels));
        for text in [r#"{"a":1,"a":2}"#, r#"{"a":1} {"b":2}"#, r#"{"a":1,}"#, "", "a: 1", r#"{"a":{"<<":{}}}"#] {
            assert!(json(text).is_none(), "{text}");
        }
        let deepest = (0..2 * DEPTH).take_while(|levels| json(&deep(*levels)).is_some()).last().unwrap();
        assert!(deepest > DEPTH / 2 && parse(&deep(deepest)).is_ok());
    }
}
