//! As much of JSON Schema as the format's schema uses. A keyword that it does not know fails the test, so that nothing is
//! passed over.

use crate::tree::{Kind, Node};
use regex::Regex;
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::collections::BTreeMap;

pub(super) struct Validator {
    root: Value,
    /// Compiled once: the documents are many.
    patterns: RefCell<BTreeMap<String, Regex>>,
}

impl Validator {
    pub(super) fn new(root: Value) -> Validator {
        Validator { root, patterns: RefCell::default() }
    }

    /// Whether a document is valid.
    pub(super) fn accepts(&self, document: &Value) -> bool {
        self.valid(&self.root, document)
    }

    fn valid(&self, schema: &Value, value: &Value) -> bool {
        let keywords = match schema {
            Value::Bool(all) => return *all,
            Value::Object(keywords) => keywords,
            other => panic!("not a schema: {other}"),
        };
        keywords.iter().all(|(keyword, wanted)| self.holds(keywords, keyword, wanted, value))
    }

    fn holds(&self, keywords: &Map<String, Value>, keyword: &str, wanted: &Value, value: &Value) -> bool {
        let (object, array, text, number) = (value.as_object(), value.as_array(), value.as_str(), value.as_f64());
        let count = |n: usize| n as f64;
        match keyword {
            "$schema" | "$defs" | "title" | "description" | "default" | "examples" => true,
            // Looked at with what they go with.
            "then" => keywords.contains_key("if"),
            "$ref" => {
                let path = wanted.as_str().and_then(|path| path.strip_prefix('#')).expect("a local reference");
                self.valid(self.root.pointer(path).unwrap_or_else(|| panic!("no {path}")), value)
            }
            "type" => match wanted {
                Value::Array(types) => types.iter().any(|name| is(name, value)),
                name => is(name, value),
            },
            "const" => wanted == value,
            "enum" => wanted.as_array().expect("a list").contains(value),
            "pattern" => text.is_none_or(|text| {
                let pattern = wanted.as_str().expect("text");
                let mut patterns = self.patterns.borrow_mut();
                let compile = || Regex::new(pattern).expect("a pattern");
                patterns.entry(pattern.to_owned()).or_insert_with(compile).is_match(text)
            }),
            "minLength" => text.is_none_or(|text| count(text.chars().count()) >= wanted.as_f64().expect("a number")),
            "minimum" => number.is_none_or(|number| number >= wanted.as_f64().expect("a number")),
            "maximum" => number.is_none_or(|number| number <= wanted.as_f64().expect("a number")),
            "items" => array.is_none_or(|items| items.iter().all(|item| self.valid(wanted, item))),
            "minItems" => array.is_none_or(|items| count(items.len()) >= wanted.as_f64().expect("a number")),
            "maxItems" => array.is_none_or(|items| count(items.len()) <= wanted.as_f64().expect("a number")),
            "minProperties" => object.is_none_or(|object| count(object.len()) >= wanted.as_f64().expect("a number")),
            "maxProperties" => object.is_none_or(|object| count(object.len()) <= wanted.as_f64().expect("a number")),
            "properties" => object.is_none_or(|object| {
                wanted
                    .as_object()
                    .expect("a mapping")
                    .iter()
                    .all(|(key, schema)| object.get(key).is_none_or(|value| self.valid(schema, value)))
            }),
            "required" => object.is_none_or(|object| {
                wanted.as_array().expect("a list").iter().all(|key| object.contains_key(key.as_str().expect("text")))
            }),
            "additionalProperties" => object.is_none_or(|object| {
                let named = keywords.get("properties").and_then(Value::as_object);
                let others = object.iter().filter(|(key, _)| named.is_none_or(|named| !named.contains_key(*key)));
                others.into_iter().all(|(_, value)| self.valid(wanted, value))
            }),
            "propertyNames" => {
                object.is_none_or(|object| object.keys().all(|key| self.valid(wanted, &Value::from(key.as_str()))))
            }
            "allOf" => wanted.as_array().expect("a list").iter().all(|schema| self.valid(schema, value)),
            "if" => !self.valid(wanted, value) || self.valid(&keywords["then"], value),
            other => panic!("the validator does not know {other}"),
        }
    }
}

fn is(name: &Value, value: &Value) -> bool {
    match name.as_str().expect("a type's name") {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        other => panic!("no type {other}"),
    }
}

/// What an editor makes of a document: plain scalars that look like numbers are numbers.
pub(super) fn as_json(node: &Node) -> Value {
    match &node.kind {
        _ if node.is_nothing() => Value::Null,
        Kind::Scalar { text, plain: true } if matches!(text.as_str(), "true" | "false") => Value::from(text == "true"),
        Kind::Scalar { text, plain: true } => {
            let number = serde_json::from_str::<Value>(text).ok().filter(Value::is_number);
            number.unwrap_or_else(|| Value::from(text.as_str()))
        }
        Kind::Scalar { text, plain: false } => Value::from(text.as_str()),
        Kind::List(items) => items.iter().map(|item| as_json(item)).collect(),
        Kind::Map(entries) => entries.iter().map(|entry| (entry.key.clone(), as_json(&entry.value))).collect(),
    }
}
