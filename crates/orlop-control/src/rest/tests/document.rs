//! The document: what it promised before it keeps, and it is whole.

use super::breaking::breaks;
use crate::rest::{openapi, table};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::PathBuf;

fn document() -> Value {
    openapi::document(&table::all())
}

/// The document as it is committed. `UPDATE_GOLDEN=1` writes it anew, unless that breaks what it promised: who means to,
/// takes the file away first.
#[test]
fn the_document_is_the_committed_one_and_breaks_nothing() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/rest/tests/openapi.json");
    let now = document();
    let text = format!("{now:#}\n");
    let before = std::fs::read_to_string(&path).unwrap_or_else(|_| "{}".to_owned());
    let broken = breaks(&serde_json::from_str(&before).expect("JSON"), &now);
    assert!(broken.is_empty(), "clients of /api/v1 would break:\n{}", broken.join("\n"));
    if before != text && std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).expect("the document is written");
    } else {
        assert!(before == text, "the document has changed; UPDATE_GOLDEN=1 takes the change into {}", path.display());
    }
}

fn references<'d>(value: &'d Value, found: &mut BTreeSet<&'d str>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str));
            members.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_schema_is_used() {
    let document = document();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 30, "only {found:?}");
    for reference in &found {
        let pointer = reference.strip_prefix('#').expect("a reference into the document");
        assert!(document.pointer(pointer).is_some_and(|there| !there.is_null()), "{reference} leads nowhere");
    }
    for kind in ["schemas", "responses"] {
        for name in document["components"][kind].as_object().expect("an object").keys() {
            let reference = format!("#/components/{kind}/{name}");
            assert!(found.contains(reference.as_str()), "nothing uses {reference}");
        }
    }
}

/// A schema that is only a reference in a circle takes everything, and no other test would notice.
#[test]
fn every_schema_says_something_and_is_in_no_circle() {
    let document = document();
    let schemas = document["components"]["schemas"].as_object().expect("an object");
    let says = ["type", "enum", "const", "oneOf", "anyOf", "allOf", "properties"];
    for (name, schema) in schemas {
        assert!(says.iter().any(|key| schema.get(key).is_some()), "{name} says nothing: {schema}");
        let (mut reached, mut next) = (BTreeSet::new(), vec![schema]);
        while let Some(schema) = next.pop() {
            let mut found = BTreeSet::new();
            references(schema, &mut found);
            for reference in found {
                let other = reference.rsplit('/').next().unwrap_or_default();
                assert!(other != name, "{name} is within itself");
                if reached.insert(other) {
                    next.push(&schemas[other]);
                }
            }
        }
    }
}

#[test]
fn every_operation_is_described_and_called_by_a_name_of_its_own() {
    let operations = table::all();
    let mut ids = BTreeSet::new();
    for operation in &operations {
        assert!(ids.insert(operation.id), "{} stands twice", operation.id);
        assert!(!operation.summary.is_empty() && !operation.tag.is_empty(), "{} says nothing", operation.id);
        let group = table::GROUPS.iter().any(|(name, _)| *name == operation.tag);
        assert!(group, "{}: no group {}", operation.id, operation.tag);
        let mut names = BTreeSet::new();
        for parameter in &operation.parameters {
            assert!(names.insert(parameter.name), "{}: {} stands twice", operation.id, parameter.name);
            assert!(!parameter.doc.is_empty(), "{}: {} says nothing", operation.id, parameter.name);
        }
    }
    let described = document()["paths"]
        .as_object()
        .expect("paths")
        .values()
        .map(|p| p.as_object().map_or(0, |p| p.len()))
        .sum::<usize>();
    assert_eq!(described, operations.len());
}
