//! The format as a JSON Schema, for editors: completion, documentation on hover, and most mistakes marked while typing.
//!
//! It says no more than the tables: rules across keys (circles, twice the same route) are the reader's alone. Words that
//! are not supported yet are left out, so that an editor marks them as the reader refuses them.

use crate::keys;
use crate::table::{Key, Presence, Shape, Table, Text, Word};
use serde_json::{Map, Value, json};

/// The JSON Schema (draft 2020-12) of a spec file, for editors.
pub fn schema() -> Value {
    let mut definitions = Map::new();
    let Value::Object(mut root) = table(&keys::DEPLOYMENT, &mut definitions) else { return Value::Null };
    root.insert("$schema".into(), "https://json-schema.org/draft/2020-12/schema".into());
    root.insert("title".into(), "Orlop spec file, version v1".into());
    root.insert("$defs".into(), Value::Object(definitions));
    Value::Object(root)
}

/// The schema of a mapping; what it refers to is added to the definitions.
fn table(table: &Table, definitions: &mut Map<String, Value>) -> Value {
    let mut properties = Map::new();
    for key in table.keys {
        let alone = table.named(key.name).count() == 1;
        // What a key of several shapes holds is said below, where the tag has decided.
        let mut property = if alone { shape(&key.shape, definitions) } else { json!({}) };
        describe(&mut property, key);
        properties.insert(key.name.into(), property);
    }
    let mut schema = json!({
        "type": "object",
        "description": table.doc,
        "properties": properties,
        "required": required(table, |key| key.when.is_empty()),
        "additionalProperties": false,
    });
    if let Some(tag) = table.tag_key()
        && let Shape::Words(words) = tag.shape
    {
        let able = words.iter().filter(|word| word.not_yet.is_none());
        schema["allOf"] = able.map(|word| variant(table, tag, word.text, definitions)).collect();
    }
    schema
}

/// What holds when the tag is a certain word.
fn variant(table: &Table, tag: &Key, word: &str, definitions: &mut Map<String, Value>) -> Value {
    let mut properties = Map::new();
    for key in table.keys.iter().filter(|key| !key.when.is_empty()) {
        match table.named(key.name).find(|key| key.fits(Some(word))) {
            None => {
                properties.insert(key.name.into(), false.into());
            }
            Some(key) if table.named(key.name).count() > 1 => {
                properties.insert(key.name.into(), shape(&key.shape, definitions));
            }
            Some(_) => {}
        }
    }
    let mut condition = json!({ "properties": { tag.name: { "const": word } } });
    if !matches!(tag.presence, Presence::Default(default) if default == word) {
        condition["required"] = json!([tag.name]);
    }
    let required = required(table, |key| key.when.contains(&word));
    json!({ "if": condition, "then": { "properties": properties, "required": required } })
}

fn required(table: &Table, wanted: impl Fn(&Key) -> bool) -> Vec<&'static str> {
    let keys = table.keys.iter().filter(|key| key.presence == Presence::Required && wanted(key));
    keys.map(|key| key.name).collect()
}

fn describe(property: &mut Value, key: &Key) {
    let mut text = key.doc.to_owned();
    if let Shape::Words(words) = key.shape {
        for Word { text: word, doc, not_yet } in words {
            let later = if not_yet.is_some() { " Not supported yet." } else { "" };
            text.push_str(&format!("\n\n- `{word}`: {doc}{later}"));
        }
    }
    property["description"] = text.into();
    if let Presence::Default(default) = key.presence {
        property["default"] = match key.shape {
            Shape::Int { .. } | Shape::Bool { .. } => serde_json::from_str(default).unwrap_or(Value::Null),
            _ => default.into(),
        };
    }
}

fn shape(shape: &Shape, definitions: &mut Map<String, Value>) -> Value {
    match shape {
        Shape::Words(words) => {
            let able = words.iter().filter(|word| word.not_yet.is_none());
            json!({ "enum": able.map(|word| word.text).collect::<Vec<_>>() })
        }
        Shape::Bool { only: None } => json!({ "type": "boolean" }),
        Shape::Bool { only: Some((able, _)) } => json!({ "const": able }),
        Shape::Int { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Shape::Duration { .. } => {
            json!({ "type": "string", "pattern": "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$", "minLength": 2 })
        }
        Shape::Size { min, max } => {
            json!({ "type": ["string", "integer"], "pattern": "^[0-9]+([KMGT]i|[kMGT])?$", "minimum": min, "maximum": max })
        }
        Shape::Cpu { min, max } => json!({
            "type": ["string", "number"],
            "pattern": "^([0-9]+(\\.[0-9]+)?|[0-9]+m)$",
            "minimum": *min as f64 / 1000.0,
            "maximum": *max as f64 / 1000.0,
        }),
        Shape::Text(text_) => text(text_),
        Shape::List { item, min, max } => {
            let items = self::shape(item, definitions);
            json!({ "type": "array", "items": items, "minItems": min, "maxItems": max })
        }
        Shape::Object(inner) => {
            if !definitions.contains_key(inner.name) {
                // Taken first, so that a mapping within itself would end.
                definitions.insert(inner.name.into(), Value::Null);
                let schema = table(inner, definitions);
                definitions.insert(inner.name.into(), schema);
            }
            json!({ "$ref": format!("#/$defs/{}", inner.name) })
        }
        Shape::Map { key, value, min, max } => {
            let value = self::shape(value, definitions);
            let mut names = text(key);
            names["type"] = "string".into();
            json!({
                "type": "object", "propertyNames": names, "additionalProperties": value,
                "minProperties": min, "maxProperties": max,
            })
        }
    }
}

fn text(text: &Text) -> Value {
    let types = if text.bare { json!(["string", "number", "boolean"]) } else { json!("string") };
    let mut schema = json!({ "type": types, "examples": [text.example] });
    if let Some(pattern) = text.pattern {
        schema["pattern"] = pattern.into();
    }
    schema
}
