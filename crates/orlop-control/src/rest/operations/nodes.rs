//! Nodes.

use super::{GET_STATE, page, state_of};
use crate::rest::input::Input;
use crate::rest::operation::{Answer, Operation};
use crate::rest::parameter::Kind;
use crate::rest::problem::Problem;
use crate::rest::reply;
use crate::rest::serve::Member;
use crate::rest::types::{Node, Nodes};
use axum::response::Response;

pub(in crate::rest) fn operations() -> Vec<Operation> {
    vec![
        Operation::get("listNodes", "/api/v1/nodes", Answer::json::<Nodes>("A page of nodes, by id."))
            .says("nodes", "List nodes", "")
            .reads(GET_STATE)
            .pages(Kind::Node)
            .does(list),
        Operation::get("getNode", "/api/v1/nodes/{node}", Answer::json::<Node>("The node."))
            .says("nodes", "Get a node", "")
            .reads(GET_STATE)
            .does(get),
    ]
}

async fn list(member: Member, input: Input) -> Result<Response, Problem> {
    let state = state_of(&member, &input, String::new()).await?;
    let (nodes, next) = page(&input, state.nodes.values().map(|node| (node.id.to_string(), Node::of(&state, node))));
    reply::json(&Nodes { revision: state.revision.0, nodes, next })
}

async fn get(member: Member, input: Input) -> Result<Response, Problem> {
    let id = input.text("node");
    let state = state_of(&member, &input, String::new()).await?;
    let found = id.parse().ok().and_then(|id| state.nodes.get(&id));
    let missing = || Problem::not_found(format!("there is no node {id}"), "see /api/v1/nodes");
    reply::json(&Node::of(&state, found.ok_or_else(missing)?))
}
