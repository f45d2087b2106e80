//! Documents made of the tables: for each key a small one that has it, however deep it stands.

use crate::keys;
use crate::table::{Key, Presence, Shape, Table};
use orlop_model::{Cpu, Memory, Millis};
use serde_json::{Map, Value, json};

/// A key in its surroundings.
pub(super) struct Sample<'a> {
    pub(super) table: &'static Table,
    /// The tag's word, when the mapping has a tag.
    pub(super) variant: Option<&'static str>,
    pub(super) key: &'static Key,
    /// Of the mapping that the key is in.
    pub(super) path: String,
    /// A sound mapping of this table and variant.
    pub(super) mapping: Map<String, Value>,
    /// Makes a document of such a mapping.
    pub(super) wrap: &'a dyn Fn(Value) -> Value,
}

impl Sample<'_> {
    pub(super) fn key_path(&self) -> String {
        if self.path.is_empty() { self.key.name.to_owned() } else { format!("{}.{}", self.path, self.key.name) }
    }

    /// The document with this value for the key.
    pub(super) fn with(&self, value: Value) -> Value {
        let mut mapping = self.mapping.clone();
        mapping.insert(self.key.name.to_owned(), value);
        (self.wrap)(mapping.into())
    }

    /// The document without the key.
    pub(super) fn without(&self) -> Value {
        let mut mapping = self.mapping.clone();
        mapping.remove(self.key.name);
        (self.wrap)(mapping.into())
    }
}

/// Shows every key of every table, with each word of the tag that it goes with.
pub(super) fn each(mut visit: impl FnMut(&Sample<'_>)) {
    walk(&keys::DEPLOYMENT, String::new(), &|value| value, &mut visit);
}

fn walk(table: &'static Table, path: String, wrap: &dyn Fn(Value) -> Value, visit: &mut dyn FnMut(&Sample<'_>)) {
    for variant in variants(table) {
        let mapping = mapping(table, variant);
        for key in table.keys.iter().filter(|key| key.fits(variant)) {
            visit(&Sample { table, variant, key, path: path.clone(), mapping: mapping.clone(), wrap });
            let key_path = if path.is_empty() { key.name.to_owned() } else { format!("{path}.{}", key.name) };
            let put = |value: Value| {
                let mut mapping = mapping.clone();
                mapping.insert(key.name.to_owned(), value);
                wrap(mapping.into())
            };
            match key.shape {
                Shape::Object(inner) => walk(inner, key_path, &put, visit),
                Shape::List { item: Shape::Object(inner), .. } => {
                    walk(inner, format!("{key_path}[0]"), &|value| put(json!([value])), visit);
                }
                Shape::Map { key: name, value: Shape::Object(inner), .. } => {
                    let name = name.example;
                    let other = || json!({ "image": { "name": "registry.example/db:1" } });
                    let put = |value: Value| put(json!({ name: value, "db": other() }));
                    walk(inner, format!("{key_path}.{name}"), &put, visit);
                }
                _ => {}
            }
        }
    }
}

fn variants(table: &Table) -> Vec<Option<&'static str>> {
    match table.tag_key().map(|key| key.shape) {
        Some(Shape::Words(words)) => words.iter().map(|word| Some(word.text)).collect(),
        _ => vec![None],
    }
}

/// A mapping with all that is required, and with what only goes together.
fn mapping(table: &'static Table, variant: Option<&'static str>) -> Map<String, Value> {
    let required = table.keys.iter().filter(|key| key.fits(variant) && key.presence == Presence::Required);
    let mut mapping: Map<String, Value> = required.map(|key| (key.name.to_owned(), value(&key.shape))).collect();
    if let (Some(tag), Some(word)) = (table.tag, variant) {
        mapping.insert(tag.to_owned(), word.into());
    }
    match table.name {
        "depends" => {
            mapping.insert("service".into(), "db".into());
            mapping.insert("timeout".into(), "1m".into());
        }
        "targets" => {
            mapping.insert("cpu".into(), 70.into());
        }
        _ => {}
    }
    mapping
}

/// A good value.
pub(super) fn value(shape: &Shape) -> Value {
    match shape {
        Shape::Words(words) => words.iter().find(|word| word.not_yet.is_none()).map_or(Value::Null, |w| w.text.into()),
        Shape::Bool { only } => only.is_none_or(|(able, _)| able).into(),
        Shape::Int { min, max } => 200.clamp(*min, *max).into(),
        Shape::Duration { min, max } => Millis(5000.clamp(*min, *max)).to_string().into(),
        Shape::Size { min, max } => Memory((16 << 20).clamp(*min, *max)).to_string().into(),
        Shape::Cpu { min, max } => Cpu(500.clamp(*min, *max)).to_string().into(),
        Shape::Text(text) => text.example.into(),
        Shape::List { item, .. } => json!([value(item)]),
        Shape::Object(table) => {
            let able = |variant: &Option<&str>| match (table.tag_key().map(|key| key.shape), variant) {
                (Some(Shape::Words(words)), Some(word)) => words.iter().any(|w| w.text == *word && w.not_yet.is_none()),
                _ => true,
            };
            mapping(table, variants(table).into_iter().find(able).flatten()).into()
        }
        Shape::Map { key, value: inner, .. } => json!({ key.example: value(inner) }),
    }
}
