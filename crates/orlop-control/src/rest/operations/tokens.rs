//! Join tokens.

use crate::rest::input::Input;
use crate::rest::operation::{Answer, Body, Operation};
use crate::rest::parameter::Kind;
use crate::rest::problem::Problem;
use crate::rest::reply;
use crate::rest::serve::Member;
use crate::rest::types::{JoinKind, JoinToken, JoinTokenMade, JoinTokens, MakeJoinToken};
use axum::response::Response;
use http::{Method, StatusCode};
use orlop_proto::identity::v1 as pb;
use std::fmt::Display;
use std::ops::RangeInclusive;
use tonic::Status;

const LIST: &str = "/orlop.identity.v1.IdentityService/ListJoinTokens";
const CREATE: &str = "/orlop.identity.v1.IdentityService/CreateJoinToken";
const REVOKE: &str = "/orlop.identity.v1.IdentityService/RevokeJoinToken";

const ALL: &str = "/api/v1/join-tokens";

pub(in crate::rest) fn operations() -> Vec<Operation> {
    let mut made = Answer::json::<JoinTokenMade>("The token. The cluster keeps only a hash of it.");
    made.status = 201;
    vec![
        Operation::get("listJoinTokens", ALL, Answer::json::<JoinTokens>("The join tokens, without their secrets."))
            .says("identity", "List join tokens", "")
            .reads(LIST)
            .does(list),
        Operation::new(Method::POST, "makeJoinToken", ALL, made)
            .says(
                "identity",
                "Make a join token",
                "Whoever has it may make a machine a node or a member of the cluster.",
            )
            .writes(CREATE)
            .takes(Body::json::<MakeJoinToken>(r#"{"kind": "node"}"#))
            .does(make),
        Operation::new(
            Method::DELETE,
            "revokeJoinToken",
            "/api/v1/join-tokens/{join_token}",
            Answer::done("Nobody joins with it any more."),
        )
        .says("identity", "Revoke a join token", "Who has joined with it stays.")
        .writes(REVOKE)
        .does(revoke),
    ]
}

fn failed(status: Status) -> Problem {
    Problem::of_status(&status, false)
}

async fn list(member: Member, input: Input) -> Result<Response, Problem> {
    let answer = member.identity().list_join_tokens(input.call(pb::ListJoinTokensRequest {})).await;
    let tokens = answer.map_err(failed)?.into_inner().tokens;
    reply::json(&JoinTokens { join_tokens: tokens.into_iter().map(JoinToken::from).collect() })
}

async fn make(member: Member, input: Input) -> Result<Response, Problem> {
    let MakeJoinToken { kind, uses, lifetime_seconds, node } = input.json()?;
    if let Some(node) = &node {
        let checked = Kind::Node.check(node);
        checked
            .map_err(|problem| Problem::bad_request("invalid_body", format!("node: {problem}"), "give a node's id"))?;
        if matches!(kind, JoinKind::Member) {
            let detail = "node: a member is no node";
            let (status, remedy) = (StatusCode::UNPROCESSABLE_ENTITY, "leave the node out, or make a token for a node");
            return Err(Problem::new(status, "contradiction", detail, remedy));
        }
    }
    let request = pb::CreateJoinTokenRequest {
        kind: pb::JoinKind::from(kind).into(),
        uses: bounded("uses", uses, 1..=1000)?,
        lifetime_ms: bounded("lifetime_seconds", lifetime_seconds, 60..=2_592_000)? * 1000,
        node: node.unwrap_or_default(),
    };
    let made = member.identity().create_join_token(input.call(request)).await.map_err(failed)?.into_inner();
    let stored = made.stored.ok_or_else(|| Problem::unreadable("the token is not told"))?;
    reply::created(&JoinTokenMade { token: made.token, stored: stored.into() })
}

/// gRPC takes 0 for what is usual; here it is a number like others, and so out of bounds.
pub(super) fn bounded<N: PartialOrd + Display>(name: &str, number: N, bounds: RangeInclusive<N>) -> Result<N, Problem> {
    if bounds.contains(&number) {
        return Ok(number);
    }
    let detail = format!("{name}: found {number}; expected {} to {}", bounds.start(), bounds.end());
    Err(Problem::bad_request("invalid_body", detail, "give a number between these, or leave it out"))
}

async fn revoke(member: Member, input: Input) -> Result<Response, Problem> {
    let request = pb::RevokeJoinTokenRequest { id: input.text("join_token") };
    member.identity().revoke_join_token(input.call(request)).await.map_err(failed)?;
    Ok(reply::done())
}
