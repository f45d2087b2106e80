//! One operation: a method on a path, as the router serves it and the document describes it.

use super::input::Input;
use super::parameter::{Kind, Parameter, Place};
use super::problem::Problem;
use super::serve::Member;
use axum::response::Response;
use futures::future::BoxFuture;
use http::Method;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::Value;
use std::borrow::Cow;
use std::sync::Arc;

/// What is done for a request.
pub(super) type Run = Arc<dyn Fn(Member, Input) -> BoxFuture<'static, Result<Response, Problem>> + Send + Sync>;

/// Adds the schema of a type to the document.
pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// A method on a path.
pub(super) struct Operation {
    pub(super) method: Method,
    /// With parameters in braces: `/api/v1/deployments/{deployment}`.
    pub(super) path: &'static str,
    /// Unique; a promise, since generated clients have methods of this name.
    pub(super) id: &'static str,
    /// The group it is shown in.
    pub(super) tag: &'static str,
    pub(super) summary: &'static str,
    pub(super) doc: &'static str,
    /// The gRPC method that it calls, if it calls one: what may be done there may be done here.
    pub(super) calls: Option<&'static str>,
    pub(super) parameters: Vec<Parameter>,
    pub(super) body: Option<Body>,
    pub(super) answer: Answer,
    pub(super) run: Run,
}

/// What a request carries.
#[derive(Debug, Clone, Copy)]
pub(super) enum Body {
    /// A spec file, as YAML or JSON.
    Spec,
    /// JSON of a type.
    Json(JsonBody),
}

/// JSON of a type, as the document shows it.
#[derive(Debug, Clone, Copy)]
pub(super) struct JsonBody {
    pub(super) name: fn() -> Cow<'static, str>,
    pub(super) schema: fn() -> Value,
    pub(super) example: &'static str,
}

impl Body {
    /// JSON of a type, and an example of it.
    pub(super) fn json<T: JsonSchema>(example: &'static str) -> Self {
        Self::Json(JsonBody { name: T::schema_name, schema: schema_of_body::<T>, example })
    }
}

/// The schema of what is read, with all that it refers to inside.
fn schema_of_body<T: JsonSchema>() -> Value {
    let mut settings = SchemaSettings::draft2020_12().for_deserialize();
    settings.inline_subschemas = true;
    settings.meta_schema = None;
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

/// What a request is answered with when it went well.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) doc: &'static str,
    /// The media types it comes in, the customary one first.
    pub(super) media: &'static [&'static str],
    /// `None`: the media type says it all.
    pub(super) schema: Option<SchemaOf>,
    /// Has it the deployment's generation as its entity tag?
    pub(super) tagged: bool,
}

/// JSON.
pub(super) const JSON: &str = "application/json";
/// YAML ([RFC 9512](https://www.rfc-editor.org/rfc/rfc9512)).
pub(super) const YAML: &str = "application/yaml";
/// One JSON text on each line.
pub(super) const JSON_LINES: &str = "application/jsonl";
/// [Server-sent events](https://html.spec.whatwg.org/multipage/server-sent-events.html).
pub(super) const EVENTS: &str = "text/event-stream";
/// A page.
pub(super) const HTML: &str = "text/html; charset=utf-8";

impl Answer {
    /// Nothing but that it was done.
    pub(super) fn done(doc: &'static str) -> Self {
        Self { status: 204, doc, media: &[], schema: None, tagged: false }
    }

    /// JSON of a type.
    pub(super) fn json<T: JsonSchema>(doc: &'static str) -> Self {
        Self { status: 200, doc, media: &[JSON], schema: Some(|g| g.subschema_for::<T>()), tagged: false }
    }
}

impl Operation {
    /// A read.
    pub(super) fn get(id: &'static str, path: &'static str, answer: Answer) -> Self {
        Self::new(Method::GET, id, path, answer)
    }

    /// An operation that does nothing yet.
    pub(super) fn new(method: Method, id: &'static str, path: &'static str, answer: Answer) -> Self {
        let run: Run = Arc::new(|_, _| Box::pin(async { Err(Problem::unreadable("nothing is done here")) }));
        let (tag, summary, doc) = ("", "", "");
        let parameters = parameters_of(path);
        Self { method, path, id, tag, summary, doc, calls: None, parameters, body: None, answer, run }
    }

    /// Its group, its title and what there is to know.
    pub(super) fn says(mut self, tag: &'static str, summary: &'static str, doc: &'static str) -> Self {
        (self.tag, self.summary, self.doc) = (tag, summary, doc);
        self
    }

    pub(super) fn query(self, name: &'static str, kind: Kind, doc: &'static str) -> Self {
        self.with(Parameter { place: Place::Query, name, doc, kind })
    }

    pub(super) fn header(self, name: &'static str, kind: Kind, doc: &'static str) -> Self {
        self.with(Parameter { place: Place::Header, name, doc, kind })
    }

    fn with(mut self, parameter: Parameter) -> Self {
        self.parameters.push(parameter);
        self
    }

    pub(super) fn takes(mut self, body: Body) -> Self {
        self.body = Some(body);
        self
    }

    /// It reads the state through a gRPC method, which may be what a member that does not lead has.
    pub(super) fn reads(mut self, method: &'static str) -> Self {
        self.calls = Some(method);
        self.query("stale", Kind::Flag, "Take what the member that is asked has; it may be behind.")
    }

    /// It follows the state or asks nodes through a gRPC method.
    pub(super) fn follows(mut self, method: &'static str) -> Self {
        self.calls = Some(method);
        self
    }

    /// It changes the state through a gRPC method.
    pub(super) fn writes(mut self, method: &'static str) -> Self {
        self.calls = Some(method);
        let doc = "Names the request, so that it takes effect once, however often it is sent: a UUID of your making.";
        self.header("Idempotency-Key", Kind::Uuid, doc)
    }

    /// It gives a list in pages.
    pub(super) fn pages(self, after: Kind) -> Self {
        let limit = Kind::Number { min: 1, max: 1000, default: Some(PAGE_DEFAULT) };
        self.query("limit", limit, "How many at most.").query("after", after, "Begin after this one: `next` of a page.")
    }

    pub(super) fn does<F, W>(mut self, run: F) -> Self
    where
        F: Fn(Member, Input) -> W + Send + Sync + 'static,
        W: Future<Output = Result<Response, Problem>> + Send + 'static,
    {
        self.run = Arc::new(move |member, input| Box::pin(run(member, input)));
        self
    }

    pub(super) fn parameters_in(&self, place: Place) -> impl Iterator<Item = &Parameter> {
        self.parameters.iter().filter(move |parameter| parameter.place == place)
    }
}

/// The length of a page when nobody says.
pub(super) const PAGE_DEFAULT: u64 = 100;

/// What stands in braces; the names are the same in all paths.
fn parameters_of(path: &'static str) -> Vec<Parameter> {
    let names = path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    let parameter = |name| {
        let (kind, doc) = match name {
            "deployment" => (Kind::Deployment, "The deployment's name."),
            "service" => (Kind::Service, "The service's name in the deployment."),
            "replica" => (Kind::Replica, "The replica's id."),
            "operator" => (Kind::Operator, "The operator's name."),
            "join_token" => (Kind::JoinToken, "The join token's id."),
            "operator_token" => (Kind::OperatorToken, "The id of an operator's token."),
            _ => (Kind::Node, "The node's id."),
        };
        Parameter { place: Place::Path, name, doc, kind }
    };
    names.map(parameter).collect()
}
