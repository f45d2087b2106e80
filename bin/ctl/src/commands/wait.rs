//! Waiting for a rollout or a stop, with progress: drawn over itself on a terminal, lines elsewhere.
//!
//! Progress goes to standard error, so that `-o json` stays one document.

use crate::context::Context;
use crate::failure::{CONFLICT, Failure, NOT_UP, TIMED_OUT};
use crate::{render, terminal};
use orlop_client::rollout::{End, Goal, Verdict};
use orlop_client::{ClusterState, Error, LogQuery, OperatorClient, why};
use orlop_model::{Millis, Replica, Subject};
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// How long it may take to say more about a failure.
const EXPLAIN: Duration = Duration::from_secs(5);
/// Events that an explanation looks at.
const EVENTS: u32 = 20;
/// Lines of the log that are shown.
const LINES: u32 = 10;

/// Waits until the goal is reached; fails at once when it will not be, and when the time is over.
pub(crate) async fn wait(
    context: &Context,
    client: &OperatorClient,
    goal: Goal,
    timeout: Millis,
) -> Result<(), Failure> {
    let started = context.now();
    let deadline = tokio::time::sleep(timeout.into());
    tokio::pin!(deadline);
    let mut rollout = client.follow(goal.clone());
    let mut progress = render::Progress::default();
    let mut last = None;
    let whole = match &goal.service {
        Some(service) => format!("{}/{service}", goal.deployment),
        None => goal.deployment.to_string(),
    };
    loop {
        let judged = tokio::select! {
            judged = rollout.next() => judged?,
            () = &mut deadline => {
                let done = match goal.end {
                    End::Rolled { .. } => "ready",
                    End::Gone => "gone",
                };
                return Err(Failure::new(TIMED_OUT, timed_out(&whole, done, timeout, last.as_ref())));
            }
        };
        show(&mut progress, &judged.services);
        match judged.verdict {
            Verdict::Waiting => last = Some(judged),
            Verdict::Done => {
                let took = orlop_client::why::age(context.now(), started);
                let done = match goal.end {
                    End::Rolled { .. } => "is ready",
                    End::Gone => "is gone",
                };
                note(&format!("{whole} {done} after {took}."));
                return Ok(());
            }
            Verdict::Failed { service, reason, replica } => {
                if let Some(replica) = replica.and_then(|id| rollout.state().replicas.get(&id)) {
                    // A courtesy, too: the verdict stands without it.
                    let _ = tokio::time::timeout(EXPLAIN, explain(context, client, rollout.state(), replica)).await;
                }
                let message = format!("{service} will not become ready: {reason}; see `orlopctl why {service}`");
                return Err(Failure::new(NOT_UP, message));
            }
            Verdict::Superseded(why) => {
                return Err(Failure::new(
                    CONFLICT,
                    format!("stopped waiting: {why}; see `orlopctl events {}`", goal.deployment),
                ));
            }
        }
    }
}

/// Says why a replica is as it is, and what it wrote last.
async fn explain(
    context: &Context,
    client: &OperatorClient,
    state: &ClusterState,
    replica: &Replica,
) -> Result<(), Error> {
    let subject = Subject { replica: Some(replica.id), ..Subject::default() };
    let (events, _) = client.events(&subject, EVENTS).await?;
    note(&format!("why {}/{}:", replica.service, replica.slot));
    for line in why::replica(state, replica, &events, context.now()) {
        note(&format!("  {}", render::plain(&line)));
    }
    let query = LogQuery {
        service: replica.service.clone(),
        replica: Some(replica.id),
        follow: false,
        since: None,
        tail: Some(LINES),
    };
    let mut lines = client.logs(&query).await?;
    let mut first = true;
    while let Some(line) = lines.next().await? {
        if std::mem::take(&mut first) {
            note("the last lines of its log:");
        }
        note(&format!("  {}", render::plain(&String::from_utf8_lossy(&line.text))));
    }
    Ok(())
}

fn timed_out(whole: &str, done: &str, timeout: Millis, last: Option<&orlop_client::rollout::Progress>) -> String {
    let behind = last.into_iter().flat_map(|progress| &progress.services);
    let behind = behind.filter(|s| s.ready != s.wanted || s.others > 0);
    let mut text = format!("{whole} is not {done} after {timeout}, and it goes on without this program");
    let mut first = None;
    for service in behind {
        first.get_or_insert(&service.service);
        text.push_str(&format!("; {}: {}", service.service, render::summary(service)));
        if let Some(note) = &service.note {
            text.push_str(&format!(" ({note})"));
        }
    }
    if let Some(service) = first {
        text.push_str(&format!("; see `orlopctl why {service}`"));
    }
    text
}

fn show(progress: &mut render::Progress, services: &[orlop_client::rollout::ServiceProgress]) {
    let mut out = std::io::stderr().lock();
    let text = match out.is_terminal() {
        true => progress.redraw(services, terminal::size().1.into()),
        false => progress.append(services),
    };
    // Progress is a courtesy: a closed standard error must not end the waiting.
    let _ = out.write_all(text.as_bytes());
}

fn note(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
