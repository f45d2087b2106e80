//! Events, and a stream of them.

use crate::rest::input::Input;
use crate::rest::operation::{Answer, EVENTS, Operation};
use crate::rest::parameter::{Kind, event_id};
use crate::rest::problem::Problem;
use crate::rest::reply;
use crate::rest::serve::Member;
use crate::rest::types::{Event, EventFrame, Events};
use axum::response::Response;
use futures::StreamExt;
use orlop_proto::cluster::v1::Subject;
use orlop_proto::operator::v1 as pb;
use orlop_proto::watch::v1 as watch;
use std::time::Duration;
use tonic::Streaming;
use watch::change::Object;

const LIST_EVENTS: &str = "/orlop.operator.v1.OperatorService/ListEvents";
const WATCH: &str = "/orlop.watch.v1.WatchService/Watch";

/// How long a stream may be asked to last, in seconds.
pub(super) const SECONDS: Kind = Kind::Number { min: 1, max: 86_400, default: None };

pub(in crate::rest) fn operations() -> Vec<Operation> {
    let limit = Kind::Number { min: 1, max: 10_000, default: Some(100) };
    let mut streamed = Answer::json::<EventFrame>("Server-sent events as they come.");
    streamed.media = &[EVENTS];
    vec![
        Operation::get("listEvents", "/api/v1/events", Answer::json::<Events>("The newest events, oldest first."))
            .says("events", "List events", "")
            .reads(LIST_EVENTS)
            .query("deployment", Kind::Deployment, "Only those about this deployment.")
            .query("service", Kind::Service, "Only those about services of this name.")
            .query("replica", Kind::Replica, "Only those about this replica.")
            .query("node", Kind::Node, "Only those about this node.")
            .query("limit", limit, "How many at most.")
            .does(list),
        Operation::get("streamEvents", "/api/v1/events/stream", streamed)
            .says(
                "events",
                "Follow events",
                "Each event once and in order. With the id of what was heard last it goes on from there; when that is \
                 too long ago, or with none, `event: snapshot` comes first and then all events that are kept.",
            )
            .follows(WATCH)
            .query("deployment", Kind::Deployment, "Only those about this deployment.")
            .query("after", Kind::EventId, "Go on after this id. `Last-Event-ID`, where it is sent, goes before it.")
            .query("seconds", SECONDS, "End the stream after so long; else it lasts until one side ends it.")
            .header("Last-Event-ID", Kind::EventId, "Go on after this id; browsers send it when they connect again.")
            .does(stream),
    ]
}

async fn list(member: Member, input: Input) -> Result<Response, Problem> {
    let own = |name| input.maybe(name).map(str::to_owned);
    let subject = Subject {
        deployment: own("deployment"),
        service: own("service"),
        replica: own("replica"),
        slot: None,
        node: own("node"),
    };
    let limit = input.number("limit").and_then(|limit| u32::try_from(limit).ok()).unwrap_or(0);
    let request = pb::ListEventsRequest { subject: Some(subject), limit };
    let answer = member.operator().list_events(input.call(request)).await;
    let wire = answer.map_err(|status| Problem::of_status(&status, false))?.into_inner();
    let event = |wire| orlop_model::Event::try_from(wire).map(|event| Event::from(&event));
    let events = wire.events.into_iter().map(event).collect::<Result<_, _>>().map_err(Problem::unreadable)?;
    let cluster = (member.about.cluster)().map(|id| id.to_string()).unwrap_or_default();
    reply::json(&Events { revision: wire.revision, last_event_id: format!("{cluster}/{}", wire.revision), events })
}

async fn stream(member: Member, input: Input) -> Result<Response, Problem> {
    let heard = input.maybe("Last-Event-ID").or_else(|| input.maybe("after")).and_then(event_id);
    let view = watch::EventView { deployment: input.text("deployment") };
    let request = watch::WatchRequest {
        view: Some(watch::View { kind: Some(watch::view::Kind::Events(view)) }),
        since: heard.map_or(0, |(_, revision)| revision),
        cluster: heard.map(|(cluster, _)| cluster.to_string()).unwrap_or_default(),
    };
    let failed = |status: tonic::Status| Problem::of_status(&status, false);
    let mut updates = member.watch().watch(input.call(request)).await.map_err(failed)?.into_inner();
    // It comes at once; what is refused is so refused with a status of its own.
    let first = updates.message().await.map_err(failed)?;
    let within = first.as_ref().is_some_and(|update| update.more);
    let rest = futures::stream::unfold(Some((updates, within)), next);
    let pieces = futures::stream::iter(first.map(|update| pieces(update, false))).chain(rest);
    Ok(reply::stream(input.media, pieces, input.number("seconds").map(Duration::from_secs)))
}

/// A watch, and whether it is within an update of several parts.
type Updates = (Streaming<watch::WatchResponse>, bool);

/// The next pieces, and what is left of the stream: nothing after it failed.
async fn next(updates: Option<Updates>) -> Option<(String, Option<Updates>)> {
    let (mut updates, within) = updates?;
    match updates.message().await {
        Ok(update) => {
            let update = update?;
            let more = update.more;
            Some((pieces(update, within), Some((updates, more))))
        }
        Err(status) => {
            let problem = EventFrame::Problem { problem: Problem::of_status(&status, false) };
            Some((reply::piece(EVENTS, "problem", None, &problem), None))
        }
    }
}

/// The events of one message. The id comes with the last part of an update only: before, its revision is not reached.
fn pieces(update: watch::WatchResponse, within: bool) -> String {
    let watch::WatchResponse { revision, cluster, snapshot, changes, more } = update;
    let id = format!("{cluster}/{revision}");
    let mut text = String::new();
    if snapshot && !within {
        text.push_str(&reply::piece(EVENTS, "snapshot", None, &EventFrame::Snapshot { cluster, revision }));
    }
    for change in changes {
        let Some(Object::Event(event)) = change.object else { continue };
        match orlop_model::Event::try_from(event) {
            Ok(event) => {
                text.push_str(&reply::piece(EVENTS, "event", None, &EventFrame::Event(Box::new((&event).into()))))
            }
            Err(error) => tracing::warn!(%error, key = change.key, "an event cannot be passed on"),
        }
    }
    if !more {
        // An id without data moves a reader on, and is no event.
        text.push_str(&format!("id: {id}\n\n"));
    }
    text
}
