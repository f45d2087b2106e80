//! Any value of durable work.

use orlop_model::durable::*;
use orlop_model::{Millis, TaskId, Timestamp, WorkerSessionId, WorkflowRunId};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option::of as maybe;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Any time that a journal can hold: its form counts in signed 64 bits.
pub fn timestamp() -> impl Strategy<Value = Timestamp> {
    (0..=i64::MAX as u64).prop_map(Timestamp)
}

/// A limit, where none is not 0.
fn limit() -> impl Strategy<Value = Option<Millis>> {
    maybe((1..=u64::MAX).prop_map(Millis))
}

fn millis() -> impl Strategy<Value = Millis> {
    any::<u64>().prop_map(Millis)
}

/// Any run's id.
pub fn run_id() -> impl Strategy<Value = WorkflowRunId> {
    any::<u128>().prop_map(WorkflowRunId::from_u128)
}

/// Any task's id.
pub fn task_id() -> impl Strategy<Value = TaskId> {
    any::<u128>().prop_map(TaskId::from_u128)
}

/// Any run or task.
pub fn call_id() -> impl Strategy<Value = CallId> {
    prop_oneof![run_id().prop_map(CallId::Run), task_id().prop_map(CallId::Task)]
}

/// Any fence.
pub fn fence() -> impl Strategy<Value = Fence> {
    any::<u64>().prop_map(Fence)
}

/// Any place in a journal.
pub fn seq() -> impl Strategy<Value = Seq> {
    any::<u64>().prop_map(Seq)
}

/// Any number of a command.
pub fn command_number() -> impl Strategy<Value = CommandNumber> {
    (1..=u32::MAX).prop_map(CommandNumber)
}

/// Any queue.
pub fn queue_name() -> impl Strategy<Value = QueueName> {
    "[a-zA-Z0-9_./-]{1,12}".prop_map(|name| name.parse().expect("the pattern makes valid names only"))
}

/// Any name by which code is found.
fn name() -> impl Strategy<Value = String> {
    "\\PC{1,12}"
}

/// Any text, none included.
fn text() -> impl Strategy<Value = String> {
    "\\PC{0,12}"
}

fn texts() -> impl Strategy<Value = BTreeMap<String, String>> {
    btree_map(text(), text(), 0..3)
}

/// Any payload.
pub fn payload() -> impl Strategy<Value = Payload> {
    (vec(any::<u8>(), 0..24), text()).prop_map(|(data, encoding)| Payload { data: data.into(), encoding })
}

/// Any failure.
pub fn failure() -> impl Strategy<Value = Failure> {
    let cause = prop_oneof![
        Just(FailureCause::Returned),
        Just(FailureCause::Panicked),
        Just(FailureCause::TimedOut),
        Just(FailureCause::Cancelled),
        Just(FailureCause::WorkerLost),
        Just(FailureCause::Unreadable),
    ];
    (text(), text(), any::<bool>(), maybe(payload()), text(), cause).prop_map(
        |(message, category, is_final, details, trace, cause)| Failure {
            message,
            category,
            is_final,
            details,
            trace,
            cause,
        },
    )
}

/// Any outcome.
pub fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![payload().prop_map(Outcome::Ok), failure().prop_map(Outcome::Failed)]
}

/// Any policy that keeps its bounds.
pub fn retry_policy() -> impl Strategy<Value = RetryPolicy> {
    (maybe(1..=u32::MAX), millis(), 1000..=u32::MAX, millis(), 0..=1000u32, vec(text(), 0..3)).prop_map(
        |(attempts_max, backoff, growth_permille, backoff_max, jitter_permille, final_categories)| RetryPolicy {
            attempts_max,
            backoff,
            growth_permille,
            backoff_max,
            jitter_permille,
            final_categories,
        },
    )
}

/// Any options of a task.
pub fn task_options() -> impl Strategy<Value = TaskOptions> {
    let priority = (-100..=100).prop_map(|priority| Priority::new(priority).expect("within its bounds"));
    let run_at = maybe((1..=i64::MAX as u64).prop_map(Timestamp));
    let limits = (limit(), limit(), limit());
    (queue_name(), priority, text(), run_at, retry_policy(), limits, texts()).prop_map(
        |(queue, priority, fair_key, run_at, retry, limits, labels)| {
            let (schedule_to_start, start_to_close, heartbeat) = limits;
            TaskOptions {
                queue,
                priority,
                fair_key,
                run_at,
                retry,
                schedule_to_start,
                start_to_close,
                heartbeat,
                labels,
            }
        },
    )
}

/// Any signal.
pub fn signal() -> impl Strategy<Value = Signal> {
    (name(), payload(), text()).prop_map(|(name, payload, id)| Signal { name, payload, id })
}

/// Any beginning of a run.
pub fn started() -> impl Strategy<Value = Started> {
    (name(), text(), payload(), any::<u64>(), maybe(run_id()), text()).prop_map(
        |(workflow, version, input, seed, continues, traceparent)| Started {
            workflow,
            version,
            input,
            seed,
            continues,
            traceparent,
        },
    )
}

/// Anything that a workflow may ask for.
pub fn command_kind() -> impl Strategy<Value = CommandKind> {
    let attempt = || 1..=u32::MAX;
    prop_oneof![
        (text(), outcome(), attempt(), timestamp()).prop_map(|(name, outcome, attempt, began_at)| {
            CommandKind::StepDone { name, outcome, attempt, began_at }
        }),
        (text(), failure(), attempt(), timestamp()).prop_map(|(name, failure, attempt, next_at)| {
            CommandKind::StepFailed { name, failure, attempt, next_at }
        }),
        (task_id(), name(), payload(), task_options()).prop_map(|(task, name, input, options)| {
            CommandKind::TaskScheduled { task, name, input, options: Box::new(options) }
        }),
        (run_id(), name(), text(), payload(), text(), any::<bool>()).prop_map(
            |(run, workflow, version, input, key, detached)| CommandKind::ChildStarted {
                run,
                workflow,
                version,
                input,
                key,
                detached,
            }
        ),
        (timestamp(), text()).prop_map(|(fires_at, name)| CommandKind::TimerSet { fires_at, name }),
        (run_id(), name(), payload()).prop_map(|(run, name, payload)| CommandKind::SignalSent { run, name, payload }),
        command_number().prop_map(CommandKind::CommandCancelled),
        run_id().prop_map(CommandKind::RunCancelled),
        name().prop_map(|id| CommandKind::PatchMarked { id }),
        texts().prop_map(CommandKind::AttributesSet),
        outcome().prop_map(CommandKind::Finished),
        (run_id(), text(), payload(), vec(signal(), 0..3)).prop_map(|(run, version, input, carried)| {
            CommandKind::ContinuedAsNew { run, version, input, carried }
        }),
    ]
}

/// Any command, with a number if its kind has one.
pub fn command() -> impl Strategy<Value = Command> {
    (command_number(), text(), command_kind()).prop_map(|(number, source, kind)| Command {
        number: kind.is_numbered().then_some(number),
        source,
        kind,
    })
}

/// Any entry of a journal.
pub fn entry() -> impl Strategy<Value = Entry> {
    let record = prop_oneof![
        1 => started().prop_map(Record::Started),
        4 => command().prop_map(Record::Command),
        1 => (command_number(), outcome()).prop_map(|(command, outcome)| Record::Answered { command, outcome }),
        1 => signal().prop_map(Record::SignalReceived),
        1 => text().prop_map(|reason| Record::CancelRequested { reason }),
    ];
    (seq(), timestamp(), record).prop_map(|(seq, at, record)| Entry { seq, at, record })
}

fn held_tasks() -> impl Strategy<Value = Vec<(TaskId, Fence)>> {
    vec((task_id(), fence()), 0..3)
}

/// Any worker's introduction of itself.
pub fn hello() -> impl Strategy<Value = Hello> {
    let who = (text(), text(), text(), text());
    let has = (btree_set(name(), 0..3), btree_map(name(), btree_set(text(), 0..3), 0..3));
    (who, texts(), btree_set(queue_name(), 0..3), has, held_tasks()).prop_map(
        |((name, host, sdk, build), labels, queues, (tasks, workflows), held_tasks)| Hello {
            name,
            host,
            sdk,
            build,
            labels,
            queues,
            tasks,
            workflows,
            held_tasks,
        },
    )
}

/// Anything that a workflow may wait for.
pub fn waiting() -> impl Strategy<Value = Waiting> {
    (seq(), vec(command_number(), 0..3), vec(name(), 0..3)).prop_map(|(seen, commands, signals)| Waiting {
        seen,
        commands,
        signals,
    })
}

/// Any report of a task.
pub fn task_report() -> impl Strategy<Value = TaskReport> {
    let log = (timestamp(), text(), text()).prop_map(|(at, level, text)| TaskLog { at, level, text });
    (maybe(0..=1000u32), texts(), maybe(payload()), vec(log, 0..3)).prop_map(
        |(progress_permille, metadata, checkpoint, log)| TaskReport { progress_permille, metadata, checkpoint, log },
    )
}

/// Any reason for which code cannot go on with a run.
pub fn block_cause() -> impl Strategy<Value = BlockCause> {
    prop_oneof![
        Just(BlockCause::Mismatch),
        Just(BlockCause::Panicked),
        Just(BlockCause::ForeignWake),
        Just(BlockCause::Stuck),
        Just(BlockCause::Unreadable),
    ]
}

/// Anything that a worker says after its introduction.
pub fn worker_frame() -> impl Strategy<Value = WorkerFrame> {
    prop_oneof![
        (any::<u32>(), any::<u32>()).prop_map(|(tasks, runs)| WorkerFrame::Credit { tasks, runs }),
        Just(WorkerFrame::Pong),
        Just(WorkerFrame::Leaving),
        (run_id(), fence(), vec(command(), 0..4), maybe(waiting()))
            .prop_map(|(run, fence, commands, waiting)| { WorkerFrame::RunAdvanced { run, fence, commands, waiting } }),
        (run_id(), fence()).prop_map(|(run, fence)| WorkerFrame::RunReleased { run, fence }),
        (run_id(), fence(), block_cause(), text())
            .prop_map(|(run, fence, cause, message)| { WorkerFrame::RunBlocked { run, fence, cause, message } }),
        (any::<u64>(), outcome()).prop_map(|(query, outcome)| WorkerFrame::QueryAnswered { query, outcome }),
        (task_id(), fence(), outcome())
            .prop_map(|(task, fence, outcome)| { WorkerFrame::TaskFinished { task, fence, outcome } }),
        (task_id(), fence(), task_report())
            .prop_map(|(task, fence, report)| { WorkerFrame::TaskReported { task, fence, report } }),
        (task_id(), fence()).prop_map(|(task, fence)| WorkerFrame::TaskReturned { task, fence }),
    ]
}

/// Any task as a worker gets it.
pub fn assigned_task() -> impl Strategy<Value = AssignedTask> {
    let which = (task_id(), fence(), name(), queue_name(), payload(), 1..=u32::MAX);
    let call = || maybe(call_id()).prop_map(|call| call.map(|call| call.to_string()).unwrap_or_default());
    (which, maybe(payload()), (limit(), limit()), (call(), call(), text()), maybe(failure())).prop_map(
        |(which, checkpoint, (start_to_close, heartbeat), (parent, root, traceparent), last_failure)| {
            let (task, fence, name, queue, input, attempt) = which;
            AssignedTask {
                task,
                fence,
                name,
                queue,
                input,
                attempt,
                checkpoint,
                start_to_close,
                heartbeat,
                parent,
                root,
                traceparent,
                last_failure,
            }
        },
    )
}

/// Anything that an engine says.
pub fn engine_frame() -> impl Strategy<Value = EngineFrame> {
    let session = any::<u128>().prop_map(WorkerSessionId::from_u128);
    prop_oneof![
        (session, millis(), millis(), held_tasks(), any::<u64>()).prop_map(
            |(session, ping, lost_after, kept_tasks, payload_bytes_max)| EngineFrame::Welcome {
                session,
                ping,
                lost_after,
                kept_tasks,
                payload_bytes_max,
            }
        ),
        Just(EngineFrame::Ping),
        Just(EngineFrame::Leaving),
        any::<u64>().prop_map(|count| EngineFrame::EndsTaken { count }),
        (run_id(), fence(), name(), vec(entry(), 0..4), any::<bool>()).prop_map(
            |(run, fence, workflow, entries, more)| EngineFrame::RunAssigned { run, fence, workflow, entries, more }
        ),
        (run_id(), fence(), vec(entry(), 0..4), any::<bool>())
            .prop_map(|(run, fence, entries, more)| { EngineFrame::RunEntries { run, fence, entries, more } }),
        (run_id(), fence(), seq(), any::<u32>(), timestamp())
            .prop_map(|(run, fence, first, count, at)| { EngineFrame::RunAppended { run, fence, first, count, at } }),
        (run_id(), fence(), text()).prop_map(|(run, fence, reason)| EngineFrame::RunEvicted { run, fence, reason }),
        (any::<u64>(), run_id(), name(), payload())
            .prop_map(|(query, run, name, input)| { EngineFrame::Query { query, run, name, input } }),
        assigned_task().prop_map(|task| EngineFrame::TaskAssigned(Box::new(task))),
        (task_id(), fence(), text())
            .prop_map(|(task, fence, reason)| { EngineFrame::TaskCancelled { task, fence, reason } }),
    ]
}
