//! Operators and their tokens.

use super::tokens::bounded;
use crate::rest::input::Input;
use crate::rest::operation::{Answer, Body, Operation};
use crate::rest::problem::Problem;
use crate::rest::reply;
use crate::rest::serve::Member;
use crate::rest::types::{MakeOperatorToken, Operator, OperatorTokenMade, Operators, PutOperator};
use axum::response::Response;
use http::Method;
use orlop_model::Timestamp;
use orlop_proto::identity::v1 as pb;
use tonic::Status;

const LIST: &str = "/orlop.identity.v1.IdentityService/ListOperators";
const PUT: &str = "/orlop.identity.v1.IdentityService/PutOperator";
const REMOVE: &str = "/orlop.identity.v1.IdentityService/RemoveOperator";
const ISSUE: &str = "/orlop.identity.v1.IdentityService/IssueOperatorToken";
const REVOKE: &str = "/orlop.identity.v1.IdentityService/RevokeOperatorToken";

const ONE: &str = "/api/v1/operators/{operator}";

pub(in crate::rest) fn operations() -> Vec<Operation> {
    let mut made = Answer::json::<OperatorTokenMade>("The token. The cluster does not keep it.");
    made.status = 201;
    vec![
        Operation::get("listOperators", "/api/v1/operators", Answer::json::<Operators>("The operators, by name."))
            .says("identity", "List operators", "")
            .reads(LIST)
            .does(list),
        Operation::new(Method::PUT, "putOperator", ONE, Answer::json::<Operator>("The operator."))
            .says("identity", "Add an operator, or change what one may do", "It holds from the next call on.")
            .writes(PUT)
            .takes(Body::json::<PutOperator>(r#"{"role": "deployer", "deployments": ["shop", "shop-*"]}"#))
            .does(put),
        Operation::new(Method::DELETE, "removeOperator", ONE, Answer::done("All tokens of the operator are dead."))
            .says("identity", "Remove an operator", "")
            .writes(REMOVE)
            .does(remove),
        Operation::new(Method::POST, "makeOperatorToken", "/api/v1/operators/{operator}/tokens", made)
            .says("identity", "Make a token for an operator", "")
            .writes(ISSUE)
            .takes(Body::json::<MakeOperatorToken>(r#"{"lifetime_seconds": 3600}"#))
            .does(make),
        Operation::new(
            Method::DELETE,
            "revokeOperatorToken",
            "/api/v1/operator-tokens/{operator_token}",
            Answer::done("It is refused from now on."),
        )
        .says("identity", "Revoke a token of an operator", "")
        .writes(REVOKE)
        .does(revoke),
    ]
}

fn failed(status: Status) -> Problem {
    Problem::of_status(&status, false)
}

async fn list(member: Member, input: Input) -> Result<Response, Problem> {
    let answer = member.identity().list_operators(input.call(pb::ListOperatorsRequest {})).await;
    let operators = answer.map_err(failed)?.into_inner().operators;
    reply::json(&Operators { operators: operators.into_iter().map(Operator::from).collect() })
}

async fn put(member: Member, input: Input) -> Result<Response, Problem> {
    let operator = input.json::<PutOperator>()?.named(input.text("operator"));
    let request = pb::PutOperatorRequest { operator: Some(operator.clone()) };
    member.identity().put_operator(input.call(request)).await.map_err(failed)?;
    reply::json(&Operator::from(operator))
}

async fn remove(member: Member, input: Input) -> Result<Response, Problem> {
    let request = pb::RemoveOperatorRequest { name: input.text("operator") };
    member.identity().remove_operator(input.call(request)).await.map_err(failed)?;
    Ok(reply::done())
}

async fn make(member: Member, input: Input) -> Result<Response, Problem> {
    let MakeOperatorToken { lifetime_seconds } = input.json()?;
    let lifetime_ms = bounded("lifetime_seconds", lifetime_seconds, 60..=31_622_400)? * 1000;
    let request = pb::IssueOperatorTokenRequest { operator: input.text("operator"), lifetime_ms };
    let made = member.identity().issue_operator_token(input.call(request)).await.map_err(failed)?.into_inner();
    let expires_at = Timestamp(made.expires_at_ms).into();
    reply::created(&OperatorTokenMade { login: made.login, id: made.id, expires_at })
}

async fn revoke(member: Member, input: Input) -> Result<Response, Problem> {
    let request = pb::RevokeOperatorTokenRequest { id: input.text("operator_token") };
    member.identity().revoke_operator_token(input.call(request)).await.map_err(failed)?;
    Ok(reply::done())
}
