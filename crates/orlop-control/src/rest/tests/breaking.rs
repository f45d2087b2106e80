//! What a change of the document would break for those who wrote against the one before.

use serde_json::{Map, Value, json};

/// Everything that is not any more as it was promised, one sentence each.
pub(super) fn breaks(old: &Value, new: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for (path, methods) in members(&old["paths"]) {
        for (method, operation) in members(methods) {
            let name = format!("{method} {path}");
            match new["paths"][path].get(method) {
                Some(now) => operation_breaks(&name, operation, now, &mut found),
                None => found.push(format!("{name} is gone")),
            }
        }
    }
    for (name, schema) in members(&old["components"]["schemas"]) {
        match new["components"]["schemas"].get(name) {
            Some(now) => schema_breaks(name, schema, now, is_heard(old, name), &mut found),
            None => found.push(format!("schema {name} is gone")),
        }
    }
    found
}

/// Is it the schema of a body, or within one? All others are of answers.
fn is_heard(document: &Value, name: &str) -> bool {
    let reference = format!("#/components/schemas/{name}");
    let bodies =
        members(&document["paths"]).flat_map(|(_, methods)| members(methods)).map(|(_, one)| &one["requestBody"]);
    let mut schemas = bodies.flat_map(|body| members(&body["content"])).map(|(_, content)| &content["schema"]["$ref"]);
    name.starts_with("Spec.") || schemas.any(|found| *found == reference)
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn operation_breaks(name: &str, old: &Value, new: &Value, found: &mut Vec<String>) {
    if old["operationId"] != new["operationId"] {
        found.push(format!("{name}: its operationId is another"));
    }
    let parameters = |operation: &Value| -> Map<String, Value> {
        let all = operation["parameters"].as_array().cloned().unwrap_or_default();
        all.into_iter().map(|p| (format!("{} {}", p["in"], p["name"]), p)).collect()
    };
    let (before, now) = (parameters(old), parameters(new));
    for (key, parameter) in &before {
        match now.get(key) {
            Some(there) => {
                if there["required"] == true && parameter["required"] != true {
                    found.push(format!("{name}: parameter {key} is required now"));
                }
                schema_breaks(&format!("{name} {key}"), &parameter["schema"], &there["schema"], true, found);
            }
            None => found.push(format!("{name}: parameter {key} is gone")),
        }
    }
    for (key, parameter) in &now {
        if parameter["required"] == true && !before.contains_key(key) {
            found.push(format!("{name}: parameter {key} is new and required"));
        }
    }
    let (body, body_now) = (&old["requestBody"], &new["requestBody"]);
    if body.is_null() && body_now["required"] == true {
        found.push(format!("{name}: a body is required now"));
    }
    media_breaks(name, "its body", &body["content"], &body_now["content"], found);
    for (status, response) in members(&old["responses"]).filter(|(status, _)| status.starts_with('2')) {
        let now = &new["responses"][status];
        media_breaks(name, status, &response["content"], &now["content"], found);
        for (header, _) in members(&response["headers"]) {
            if now["headers"][header].is_null() {
                found.push(format!("{name}: header {header} of {status} is gone"));
            }
        }
    }
}

fn media_breaks(name: &str, of: &str, old: &Value, new: &Value, found: &mut Vec<String>) {
    for (media, content) in members(old) {
        match new.get(media) {
            Some(now) if now["schema"]["$ref"] == content["schema"]["$ref"] => {}
            Some(_) => found.push(format!("{name}: {of} as {media} has another schema")),
            None => found.push(format!("{name}: {of} as {media} is gone")),
        }
    }
}

fn schema_breaks(at: &str, old: &Value, new: &Value, heard: bool, found: &mut Vec<String>) {
    // What is the same breaks nothing; descriptions and examples are looked at by no program.
    for key in ["type", "format", "pattern", "const", "$ref", "additionalProperties"] {
        if old[key] != new[key] && !(old[key].is_object() && new[key].is_object()) {
            found.push(format!("{at}: {key} was {}, is {}", old[key], new[key]));
        }
    }
    let words = |schema: &Value| schema["enum"].as_array().cloned().unwrap_or_default();
    for word in words(old).iter().filter(|word| heard && !words(new).contains(word)) {
        found.push(format!("{at}: {word} is not taken any more"));
    }
    let (least, most) = (["minimum", "minLength", "minItems"], ["maximum", "maxLength", "maxItems"]);
    for key in least.into_iter().chain(most) {
        let (before, now) = (old[key].as_f64(), new[key].as_f64());
        let narrower = match (before, now) {
            (Some(before), Some(now)) => {
                if least.contains(&key) {
                    now > before
                } else {
                    now < before
                }
            }
            (None, Some(_)) => true,
            (_, None) => false,
        };
        if heard && narrower {
            found.push(format!("{at}: {key} is narrower"));
        }
    }
    let names = |schema: &Value| schema["required"].as_array().cloned().unwrap_or_default();
    if heard {
        for name in names(new).iter().filter(|name| !names(old).contains(name)) {
            found.push(format!("{at}: {name} is required now"));
        }
    } else {
        for name in names(old).iter().filter(|name| !names(new).contains(name)) {
            found.push(format!("{at}: {name} is not always there any more"));
        }
    }
    for (name, property) in members(&old["properties"]) {
        match new["properties"].get(name) {
            Some(now) => schema_breaks(&format!("{at}.{name}"), property, now, heard, found),
            None => found.push(format!("{at}: property {name} is gone")),
        }
    }
    for key in ["items", "additionalProperties", "propertyNames"] {
        if old[key].is_object() {
            schema_breaks(&format!("{at}.{key}"), &old[key], &new[key], heard, found);
        }
    }
    for key in ["anyOf", "oneOf", "allOf"] {
        let list = |schema: &Value| schema[key].as_array().cloned().unwrap_or_default();
        let (before, now) = (list(old), list(new));
        if now.len() < before.len() {
            found.push(format!("{at}: a form of {key} is gone"));
        }
        for (i, (before, now)) in before.iter().zip(&now).enumerate() {
            schema_breaks(&format!("{at}.{key}[{i}]"), before, now, heard, found);
        }
    }
}

#[test]
fn what_breaks_a_client_is_found_and_what_is_added_is_not() {
    let old = json!({
        "paths": { "/a": { "get": {
            "operationId": "getA",
            "parameters": [{ "name": "limit", "in": "query", "required": false, "schema": { "type": "integer", "maximum": 9 } }],
            "requestBody": { "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Scale" } } } },
            "responses": { "200": { "content": { "application/json": { "schema": { "$ref": "#/A" } } }, "headers": { "ETag": {} } } },
        } } },
        "components": { "schemas": {
            "A": {
                "type": "object", "required": ["x"],
                "properties": { "x": { "type": "string" }, "y": { "items": { "type": "string" } } },
                "oneOf": [{ "const": "b" }, { "const": "c" }],
            },
            "Scale": { "type": "object", "required": ["replicas"], "properties": { "replicas": { "enum": [1, 2] } } },
        } },
    });
    assert_eq!(breaks(&old, &old), Vec::<String>::new());
    let changed = |pointer: &str, value: Value| {
        let mut new = old.clone();
        *new.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = value;
        breaks(&old, &new)
    };
    let operation = "/paths/~1a/get";
    let (a, scale) = ("/components/schemas/A", "/components/schemas/Scale");
    for (pointer, value) in [
        ("/paths".to_owned(), json!({})),
        ("/paths/~1a".to_owned(), json!({ "post": {} })),
        (format!("{operation}/operationId"), json!("a")),
        (format!("{operation}/parameters"), json!([])),
        (format!("{operation}/parameters/0/required"), json!(true)),
        (format!("{operation}/parameters/0/schema/type"), json!("string")),
        (format!("{operation}/parameters/0/schema/maximum"), json!(8)),
        (format!("{operation}/responses/200/content"), json!({})),
        (format!("{operation}/responses/200/headers"), json!({})),
        (format!("{operation}/responses/200/content/application~1json/schema/$ref"), json!("#/B")),
        ("/components/schemas".to_owned(), json!({})),
        (format!("{a}/properties"), json!({ "x": { "type": "string" } })),
        (format!("{a}/properties/x/type"), json!("integer")),
        (format!("{a}/properties/y/items/type"), json!("integer")),
        (format!("{a}/required"), json!([])),
        (format!("{a}/oneOf"), json!([{ "const": "b" }])),
        (format!("{a}/oneOf/0/const"), json!("d")),
        (format!("{scale}/required"), json!(["replicas", "why"])),
        (format!("{scale}/properties/replicas/enum"), json!([1])),
    ] {
        assert!(!changed(&pointer, value).is_empty(), "{pointer} passed unseen");
    }
    for (pointer, value) in [
        (format!("{operation}/parameters/0/schema/maximum"), json!(10)),
        (format!("{a}/required"), json!(["x", "y"])),
        (format!("{a}/oneOf"), json!([{ "const": "b" }, { "const": "c" }, { "const": "d" }])),
        (format!("{scale}/required"), json!([])),
        (format!("{scale}/properties/replicas/enum"), json!([1, 2, 3])),
    ] {
        assert_eq!(changed(&pointer, value), Vec::<String>::new(), "{pointer}");
    }
}
