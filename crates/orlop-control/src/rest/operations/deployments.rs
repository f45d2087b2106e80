//! Deployments.

use super::{GET_STATE, page, state_of};
use crate::rest::input::Input;
use crate::rest::operation::{Answer, Body, Operation};
use crate::rest::parameter::{Kind, tag};
use crate::rest::problem::Problem;
use crate::rest::serve::Member;
use crate::rest::types::{Deployed, Deployment, DeploymentDetail, Deployments, Plan, Service, Stopped};
use crate::rest::{reply, spec};
use axum::response::Response;
use http::{Method, StatusCode};
use orlop_proto::operator::v1 as pb;

const DEPLOY: &str = "/orlop.operator.v1.OperatorService/Deploy";
const PLAN: &str = "/orlop.operator.v1.OperatorService/Plan";
pub(super) const STOP: &str = "/orlop.operator.v1.OperatorService/Stop";

const ALL: &str = "/api/v1/deployments";
const ONE: &str = "/api/v1/deployments/{deployment}";

pub(in crate::rest) fn operations() -> Vec<Operation> {
    let mut tagged = Answer::json::<DeploymentDetail>("The deployment.");
    tagged.tagged = true;
    let mut deployed = Answer::json::<Deployed>("What the deploy did. It is durable; nodes act on it from now on.");
    deployed.tagged = true;
    let mut stopped = Answer::json::<Stopped>("It is durable; what runs is being ended.");
    stopped.status = 202;
    vec![
        Operation::get("listDeployments", ALL, Answer::json::<Deployments>("A page of deployments, by name."))
            .says("deployments", "List deployments", "")
            .reads(GET_STATE)
            .pages(Kind::Deployment)
            .does(list),
        Operation::get("getDeployment", ONE, tagged)
            .says(
                "deployments",
                "Get a deployment",
                "Its `ETag` is its generation; give that to `If-Match` of a deploy.",
            )
            .reads(GET_STATE)
            .does(get),
        Operation::new(Method::PUT, "deploy", ONE, deployed)
            .says(
                "deployments",
                "Deploy",
                "Makes the deployment what the spec says. The same spec again changes nothing. With `If-Match` it is \
                 done only if the deployment has that generation still, with `If-None-Match: *` only if there is none; \
                 with neither, the last of several writers wins.",
            )
            .writes(DEPLOY)
            .header("If-Match", Kind::Tag, "The generation that the deployment must have.")
            .header("If-None-Match", Kind::Star, "The deployment must not exist.")
            .takes(Body::Spec)
            .does(deploy),
        Operation::new(Method::DELETE, "stopDeployment", ONE, stopped)
            .says("deployments", "Stop a deployment", "Ends all of it, and forgets it when nothing of it runs.")
            .writes(STOP)
            .query("force", Kind::Flag, "SIGKILL at once.")
            .does(stop),
        Operation::new(
            Method::POST,
            "planDeployment",
            "/api/v1/deployments/{deployment}/plan",
            Answer::json::<Plan>("What the deploy would do."),
        )
        .says("deployments", "Plan a deploy", "What a deploy would change and the steps that would follow at once.")
        .follows(PLAN)
        .takes(Body::Spec)
        .does(plan),
    ]
}

async fn list(member: Member, input: Input) -> Result<Response, Problem> {
    let state = state_of(&member, &input, String::new()).await?;
    let all = state.deployments.values().map(|deployment| (deployment.name.to_string(), Deployment::from(deployment)));
    let (deployments, next) = page(&input, all);
    reply::json(&Deployments { revision: state.revision.0, deployments, next })
}

async fn get(member: Member, input: Input) -> Result<Response, Problem> {
    let name = input.text("deployment");
    let state = state_of(&member, &input, name.clone()).await?;
    let Some(deployment) = state.deployments.get(name.as_str()) else {
        return Err(Problem::not_found(format!("there is no deployment {name}"), "see /api/v1/deployments"));
    };
    let detail = DeploymentDetail {
        revision: state.revision.0,
        deployment: deployment.into(),
        services: state.services.values().map(|service| Service::of(&state, service)).collect(),
    };
    reply::tagged(deployment.generation.0, &detail)
}

async fn deploy(member: Member, input: Input) -> Result<Response, Problem> {
    let expected_generation = match (input.maybe("If-Match"), input.maybe("If-None-Match")) {
        (Some(_), Some(_)) => {
            let detail = "no deployment both has a generation and does not exist";
            let (status, remedy) = (StatusCode::PRECONDITION_FAILED, "leave If-Match or If-None-Match out");
            return Err(Problem::new(status, "contradiction", detail, remedy));
        }
        (Some(text), None) => tag(text),
        (None, Some(_)) => Some(0),
        (None, None) => None,
    };
    let deployment = spec::read(&input)?;
    let request = pb::DeployRequest { deployment: Some((&deployment).into()), expected_generation };
    let conditional = expected_generation.is_some();
    let answer = member.operator().deploy(input.call(request)).await;
    let wire = answer.map_err(|status| Problem::of_status(&status, conditional))?.into_inner();
    let deployed = Deployed::of(deployment.name.to_string(), wire).map_err(Problem::unreadable)?;
    reply::tagged(deployed.generation, &deployed)
}

async fn plan(member: Member, input: Input) -> Result<Response, Problem> {
    let deployment = spec::read(&input)?;
    let request = pb::PlanRequest { deployment: Some((&deployment).into()) };
    let answer = member.operator().plan(input.call(request)).await;
    let wire = answer.map_err(|status| Problem::of_status(&status, false))?.into_inner();
    reply::json(&Plan::of(deployment.name.to_string(), wire).map_err(Problem::unreadable)?)
}

async fn stop(member: Member, input: Input) -> Result<Response, Problem> {
    let (name, forced) = (input.text("deployment"), input.flag("force"));
    let request = pb::StopRequest { deployment: name.clone(), service: String::new(), force: forced };
    let answer = member.operator().stop(input.call(request)).await;
    let wire = answer.map_err(|status| Problem::of_status(&status, false))?.into_inner();
    reply::accepted(&Stopped { name, forced, revision: wire.revision })
}
