//! The OpenAPI 3.1 document ([OAS](https://spec.openapis.org/oas/v3.1.1.html)), made from the table of operations and
//! the types that they speak.

use super::operation::{Answer, Body, EVENTS, JSON, JSON_LINES, Operation, YAML};
use super::parameter::Place;
use super::table::GROUPS;
use super::{parameter, problem};
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

const ABOUT: &str = "What an orchestrator of containers is told and tells, as JSON: the same handlers, checks and refusals \
    as over gRPC. Errors are problem details (RFC 9457). Times are RFC 3339 in UTC, cpu is in cores, memory in bytes.";

/// The document of some operations.
pub(super) fn document(operations: &[Operation]) -> Value {
    let mut says = SchemaSettings::draft2020_12().for_serialize();
    says.definitions_path = "/components/schemas".into();
    let mut says = says.into_generator();
    says.subschema_for::<problem::Problem>();

    let mut paths = Map::new();
    for operation in operations {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method.as_str().to_lowercase()] = one(operation, &mut says);
    }
    let mut schemas = says.take_definitions(true);
    for operation in operations {
        if let Some(Body::Json(body)) = operation.body {
            schemas.insert((body.name)().into_owned(), (body.schema)());
        }
    }
    add_spec(&mut schemas);
    json!({
        "openapi": "3.1.1",
        "info": {
            "title": "Orlop",
            "version": "v1",
            "description": ABOUT,
            "license": { "name": "Apache 2.0", "identifier": "Apache-2.0" },
        },
        "tags": GROUPS.iter().map(|(name, about)| json!({ "name": name, "description": about })).collect::<Vec<_>>(),
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": problems(),
            "securitySchemes": {
                "bearer": {
                    "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
                    "description": "An operator's token.",
                },
                "mutualTls": { "type": "mutualTLS", "description": "A certificate of the cluster." },
            },
        },
        // The last: none is needed where the socket itself says who calls.
        "security": [{ "bearer": [] }, { "mutualTls": [] }, {}],
    })
}

fn one(operation: &Operation, says: &mut SchemaGenerator) -> Value {
    let parameters = operation.parameters.iter().map(|parameter| {
        json!({
            "name": parameter.name,
            "in": parameter.place.word(),
            "required": parameter.place == Place::Path,
            "description": parameter.doc,
            "schema": parameter.kind.schema(),
        })
    });
    let mut responses = Map::new();
    responses.insert(operation.answer.status.to_string(), good(&operation.answer, says));
    for status in bad(operation) {
        responses.insert(status.to_string(), json!({ "$ref": format!("#/components/responses/{status}") }));
    }
    let mut value = json!({
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": parameters.collect::<Vec<_>>(),
        "responses": responses,
    });
    if !operation.doc.is_empty() {
        value["description"] = operation.doc.into();
    }
    if let Some(body) = operation.body {
        value["requestBody"] = json!({ "required": true, "content": content(body) });
    }
    match operation.calls {
        Some(method) => value["x-grpc-method"] = method.into(),
        None => value["security"] = json!([{}]),
    }
    value
}

fn content(body: Body) -> Value {
    match body {
        Body::Json(body) => {
            let schema = json!({ "$ref": format!("#/components/schemas/{}", (body.name)()) });
            let example: Value = serde_json::from_str(body.example).unwrap_or_default();
            json!({ JSON: { "schema": schema, "examples": { "one": { "value": example } } } })
        }
        Body::Spec => {
            let schema = json!({ "schema": { "$ref": "#/components/schemas/Spec" }, "examples": { "shop": { "value": {
                "version": "v1",
                "deployment": "shop",
                "services": { "api": { "rtype": "service", "image": { "name": "registry.example/shop/api:1.4" } } },
            } } } });
            json!({ JSON: schema, YAML: schema })
        }
    }
}

fn good(answer: &Answer, says: &mut SchemaGenerator) -> Value {
    let schema = answer.schema.map(|schema| schema(says).to_value());
    let media = |media: &&str| {
        let content = schema.as_ref().map(|schema| json!({ "schema": form(media, schema) }));
        ((*media).to_owned(), content.unwrap_or_else(|| json!({})))
    };
    let mut value = json!({ "description": answer.doc });
    if !answer.media.is_empty() {
        value["content"] = answer.media.iter().map(media).collect::<Map<_, _>>().into();
    }
    if answer.tagged {
        let schema = parameter::Kind::Tag.schema();
        value["headers"] =
            json!({ "ETag": { "required": true, "description": "The deployment's generation.", "schema": schema } });
    }
    value
}

/// What a media type makes of a schema. OpenAPI 3.1 has no words for streams: as from 3.2 on, JSON lines are an array
/// of their items, and readers of 3.1 take the schema of a stream of events for that of each event.
fn form(media: &str, schema: &Value) -> Value {
    match media {
        JSON_LINES => json!({ "type": "array", "items": schema }),
        EVENTS => json!({
            "type": "object",
            "properties": {
                "event": { "type": "string" },
                "id": { "type": "string" },
                "data": { "type": "string", "contentMediaType": JSON, "contentSchema": schema },
            },
            "required": ["event", "data"],
        }),
        _ => schema.clone(),
    }
}

/// The statuses of problems that an operation may be answered with.
fn bad(operation: &Operation) -> Vec<u16> {
    let mut statuses = vec![400, 406];
    if operation.calls.is_some() {
        statuses.extend([401, 403, 429, 500, 501, 503, 504]);
    }
    if operation.id == "getReadiness" {
        statuses.push(503);
    }
    if operation.path.contains('{') {
        statuses.push(404);
    }
    if operation.method != http::Method::GET {
        statuses.push(409);
    }
    if operation.parameters_in(Place::Header).any(|header| header.name == "If-Match") {
        statuses.push(412);
    }
    match operation.body {
        Some(Body::Spec) => statuses.extend([408, 413, 415, 422]),
        Some(Body::Json(_)) => statuses.extend([408, 413, 415, 422]),
        None => {}
    }
    statuses.sort_unstable();
    statuses
}

/// What each status of a problem means here.
const PROBLEMS: &[(u16, &str)] = &[
    (400, "The request is not what this document says."),
    (401, "Nobody knows who calls."),
    (403, "Who calls may not do this."),
    (404, "What the path names is not there."),
    (406, "There is no such form of the answer."),
    (408, "The body did not arrive in time."),
    (409, "What there is does not allow it."),
    (412, "The deployment has another generation."),
    (413, "The body is too large."),
    (415, "The body is of another media type."),
    (422, "The body contradicts itself, or its spec is wrong; `errors` says where."),
    (429, "There is too much of something for now; `Retry-After` says when to try again."),
    (500, "A defect of the control plane; its log says more."),
    (501, "This version cannot do it."),
    (503, "It cannot be done now; `Retry-After` says when to try again."),
    (504, "Somebody else did not answer in time."),
];

fn problems() -> Value {
    let mut responses = Map::new();
    for (status, about) in PROBLEMS {
        let content = json!({ problem::MEDIA: { "schema": { "$ref": "#/components/schemas/Problem" } } });
        let mut response = json!({ "description": about, "content": content });
        let header = match status {
            401 => Some(("WWW-Authenticate", "How to say who calls.", json!({ "type": "string" }))),
            429 | 503 => Some(("Retry-After", "In seconds.", json!({ "type": "integer", "minimum": 0 }))),
            _ => None,
        };
        if let Some((name, about, schema)) = header {
            response["headers"] = json!({ name: { "required": true, "description": about, "schema": schema } });
        }
        responses.insert(status.to_string(), response);
    }
    Value::Object(responses)
}

/// The schema of spec files is one of its own, with its definitions inside; here they stand beside it.
fn add_spec(schemas: &mut Map<String, Value>) {
    let Value::Object(mut spec) = orlop_spec::schema() else { return };
    spec.remove("$schema");
    if let Some(Value::Object(definitions)) = spec.remove("$defs") {
        for (name, mut schema) in definitions {
            point_beside(&mut schema);
            schemas.insert(format!("Spec.{name}"), schema);
        }
    }
    let mut spec = Value::Object(spec);
    point_beside(&mut spec);
    schemas.insert("Spec".into(), spec);
}

fn point_beside(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            for (key, value) in members {
                match value {
                    Value::String(text) if key == "$ref" => {
                        *text = text.replace("#/$defs/", "#/components/schemas/Spec.")
                    }
                    value => point_beside(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(point_beside),
        _ => {}
    }
}
