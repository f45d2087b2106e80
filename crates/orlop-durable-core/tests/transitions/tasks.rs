//! Tasks that end, are cancelled, and come back.

use crate::bench::*;
use orlop_durable_core::{Effects, Input, Message, Recovered, Request, TaskChange, TaskStatus, Write};
use orlop_model::Millis;
use orlop_model::durable::{CallId, EngineFrame, Fence, RetryPolicy, TaskOptions, WorkerFrame};

fn bench() -> Bench {
    let mut bench = Bench::new(1, Recovered::default());
    bench.worker(1, 10, 10, Vec::new());
    bench
}

fn recovered(options: TaskOptions, change: TaskChange) -> Recovered {
    Recovered { tasks: vec![row(task(7), options, change)], ..Recovered::default() }
}

fn said_taken(effects: &Effects) -> bool {
    let is_it = |message: &Message| matches!(message, Message::ToWorker(_, EngineFrame::EndsTaken { .. }));
    effects.messages.iter().any(is_it)
}

/// A run that waits for a task, and is not in memory.
fn parked_owner() -> Bench {
    let mut bench = bench();
    bench.start(run(1), "");
    bench.advance(1, run(1), vec![command(1, scheduled(task(7), TaskOptions::default()))], None);
    bench.park(1, run(1));
    bench
}

#[test]
fn a_task_ends_together_with_the_answer_to_a_run_that_is_not_in_memory() {
    let mut bench = parked_owner();
    let early = bench.end_task(1, task(7), ok());
    assert_eq!((early.writes.len(), reads(&early, run(1))), (0, 1));
    assert!(!said_taken(&early), "its worker keeps the end until that is written");
    let later = bench.read(run(1));
    assert_eq!((ended(&later, task(7)), answers(&later, run(1))), (Some(TaskStatus::Completed), 1));
    assert!(said_taken(&later));
}

#[test]
fn a_cancellation_that_was_acknowledged_outlives_the_engine() {
    let mut bench = parked_owner();
    let fence = bench.task_fences[&task(7)];
    // Nobody has it now.
    bench.frame(1, WorkerFrame::Leaving);
    bench.frame(1, WorkerFrame::TaskReturned { task: task(7), fence });
    let effects = bench.request(Request::Cancel(CallId::Task(task(7)), "enough".into()));
    assert!(is_done(&effects));
    let is_marked = |write: &Write| matches!(write, Write::TaskChanged(_, change) if change.cancelled.is_some());
    assert!(effects.writes.iter().any(is_marked), "it is over later, and that must not be forgotten");
    assert_eq!(ended(&bench.read(run(1)), task(7)), Some(TaskStatus::Cancelled));
}

#[test]
fn a_cancelled_task_is_not_given_to_anybody_again() {
    // Its worker gives it back.
    let mut bench = bench();
    bench.submit(task(7), TaskOptions::default());
    bench.request(Request::Cancel(CallId::Task(task(7)), "enough".into()));
    let fence = bench.task_fences[&task(7)];
    let returned = bench.frame(1, WorkerFrame::TaskReturned { task: task(7), fence });
    assert_eq!((ended(&returned, task(7)), is_assigned(&returned, task(7))), (Some(TaskStatus::Cancelled), false));
    // It does not stop in time.
    bench.submit(task(8), TaskOptions { start_to_close: Some(Millis(100)), ..TaskOptions::default() });
    bench.request(Request::Cancel(CallId::Task(task(8)), "enough".into()));
    bench.now = bench.now + Millis(100);
    assert_eq!(ended(&bench.take(Input::Tick), task(8)), Some(TaskStatus::Cancelled));
    // The engine dies before its worker has said that it stopped.
    let change = TaskChange { cancelled: Some("enough".into()), ..TaskChange::default() };
    let mut bench = Bench::new(2, recovered(TaskOptions::default(), change));
    assert_eq!(ended(&bench.take(Input::Tick), task(7)), Some(TaskStatus::Cancelled));
}

#[test]
fn an_attempt_that_was_kept_over_two_engines_fails_once() {
    let fence = Fence((1 << 32) + 5);
    let retry = RetryPolicy { backoff: Millis(0), ..RetryPolicy::default() };
    let options = TaskOptions { retry, ..TaskOptions::default() };
    let mut bench = Bench::new(2, recovered(options, TaskChange::default()));
    assert_eq!(kept(&bench.worker(1, 1, 1, vec![(task(7), fence)])), 1);
    bench.frame(1, WorkerFrame::Leaving);
    bench.frame(1, WorkerFrame::TaskFinished { task: task(7), fence, outcome: failed() });
    // The stream breaks before the worker hears that its end is taken.
    bench.take(Input::Disconnected(session(1)));
    assert_eq!(kept(&bench.worker(2, 1, 1, vec![(task(7), fence)])), 0);
}

#[test]
fn an_engine_that_begins_is_patient_with_tasks_that_may_have_been_started() {
    let options = TaskOptions { schedule_to_start: Some(Millis(500)), ..TaskOptions::default() };
    let mut bench = Bench::new(2, recovered(options, TaskChange::default()));
    assert_eq!(ended(&bench.take(Input::Tick), task(7)), None, "it was due long ago");
    assert_eq!(kept(&bench.worker(1, 1, 1, vec![(task(7), Fence(1 << 32))])), 1);
    bench.now = bench.now + Millis(60_000);
    assert_eq!(ended(&bench.take(Input::Tick), task(7)), None, "it was started");
}
