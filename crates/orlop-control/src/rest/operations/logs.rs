//! Logs of a service.

use super::events::SECONDS;
use crate::logs::TAIL_MAX;
use crate::rest::input::Input;
use crate::rest::operation::{Answer, EVENTS, JSON_LINES, Operation};
use crate::rest::parameter::Kind;
use crate::rest::problem::Problem;
use crate::rest::reply;
use crate::rest::serve::Member;
use crate::rest::types::{LogFrame, LogLine};
use axum::response::Response;
use futures::StreamExt;
use orlop_proto::cluster::v1::ServiceRef;
use orlop_proto::operator::v1 as pb;
use std::time::Duration;
use tonic::{Status, Streaming};

const LOGS: &str = "/orlop.operator.v1.OperatorService/Logs";

/// Who follows a service that has not written yet gets the head of the answer after so long.
const HEAD_PATIENCE: Duration = Duration::from_secs(2);

pub(in crate::rest) fn operations() -> Vec<Operation> {
    let mut lines = Answer::json::<LogFrame>("Lines as they come, one JSON text or one event each.");
    lines.media = &[JSON_LINES, EVENTS];
    let tail = Kind::Number { min: 0, max: TAIL_MAX as u64, default: None };
    vec![
        Operation::get("getLogs", "/api/v1/deployments/{deployment}/services/{service}/logs", lines)
            .says(
                "services",
                "Read or follow logs",
                "Merged over the service's replicas by time, those that are gone included. When some logs cannot be \
                 had, the others come, and a problem at the end says which are missing.",
            )
            .follows(LOGS)
            .query("replica", Kind::Replica, "Only this replica's.")
            .query("follow", Kind::Flag, "Go on with lines as they are written.")
            .query("since", Kind::Time, "Only lines from then on.")
            .query("tail", tail, "Only so many of the lines that are there.")
            .query("seconds", SECONDS, "End the stream after so long; else it lasts until one side ends it.")
            .does(logs),
    ]
}

async fn logs(member: Member, input: Input) -> Result<Response, Problem> {
    let follow = input.flag("follow");
    let request = pb::LogsRequest {
        service: Some(ServiceRef { deployment: input.text("deployment"), service: input.text("service") }),
        replica: input.text("replica"),
        follow,
        since_ms: input.time("since").unwrap_or(0),
        tail: input.number("tail").and_then(|tail| u32::try_from(tail).ok()),
    };
    let failed = |status: Status| Problem::of_status(&status, false);
    let mut lines = member.operator().logs(input.call(request)).await.map_err(failed)?.into_inner();
    // What fails at once fails with a status of its own.
    let first = match follow {
        false => Some(lines.message().await.map_err(failed)?),
        true => match tokio::time::timeout(HEAD_PATIENCE, lines.message()).await {
            Ok(first) => Some(first.map_err(failed)?),
            Err(_) => None,
        },
    };
    let media = input.media;
    let over = matches!(first, Some(None));
    let rest = futures::stream::unfold((!over).then_some(lines), move |lines| next(media, lines));
    let first = first.flatten().map(|batch| pieces(media, batch));
    let pieces = futures::stream::iter(first).chain(rest);
    Ok(reply::stream(media, pieces, input.number("seconds").map(Duration::from_secs)))
}

type Batches = Streaming<pb::LogsResponse>;

/// The next lines, and what is left of the stream: nothing after it failed.
async fn next(media: &str, lines: Option<Batches>) -> Option<(String, Option<Batches>)> {
    let mut lines = lines?;
    match lines.message().await {
        Ok(batch) => Some((pieces(media, batch?), Some(lines))),
        Err(status) => {
            let problem = LogFrame::Problem { problem: Problem::of_status(&status, false) };
            Some((reply::piece(media, "problem", None, &problem), None))
        }
    }
}

fn pieces(media: &str, batch: pb::LogsResponse) -> String {
    let piece = |line| reply::piece(media, "line", None, &LogFrame::Line(LogLine::from(line)));
    batch.lines.into_iter().map(piece).collect()
}
