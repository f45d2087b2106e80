//! Replicas.

use super::{GET_STATE, page, state_of};
use crate::rest::input::Input;
use crate::rest::operation::{Answer, Operation};
use crate::rest::parameter::Kind;
use crate::rest::problem::Problem;
use crate::rest::reply;
use crate::rest::serve::Member;
use crate::rest::types::{Replica, Replicas};
use axum::response::Response;

pub(in crate::rest) fn operations() -> Vec<Operation> {
    vec![
        Operation::get("listReplicas", "/api/v1/replicas", Answer::json::<Replicas>("A page of replicas, by id."))
            .says("replicas", "List replicas", "")
            .reads(GET_STATE)
            .query("deployment", Kind::Deployment, "Only those of this deployment.")
            .query("service", Kind::Service, "Only those of services of this name.")
            .query("node", Kind::Node, "Only those on this node.")
            .pages(Kind::Replica)
            .does(list),
        Operation::get("getReplica", "/api/v1/replicas/{replica}", Answer::json::<Replica>("The replica."))
            .says("replicas", "Get a replica", "")
            .reads(GET_STATE)
            .does(get),
    ]
}

async fn list(member: Member, input: Input) -> Result<Response, Problem> {
    let state = state_of(&member, &input, input.text("deployment")).await?;
    let wanted = |replica: &&orlop_model::Replica| {
        input.maybe("service").is_none_or(|service| replica.service.service.as_str() == service)
            && input.maybe("node").is_none_or(|node| replica.node.to_string() == node)
    };
    let all = state.replicas.values().filter(wanted).map(|r| (r.id.to_string(), Replica::of(&state, r)));
    let (replicas, next) = page(&input, all);
    reply::json(&Replicas { revision: state.revision.0, replicas, next })
}

async fn get(member: Member, input: Input) -> Result<Response, Problem> {
    let id = input.text("replica");
    let state = state_of(&member, &input, String::new()).await?;
    let found = id.parse().ok().and_then(|id| state.replicas.get(&id));
    let missing = || Problem::not_found(format!("there is no replica {id} (any more)"), "see /api/v1/replicas");
    reply::json(&Replica::of(&state, found.ok_or_else(missing)?))
}
