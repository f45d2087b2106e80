//! Services of a deployment.

use super::{GET_STATE, deployments, page, state_of};
use crate::rest::input::Input;
use crate::rest::operation::{Answer, Body, Operation};
use crate::rest::parameter::Kind;
use crate::rest::problem::Problem;
use crate::rest::reply;
use crate::rest::serve::Member;
use crate::rest::types::{Scale, Scaled, Service, ServiceDetail, Services, Stopped};
use axum::response::Response;
use http::Method;
use orlop_proto::cluster::v1::ServiceRef;
use orlop_proto::operator::v1 as pb;

const SCALE: &str = "/orlop.operator.v1.OperatorService/Scale";

const ALL: &str = "/api/v1/deployments/{deployment}/services";
const ONE: &str = "/api/v1/deployments/{deployment}/services/{service}";

pub(in crate::rest) fn operations() -> Vec<Operation> {
    let mut stopped = Answer::json::<Stopped>("It is durable; what runs is being ended.");
    stopped.status = 202;
    vec![
        Operation::get("listServices", ALL, Answer::json::<Services>("A page of services, by name."))
            .says("services", "List the services of a deployment", "")
            .reads(GET_STATE)
            .pages(Kind::Service)
            .does(list),
        Operation::get("getService", ONE, Answer::json::<ServiceDetail>("The service."))
            .says("services", "Get a service", "")
            .reads(GET_STATE)
            .does(get),
        Operation::new(Method::DELETE, "stopService", ONE, stopped)
            .says("services", "Stop a service", "Ends one service of a deployment; the others stay.")
            .writes(deployments::STOP)
            .query("force", Kind::Flag, "SIGKILL at once.")
            .does(stop),
        Operation::new(
            Method::PUT,
            "scaleService",
            "/api/v1/deployments/{deployment}/services/{service}/scale",
            Answer::json::<Scaled>("What was wanted, and is wanted now."),
        )
        .says(
            "services",
            "Scale a service",
            "Sets how many replicas it has, until the next deploy, or for good with `scale: {mode: manual}`.",
        )
        .writes(SCALE)
        .takes(Body::json::<Scale>(r#"{"replicas": 3}"#))
        .does(scale),
    ]
}

async fn list(member: Member, input: Input) -> Result<Response, Problem> {
    let deployment = input.text("deployment");
    let state = state_of(&member, &input, deployment.clone()).await?;
    if !state.deployments.contains_key(deployment.as_str()) {
        return Err(Problem::not_found(format!("there is no deployment {deployment}"), "see /api/v1/deployments"));
    }
    let all = state.services.values().map(|s| (s.name.service.to_string(), Service::of(&state, s)));
    let (services, next) = page(&input, all);
    reply::json(&Services { revision: state.revision.0, services, next })
}

async fn get(member: Member, input: Input) -> Result<Response, Problem> {
    let (deployment, service) = (input.text("deployment"), input.text("service"));
    let state = state_of(&member, &input, deployment.clone()).await?;
    let Some(found) = state.services.values().find(|s| s.name.service.as_str() == service) else {
        let remedy = format!("see /api/v1/deployments/{deployment}/services");
        return Err(Problem::not_found(format!("there is no service {deployment}/{service}"), remedy));
    };
    reply::json(&ServiceDetail { revision: state.revision.0, service: Service::of(&state, found) })
}

async fn scale(member: Member, input: Input) -> Result<Response, Problem> {
    let (deployment, service) = (input.text("deployment"), input.text("service"));
    let Scale { replicas } = input.json()?;
    let name = format!("{deployment}/{service}");
    let request = pb::ScaleRequest { service: Some(ServiceRef { deployment, service }), replicas };
    let answer = member.operator().scale(input.call(request)).await;
    let wire = answer.map_err(|status| Problem::of_status(&status, false))?.into_inner();
    reply::json(&Scaled { service: name, replicas, previous: wire.previous, revision: wire.revision })
}

async fn stop(member: Member, input: Input) -> Result<Response, Problem> {
    let (deployment, service, forced) = (input.text("deployment"), input.text("service"), input.flag("force"));
    let name = format!("{deployment}/{service}");
    let request = pb::StopRequest { deployment, service, force: forced };
    let answer = member.operator().stop(input.call(request)).await;
    let wire = answer.map_err(|status| Problem::of_status(&status, false))?.into_inner();
    reply::accepted(&Stopped { name, forced, revision: wire.revision })
}
