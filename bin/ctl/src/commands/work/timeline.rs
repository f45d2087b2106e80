//! A journal as people read it.

use super::{FailureOut, at, value};
use crate::render::table::table;
use orlop_proto::engine::v1 as pb;
use pb::entry::Kind;
use serde::Serialize;
use serde_json::Value;

#[derive(Debug, Serialize)]
pub(super) struct EntryOut {
    seq: u64,
    at: Option<String>,
    /// The command that it is, or that it answers.
    command: Option<u32>,
    what: &'static str,
    name: Option<String>,
    value: Value,
    failure: Option<FailureOut>,
    source: Option<String>,
}

/// The entries of a journal.
pub(super) fn of(entries: &[pb::Entry]) -> Vec<EntryOut> {
    entries.iter().map(entry).collect()
}

/// A table of them.
pub(super) fn text(entries: &[EntryOut]) -> String {
    let row = |entry: &EntryOut| {
        let detail = match (&entry.failure, &entry.value) {
            (Some(failure), _) => failure.message.clone(),
            (None, Value::Null) => String::new(),
            (None, value) => value.to_string(),
        };
        vec![
            entry.seq.to_string(),
            entry.at.clone().unwrap_or_default(),
            entry.command.map(|number| number.to_string()).unwrap_or_default(),
            entry.what.to_owned(),
            entry.name.clone().unwrap_or_default(),
            detail.chars().take(80).collect(),
        ]
    };
    table(&["SEQ", "AT", "COMMAND", "WHAT", "NAME", "DETAIL"], &entries.iter().map(row).collect::<Vec<_>>())
}

fn entry(entry: &pb::Entry) -> EntryOut {
    let mut out = EntryOut {
        seq: entry.seq,
        at: at(entry.at_ms),
        command: (entry.command > 0).then_some(entry.command),
        what: "unknown to this version",
        name: None,
        value: Value::Null,
        failure: None,
        source: (!entry.source.is_empty()).then(|| entry.source.clone()),
    };
    let Some(kind) = &entry.kind else { return out };
    let (what, name) = match kind {
        Kind::Started(started) => {
            out.value = value(started.input.as_ref());
            ("started", started.workflow.clone())
        }
        Kind::StepDone(step) => {
            out.outcome(step.outcome.as_ref());
            ("step done", step.name.clone())
        }
        Kind::StepFailed(step) => {
            out.failure = step.failure.as_ref().map(FailureOut::of);
            ("step failed, again later", step.name.clone())
        }
        Kind::TaskScheduled(task) => {
            out.value = value(task.input.as_ref());
            ("task scheduled", format!("{} ({})", task.name, task.task))
        }
        Kind::ChildStarted(child) => {
            out.value = value(child.input.as_ref());
            ("child started", format!("{} ({})", child.workflow, child.run))
        }
        Kind::TimerSet(timer) => {
            out.value = at(timer.fires_at_ms).map_or(Value::Null, Value::String);
            ("sleeps until", timer.name.clone())
        }
        Kind::SignalSent(signal) => {
            out.value = value(signal.payload.as_ref());
            ("signal sent", format!("{} to {}", signal.name, signal.run))
        }
        Kind::CancelSent(cancel) => match &cancel.target {
            Some(pb::cancel_sent::Target::OfCommand(number)) => ("cancels", format!("command {number}")),
            Some(pb::cancel_sent::Target::Run(run)) => ("cancels", run.clone()),
            None => ("cancels", String::new()),
        },
        Kind::PatchMarked(patch) => ("patched", patch.id.clone()),
        Kind::AttributesSet(set) => {
            let all: Vec<String> = set.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
            ("attributes", all.join(" "))
        }
        Kind::Finished(finished) => {
            out.outcome(finished.outcome.as_ref());
            ("finished", String::new())
        }
        Kind::ContinuedAsNew(next) => {
            out.value = value(next.input.as_ref());
            ("continued as new", next.run.clone())
        }
        Kind::Answered(answered) => {
            out.outcome(answered.outcome.as_ref());
            ("answered", String::new())
        }
        Kind::SignalReceived(signal) => {
            out.value = value(signal.payload.as_ref());
            ("signal", signal.name.clone())
        }
        Kind::CancelRequested(cancel) => ("cancel requested", cancel.reason.clone()),
    };
    out.what = what;
    out.name = (!name.is_empty()).then_some(name);
    out
}

impl EntryOut {
    fn outcome(&mut self, outcome: Option<&pb::Outcome>) {
        match outcome.and_then(|outcome| outcome.kind.as_ref()) {
            Some(pb::outcome::Kind::Ok(payload)) => self.value = value(Some(payload)),
            Some(pb::outcome::Kind::Failed(failure)) => self.failure = Some(FailureOut::of(failure)),
            None => {}
        }
    }
}
