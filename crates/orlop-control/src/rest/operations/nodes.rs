//! Nodes.

use super::{GET_STATE, page, state_of};
use crate::rest::input::Input;
use crate::rest::operation::{Answer, Body, Operation};
use crate::rest::parameter::Kind;
use crate::rest::problem::Problem;
use crate::rest::reply;
use crate::rest::serve::Member;
use crate::rest::types::{Node, NodeChanged, Nodes, ScheduleNode};
use axum::response::Response;
use http::Method;
use orlop_proto::cluster::v1::NodeScheduling;
use orlop_proto::operator::v1 as pb;

const SCHEDULE_NODE: &str = "/orlop.operator.v1.OperatorService/ScheduleNode";
const REMOVE_NODE: &str = "/orlop.operator.v1.OperatorService/RemoveNode";

pub(in crate::rest) fn operations() -> Vec<Operation> {
    let changed = Answer::json::<NodeChanged>("It is done, and durable.");
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
        Operation::new(Method::PUT, "scheduleNode", "/api/v1/nodes/{node}/scheduling", changed)
            .says(
                "nodes",
                "Cordon, drain or open a node",
                "Cordoned, it gets no new replicas; draining, those that it has are replaced elsewhere too.",
            )
            .writes(SCHEDULE_NODE)
            .takes(Body::json::<ScheduleNode>(r#"{"scheduling": "cordoned"}"#))
            .does(schedule),
        Operation::new(Method::DELETE, "removeNode", "/api/v1/nodes/{node}", changed)
            .says("nodes", "Forget a node", "One that is gone for good: 409 while it is there, or its work may be.")
            .writes(REMOVE_NODE)
            .does(remove),
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

async fn schedule(member: Member, input: Input) -> Result<Response, Problem> {
    let node = input.text("node");
    let scheduling = NodeScheduling::from(input.json::<ScheduleNode>()?.scheduling).into();
    let request = pb::ScheduleNodeRequest { node: node.clone(), scheduling };
    let answer = member.operator().schedule_node(input.call(request)).await;
    let wire = answer.map_err(|status| Problem::of_status(&status, false))?.into_inner();
    reply::json(&NodeChanged { node, revision: wire.revision })
}

async fn remove(member: Member, input: Input) -> Result<Response, Problem> {
    let node = input.text("node");
    let answer = member.operator().remove_node(input.call(pb::RemoveNodeRequest { node: node.clone() })).await;
    let wire = answer.map_err(|status| Problem::of_status(&status, false))?.into_inner();
    reply::json(&NodeChanged { node, revision: wire.revision })
}
