//! The cluster as a whole, this member's health, and the document.

use super::{GET_STATE, state_of};
use crate::rest::input::Input;
use crate::rest::operation::{Answer, HTML, JSON, Operation};
use crate::rest::problem::Problem;
use crate::rest::serve::Member;
use crate::rest::types::{Health, HealthWord, Status};
use crate::rest::{page, reply};
use axum::response::Response;

pub(in crate::rest) fn operations() -> Vec<Operation> {
    let page = Answer { status: 200, doc: "The page.", media: &[HTML], schema: None, tagged: false };
    let document = Answer { doc: "The document.", media: &[JSON], ..page };
    vec![
        Operation::get("getStatus", "/api/v1/status", Answer::json::<Status>("The cluster."))
            .says("cluster", "Get the cluster's status", "")
            .reads(GET_STATE)
            .does(status),
        Operation::get("getHealth", "/healthz", Answer::json::<Health>("It answers."))
            .says("cluster", "Does this member answer?", "")
            .does(async |_, _| reply::json(&Health { status: HealthWord::Ok })),
        Operation::get("getReadiness", "/readyz", Answer::json::<Health>("It is."))
            .says("cluster", "Is this member ready for reads and writes?", "If not, 503 says why.")
            .does(ready),
        Operation::get("getOpenApi", "/api/v1/openapi.json", document)
            .says("cluster", "Get this document", "OpenAPI 3.1.")
            .does(async |member: Member, _| Ok(reply::bytes(JSON, member.document))),
        Operation::get("getDocs", "/api/v1/docs", page)
            .says("cluster", "Read this document", "A page to read, and to try the operations from.")
            .does(async |_, _| Ok(page::response())),
    ]
}

async fn status(member: Member, input: Input) -> Result<Response, Problem> {
    reply::json(&Status::from(&state_of(&member, &input, String::new()).await?))
}

async fn ready(member: Member, _: Input) -> Result<Response, Problem> {
    if (member.about.cluster)().is_none() {
        return Err(Problem::unavailable("this member knows of no cluster yet".into()));
    }
    match (member.about.refused)() {
        Some(why) => Err(Problem::unavailable(why)),
        None => reply::json(&Health { status: HealthWord::Ready }),
    }
}
