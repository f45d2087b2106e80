//! What workers and engines say to each other.

use super::{attempt_of, call, command_number, limit_of, moment, named, since_1970};
use crate::convert::enums;
use crate::engine::v1 as pb;
use crate::invalid::{bounded, choice, each, optional, parsed, required};
use crate::{InvalidWire, Within};
use orlop_model::durable::{
    AssignedTask, BlockCause, Command, EngineFrame, Entry, Fence, Hello, Seq, TaskLog, TaskReport, Waiting, WorkerFrame,
};
use orlop_model::{Millis, TaskId};
use std::collections::{BTreeMap, BTreeSet};

enums! {
    pb::BlockCause = BlockCause { Mismatch, Panicked, ForeignWake, Stuck, Unreadable }
}

impl From<Hello> for pb::Hello {
    fn from(hello: Hello) -> Self {
        let workflow = |(name, versions): (String, BTreeSet<String>)| pb::WorkerWorkflow {
            name,
            versions: versions.into_iter().collect(),
        };
        Self {
            name: hello.name,
            host: hello.host,
            sdk: hello.sdk,
            build: hello.build,
            labels: hello.labels,
            queues: hello.queues.iter().map(|queue| pb::WorkerQueue { name: queue.to_string() }).collect(),
            tasks: hello.tasks.into_iter().collect(),
            workflows: hello.workflows.into_iter().map(workflow).collect(),
            held_tasks: hello.held_tasks.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<pb::Hello> for Hello {
    type Error = InvalidWire;

    fn try_from(wire: pb::Hello) -> Result<Self, InvalidWire> {
        let versions = |workflow: pb::WorkerWorkflow| {
            Ok((named("name", workflow.name)?, workflow.versions.into_iter().collect::<BTreeSet<_>>()))
        };
        let mut workflows = BTreeMap::new();
        for (name, versions) in each("workflows", wire.workflows, versions)? {
            // One without versions and one with them, taken together, would be one that runs nothing that is pinned to none.
            if workflows.contains_key(&name) {
                return Err(InvalidWire::new("workflows", format!("{name:?} is there twice")));
            }
            workflows.insert(name, versions);
        }
        Ok(Self {
            name: wire.name,
            host: wire.host,
            sdk: wire.sdk,
            build: wire.build,
            labels: wire.labels,
            queues: each("queues", wire.queues, |queue| parsed("name", &queue.name))?.into_iter().collect(),
            tasks: each("tasks", wire.tasks, |task| named("", task))?.into_iter().collect(),
            workflows,
            held_tasks: each("held_tasks", wire.held_tasks, TryFrom::try_from)?,
        })
    }
}

impl From<(TaskId, Fence)> for pb::HeldTask {
    fn from((task, fence): (TaskId, Fence)) -> Self {
        Self { task: task.to_string(), fence: fence.0 }
    }
}

impl TryFrom<pb::HeldTask> for (TaskId, Fence) {
    type Error = InvalidWire;

    fn try_from(wire: pb::HeldTask) -> Result<Self, InvalidWire> {
        Ok((parsed("task", &wire.task)?, Fence(wire.fence)))
    }
}

/// The first frame of a worker.
impl From<Hello> for pb::WorkerFrame {
    fn from(hello: Hello) -> Self {
        Self { kind: Some(pb::worker_frame::Kind::Hello(hello.into())) }
    }
}

/// The first frame of a worker, and no other.
impl TryFrom<pb::WorkerFrame> for Hello {
    type Error = InvalidWire;

    fn try_from(wire: pb::WorkerFrame) -> Result<Self, InvalidWire> {
        match wire.kind.ok_or_else(|| InvalidWire::missing("kind"))? {
            pb::worker_frame::Kind::Hello(hello) => Hello::try_from(hello).within("hello"),
            other => Err(InvalidWire::new(worker_field(&other), "came before hello")),
        }
    }
}

impl From<WorkerFrame> for pb::WorkerFrame {
    fn from(frame: WorkerFrame) -> Self {
        use pb::worker_frame::Kind;
        Self {
            kind: Some(match frame {
                WorkerFrame::Credit { tasks, runs } => Kind::Credit(pb::Credit { tasks, runs }),
                WorkerFrame::Pong => Kind::Pong(pb::Pong {}),
                WorkerFrame::Leaving => Kind::Leaving(pb::Leaving {}),
                WorkerFrame::RunAdvanced { run, fence, commands, waiting } => Kind::RunAdvanced(pb::RunAdvanced {
                    run: run.to_string(),
                    fence: fence.0,
                    commands: commands.into_iter().map(Into::into).collect(),
                    waiting: waiting.map(Into::into),
                }),
                WorkerFrame::RunReleased { run, fence } => {
                    Kind::RunReleased(pb::RunReleased { run: run.to_string(), fence: fence.0 })
                }
                WorkerFrame::RunBlocked { run, fence, cause, message } => Kind::RunBlocked(pb::RunBlocked {
                    run: run.to_string(),
                    fence: fence.0,
                    cause: pb::BlockCause::from(cause).into(),
                    message,
                }),
                WorkerFrame::QueryAnswered { query, outcome } => {
                    Kind::QueryAnswered(pb::QueryAnswered { query, outcome: Some(outcome.into()) })
                }
                WorkerFrame::TaskFinished { task, fence, outcome } => Kind::TaskFinished(pb::TaskFinished {
                    task: task.to_string(),
                    fence: fence.0,
                    outcome: Some(outcome.into()),
                }),
                WorkerFrame::TaskReported { task, fence, report } => {
                    Kind::TaskReported(pb::TaskReported { task: task.to_string(), fence: fence.0, ..report.into() })
                }
                WorkerFrame::TaskReturned { task, fence } => {
                    Kind::TaskReturned(pb::TaskReturned { task: task.to_string(), fence: fence.0 })
                }
            }),
        }
    }
}

impl TryFrom<pb::WorkerFrame> for WorkerFrame {
    type Error = InvalidWire;

    fn try_from(wire: pb::WorkerFrame) -> Result<Self, InvalidWire> {
        let kind = wire.kind.ok_or_else(|| InvalidWire::missing("kind"))?;
        let field = worker_field(&kind);
        worker_frame_of(kind).within(field)
    }
}

fn worker_frame_of(kind: pb::worker_frame::Kind) -> Result<WorkerFrame, InvalidWire> {
    use pb::worker_frame::Kind;
    Ok(match kind {
        Kind::Hello(_) => return Err(InvalidWire::new("", "is not the first frame of its stream")),
        Kind::Credit(pb::Credit { tasks, runs }) => WorkerFrame::Credit { tasks, runs },
        Kind::Pong(pb::Pong {}) => WorkerFrame::Pong,
        Kind::Leaving(pb::Leaving {}) => WorkerFrame::Leaving,
        Kind::RunAdvanced(wire) => WorkerFrame::RunAdvanced {
            run: parsed("run", &wire.run)?,
            fence: Fence(wire.fence),
            commands: each("commands", wire.commands, Command::try_from)?,
            waiting: optional("waiting", wire.waiting)?,
        },
        Kind::RunReleased(wire) => {
            WorkerFrame::RunReleased { run: parsed("run", &wire.run)?, fence: Fence(wire.fence) }
        }
        Kind::RunBlocked(wire) => WorkerFrame::RunBlocked {
            run: parsed("run", &wire.run)?,
            fence: Fence(wire.fence),
            cause: choice::<pb::BlockCause, _>("cause", wire.cause)?,
            message: wire.message,
        },
        Kind::QueryAnswered(wire) => {
            WorkerFrame::QueryAnswered { query: wire.query, outcome: required("outcome", wire.outcome)? }
        }
        Kind::TaskFinished(wire) => WorkerFrame::TaskFinished {
            task: parsed("task", &wire.task)?,
            fence: Fence(wire.fence),
            outcome: required("outcome", wire.outcome)?,
        },
        Kind::TaskReported(wire) => WorkerFrame::TaskReported {
            task: parsed("task", &wire.task)?,
            fence: Fence(wire.fence),
            report: wire.try_into()?,
        },
        Kind::TaskReturned(wire) => {
            WorkerFrame::TaskReturned { task: parsed("task", &wire.task)?, fence: Fence(wire.fence) }
        }
    })
}

const fn worker_field(kind: &pb::worker_frame::Kind) -> &'static str {
    use pb::worker_frame::Kind;
    match kind {
        Kind::Hello(_) => "hello",
        Kind::Credit(_) => "credit",
        Kind::Pong(_) => "pong",
        Kind::Leaving(_) => "leaving",
        Kind::RunAdvanced(_) => "run_advanced",
        Kind::RunReleased(_) => "run_released",
        Kind::RunBlocked(_) => "run_blocked",
        Kind::QueryAnswered(_) => "query_answered",
        Kind::TaskFinished(_) => "task_finished",
        Kind::TaskReported(_) => "task_reported",
        Kind::TaskReturned(_) => "task_returned",
    }
}

impl From<Waiting> for pb::Waiting {
    fn from(waiting: Waiting) -> Self {
        Self {
            commands: waiting.commands.into_iter().map(|command| command.0).collect(),
            signals: waiting.signals,
            seen: waiting.seen.0,
        }
    }
}

impl TryFrom<pb::Waiting> for Waiting {
    type Error = InvalidWire;

    fn try_from(wire: pb::Waiting) -> Result<Self, InvalidWire> {
        Ok(Self {
            seen: Seq(wire.seen),
            commands: each("commands", wire.commands, |command| command_number("", command))?,
            signals: each("signals", wire.signals, |signal| named("", signal))?,
        })
    }
}

/// Of no task yet: whoever sends the report says of which, and under which fence.
impl From<TaskReport> for pb::TaskReported {
    fn from(report: TaskReport) -> Self {
        Self {
            task: String::new(),
            fence: 0,
            progress_permille: report.progress_permille,
            metadata: report.metadata,
            checkpoint: report.checkpoint.map(Into::into),
            log: report.log.into_iter().map(Into::into).collect(),
        }
    }
}

/// What is told, whichever task tells it.
impl TryFrom<pb::TaskReported> for TaskReport {
    type Error = InvalidWire;

    fn try_from(wire: pb::TaskReported) -> Result<Self, InvalidWire> {
        let permille = |progress| bounded("progress_permille", progress, 0..=1000);
        Ok(Self {
            progress_permille: wire.progress_permille.map(permille).transpose()?,
            metadata: wire.metadata,
            checkpoint: optional("checkpoint", wire.checkpoint)?,
            log: each("log", wire.log, TaskLog::try_from)?,
        })
    }
}

impl From<TaskLog> for pb::TaskLog {
    fn from(log: TaskLog) -> Self {
        Self { at_ms: since_1970(log.at), level: log.level, text: log.text }
    }
}

impl TryFrom<pb::TaskLog> for TaskLog {
    type Error = InvalidWire;

    fn try_from(wire: pb::TaskLog) -> Result<Self, InvalidWire> {
        Ok(Self { at: moment("at_ms", wire.at_ms)?, level: wire.level, text: wire.text })
    }
}

impl From<EngineFrame> for pb::EngineFrame {
    fn from(frame: EngineFrame) -> Self {
        use pb::engine_frame::Kind;
        let written = |entries: Vec<Entry>| entries.into_iter().map(Into::into).collect();
        Self {
            kind: Some(match frame {
                EngineFrame::Welcome { session, ping, lost_after, kept_tasks, payload_bytes_max } => {
                    Kind::Welcome(pb::Welcome {
                        session: session.to_string(),
                        ping_ms: ping.0,
                        lost_after_ms: lost_after.0,
                        kept_tasks: kept_tasks.into_iter().map(Into::into).collect(),
                        payload_bytes_max,
                    })
                }
                EngineFrame::Ping => Kind::Ping(pb::Ping {}),
                EngineFrame::Leaving => Kind::Leaving(pb::Leaving {}),
                EngineFrame::EndsTaken { count } => Kind::EndsTaken(pb::EndsTaken { count }),
                EngineFrame::RunAssigned { run, fence, workflow, entries, more } => {
                    let (run, fence, entries) = (run.to_string(), fence.0, written(entries));
                    Kind::RunAssigned(pb::RunAssigned { run, fence, workflow, entries, more })
                }
                EngineFrame::RunEntries { run, fence, entries, more } => {
                    let (run, fence, entries) = (run.to_string(), fence.0, written(entries));
                    Kind::RunEntries(pb::RunEntries { run, fence, entries, more })
                }
                EngineFrame::RunAppended { run, fence, first, count, at } => Kind::RunAppended(pb::RunAppended {
                    run: run.to_string(),
                    fence: fence.0,
                    seq: first.0,
                    count,
                    at_ms: since_1970(at),
                }),
                EngineFrame::RunEvicted { run, fence, reason } => {
                    Kind::RunEvicted(pb::RunEvicted { run: run.to_string(), fence: fence.0, reason })
                }
                EngineFrame::Query { query, run, name, input } => {
                    Kind::Query(pb::Query { query, run: run.to_string(), name, input: Some(input.into()) })
                }
                EngineFrame::TaskAssigned(task) => Kind::TaskAssigned(Box::new((*task).into())),
                EngineFrame::TaskCancelled { task, fence, reason } => {
                    Kind::TaskCancelled(pb::TaskCancelled { task: task.to_string(), fence: fence.0, reason })
                }
            }),
        }
    }
}

impl TryFrom<pb::EngineFrame> for EngineFrame {
    type Error = InvalidWire;

    fn try_from(wire: pb::EngineFrame) -> Result<Self, InvalidWire> {
        let kind = wire.kind.ok_or_else(|| InvalidWire::missing("kind"))?;
        let field = engine_field(&kind);
        engine_frame_of(kind).within(field)
    }
}

fn engine_frame_of(kind: pb::engine_frame::Kind) -> Result<EngineFrame, InvalidWire> {
    use pb::engine_frame::Kind;
    Ok(match kind {
        Kind::Welcome(wire) => EngineFrame::Welcome {
            session: parsed("session", &wire.session)?,
            ping: Millis(wire.ping_ms),
            lost_after: Millis(wire.lost_after_ms),
            kept_tasks: each("kept_tasks", wire.kept_tasks, TryFrom::try_from)?,
            payload_bytes_max: wire.payload_bytes_max,
        },
        Kind::Ping(pb::Ping {}) => EngineFrame::Ping,
        Kind::Leaving(pb::Leaving {}) => EngineFrame::Leaving,
        Kind::EndsTaken(taken) => EngineFrame::EndsTaken { count: taken.count },
        Kind::RunAssigned(wire) => EngineFrame::RunAssigned {
            run: parsed("run", &wire.run)?,
            fence: Fence(wire.fence),
            workflow: named("workflow", wire.workflow)?,
            entries: each("entries", wire.entries, Entry::try_from)?,
            more: wire.more,
        },
        Kind::RunEntries(wire) => EngineFrame::RunEntries {
            run: parsed("run", &wire.run)?,
            fence: Fence(wire.fence),
            entries: each("entries", wire.entries, Entry::try_from)?,
            more: wire.more,
        },
        Kind::RunAppended(wire) => EngineFrame::RunAppended {
            run: parsed("run", &wire.run)?,
            fence: Fence(wire.fence),
            first: Seq(wire.seq),
            count: wire.count,
            at: moment("at_ms", wire.at_ms)?,
        },
        Kind::RunEvicted(wire) => {
            EngineFrame::RunEvicted { run: parsed("run", &wire.run)?, fence: Fence(wire.fence), reason: wire.reason }
        }
        Kind::Query(wire) => EngineFrame::Query {
            query: wire.query,
            run: parsed("run", &wire.run)?,
            name: named("name", wire.name)?,
            input: required("input", wire.input)?,
        },
        Kind::TaskAssigned(wire) => EngineFrame::TaskAssigned(Box::new((*wire).try_into()?)),
        Kind::TaskCancelled(wire) => EngineFrame::TaskCancelled {
            task: parsed("task", &wire.task)?,
            fence: Fence(wire.fence),
            reason: wire.reason,
        },
    })
}

const fn engine_field(kind: &pb::engine_frame::Kind) -> &'static str {
    use pb::engine_frame::Kind;
    match kind {
        Kind::Welcome(_) => "welcome",
        Kind::Ping(_) => "ping",
        Kind::Leaving(_) => "leaving",
        Kind::EndsTaken(_) => "ends_taken",
        Kind::RunAssigned(_) => "run_assigned",
        Kind::RunEntries(_) => "run_entries",
        Kind::RunAppended(_) => "run_appended",
        Kind::RunEvicted(_) => "run_evicted",
        Kind::Query(_) => "query",
        Kind::TaskAssigned(_) => "task_assigned",
        Kind::TaskCancelled(_) => "task_cancelled",
    }
}

impl From<AssignedTask> for pb::TaskAssigned {
    fn from(task: AssignedTask) -> Self {
        Self {
            task: task.task.to_string(),
            fence: task.fence.0,
            name: task.name,
            queue: task.queue.to_string(),
            input: Some(task.input.into()),
            checkpoint: task.checkpoint.map(Into::into),
            start_to_close_ms: task.start_to_close.unwrap_or_default().0,
            heartbeat_ms: task.heartbeat.unwrap_or_default().0,
            parent: task.parent,
            root: task.root,
            traceparent: task.traceparent,
            last_failure: task.last_failure.map(Into::into),
            attempt: task.attempt,
        }
    }
}

impl TryFrom<pb::TaskAssigned> for AssignedTask {
    type Error = InvalidWire;

    fn try_from(wire: pb::TaskAssigned) -> Result<Self, InvalidWire> {
        Ok(Self {
            task: parsed("task", &wire.task)?,
            fence: Fence(wire.fence),
            name: named("name", wire.name)?,
            queue: parsed("queue", &wire.queue)?,
            input: required("input", wire.input)?,
            attempt: attempt_of("attempt", wire.attempt)?,
            checkpoint: optional("checkpoint", wire.checkpoint)?,
            start_to_close: limit_of(wire.start_to_close_ms),
            heartbeat: limit_of(wire.heartbeat_ms),
            parent: call("parent", wire.parent)?,
            root: call("root", wire.root)?,
            traceparent: wire.traceparent,
            last_failure: optional("last_failure", wire.last_failure)?,
        })
    }
}
