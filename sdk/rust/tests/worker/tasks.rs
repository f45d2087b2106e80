//! Tasks: what they say, in which order, and what becomes of them when the stream breaks.

use crate::engine::{Engine, FENCE, json, task};
use orlop_model::TaskId;
use orlop_model::durable::{EngineFrame, FailureCause, Outcome, TaskReport, WorkerFrame};
use orlop_worker::task::{Invocation, Middleware, Next};
use orlop_worker::{Failure, TaskContext};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

fn finished(frame: WorkerFrame) -> (TaskId, Outcome) {
    match frame {
        WorkerFrame::TaskFinished { task, fence: FENCE, outcome } => (task, outcome),
        other => panic!("no end: {other:?}"),
    }
}

#[tokio::test]
async fn a_task_reports_in_order_and_before_its_end() {
    let mut engine = Engine::with(|worker| {
        worker.queue("gpu").build_id("7").label("zone", "a").task("a", |context: TaskContext, input: u32| async move {
            context.progress(0.5);
            context.log("info", "half");
            context.progress(0.75);
            context.save_checkpoint(&input)?;
            context.metadata("k", "v");
            Ok(input + 1)
        })
    })
    .await;
    let (mut stream, hello) = engine.welcomed(Vec::new()).await;
    assert_eq!(hello.queues.iter().map(|queue| queue.as_str()).collect::<Vec<_>>(), ["gpu"]);
    assert_eq!((hello.build.as_str(), hello.tasks.len(), hello.held_tasks.len()), ("7", 1, 0));
    stream.say(task(1, "a", &41)).await;
    let mut said = TaskReport::default();
    let outcome = loop {
        match stream.frame().await {
            WorkerFrame::TaskReported { report, .. } => {
                said.progress_permille = report.progress_permille.or(said.progress_permille);
                said.checkpoint = report.checkpoint.or(said.checkpoint);
                said.metadata.extend(report.metadata);
                said.log.extend(report.log);
            }
            end => break finished(end).1,
        }
    };
    assert_eq!(outcome, Outcome::Ok(json(&42)));
    assert_eq!((said.progress_permille, said.checkpoint), (Some(750), Some(json(&41))));
    assert_eq!((said.metadata["k"].as_str(), said.log[0].text.as_str()), ("v", "half"));
    stream.assert_silent().await;
}

#[tokio::test]
async fn whatever_a_task_does_it_ends() {
    let mut engine = Engine::with(|worker| {
        let worker = worker.task("panics", |_: TaskContext, (): ()| async { panics() });
        let worker = worker.task("large", |_: TaskContext, (): ()| async { Ok("x".repeat(20_000)) });
        worker.task("error", |_: TaskContext, (): ()| async { Ok("x".parse::<u8>()?) })
    })
    .await;
    let (mut stream, _) = engine.welcomed(Vec::new()).await;
    for (name, input, cause, message) in [
        ("panics", json(&()), FailureCause::Panicked, "no such luck"),
        ("large", json(&()), FailureCause::Unreadable, "the engine takes 10000"),
        ("error", json(&()), FailureCause::Returned, "invalid digit"),
        ("error", json(&7), FailureCause::Unreadable, "the task's input"),
        ("other", json(&()), FailureCause::Returned, "this worker has no task \"other\""),
    ] {
        let EngineFrame::TaskAssigned(mut assigned) = task(1, name, &()) else { panic!("no task") };
        assigned.input = input;
        stream.say(EngineFrame::TaskAssigned(assigned)).await;
        let (_, outcome) = finished(stream.frame().await);
        let Outcome::Failed(failure) = outcome else { panic!("{name} succeeded") };
        assert!(failure.cause == cause && failure.message.contains(message), "{name}: {failure:?}");
    }
}

fn panics() -> Result<(), Failure> {
    panic!("no such luck")
}

#[tokio::test]
async fn a_task_is_told_to_stop_and_given_up_if_it_does_not() {
    let mut engine = Engine::with(|worker| {
        let worker = worker.cancel_grace(Duration::from_millis(50));
        let worker = worker.task("polite", |context: TaskContext, (): ()| async move { Ok(context.cancelled().await) });
        worker.task("deaf", |_: TaskContext, (): ()| std::future::pending::<Result<(), Failure>>())
    })
    .await;
    let (mut stream, _) = engine.welcomed(Vec::new()).await;
    for (id, name) in [(1, "polite"), (2, "deaf")] {
        stream.say(task(id, name, &())).await;
        let task = TaskId::from_u128(id);
        stream.say(EngineFrame::TaskCancelled { task, fence: FENCE, reason: "enough".into() }).await;
        match (id, finished(stream.frame().await).1) {
            (1, outcome) => assert_eq!(outcome, Outcome::Ok(json("enough"))),
            (_, Outcome::Failed(failure)) => {
                assert_eq!(failure.cause, FailureCause::Cancelled);
                assert!(failure.message.starts_with("enough (and it did not stop"), "{failure:?}");
            }
            (_, outcome) => panic!("{outcome:?}"),
        }
    }
}

/// A worker with a task that waits until it is let go.
async fn with_gate() -> (Engine, Arc<Notify>, Arc<AtomicU32>) {
    let (gate, cancelled) = (Arc::new(Notify::new()), Arc::new(AtomicU32::new(0)));
    let (opened, counted) = (gate.clone(), cancelled.clone());
    let engine = Engine::with(move |worker| {
        worker.task("waits", move |context: TaskContext, (): ()| {
            let (gate, cancelled) = (opened.clone(), counted.clone());
            async move {
                tokio::select! {
                    () = gate.notified() => Ok("opened"),
                    reason = context.cancelled() => {
                        cancelled.fetch_add(1, Ordering::SeqCst);
                        Err(Failure::cancelled(reason))
                    }
                }
            }
        })
    })
    .await;
    (engine, gate, cancelled)
}

#[tokio::test]
async fn a_task_outlives_its_stream_and_its_result_comes_over_the_next() {
    let (mut engine, gate, _) = with_gate().await;
    let (mut stream, _) = engine.welcomed(Vec::new()).await;
    stream.say(task(1, "waits", &())).await;
    stream.assert_silent().await;
    drop(stream);
    gate.notify_one();
    let held = (TaskId::from_u128(1), FENCE);
    let (mut stream, hello) = engine.welcomed(vec![held]).await;
    assert_eq!(hello.held_tasks, [held]);
    assert_eq!(finished(stream.frame().await), (held.0, Outcome::Ok(json("opened"))));
    // The stream may break before the engine has it.
    drop(stream);
    let (mut stream, hello) = engine.welcomed(vec![held]).await;
    assert_eq!(hello.held_tasks, [held]);
    assert_eq!(finished(stream.frame().await).0, held.0);
    drop(stream);
    let (mut stream, hello) = engine.welcomed(Vec::new()).await;
    assert_eq!(hello.held_tasks, [held]);
    stream.assert_silent().await;
}

#[tokio::test]
async fn results_are_kept_until_the_engine_has_them_for_good() {
    let mut engine = Engine::with(|worker| worker.task("one", |_: TaskContext, (): ()| async { Ok(1) })).await;
    let (mut stream, _) = engine.welcomed(Vec::new()).await;
    for number in 1..=3 {
        stream.say(task(number, "one", &())).await;
        finished(stream.frame().await);
    }
    stream.say(EngineFrame::EndsTaken { count: 2 }).await;
    stream.assert_silent().await;
    drop(stream);
    let third = (TaskId::from_u128(3), FENCE);
    let (mut stream, hello) = engine.welcomed(vec![third]).await;
    assert_eq!(hello.held_tasks, [third], "two are taken");
    assert_eq!(finished(stream.frame().await).0, third.0);
    stream.say(EngineFrame::EndsTaken { count: 1 }).await;
    stream.assert_silent().await;
    drop(stream);
    assert_eq!(engine.welcomed(Vec::new()).await.1.held_tasks, []);
}

#[tokio::test]
async fn a_task_that_is_not_ours_any_more_is_ended() {
    let (mut engine, _gate, cancelled) = with_gate().await;
    let (mut stream, _) = engine.welcomed(Vec::new()).await;
    stream.say(task(1, "waits", &())).await;
    stream.assert_silent().await;
    drop(stream);
    let (mut stream, hello) = engine.welcomed(Vec::new()).await;
    assert_eq!(hello.held_tasks.len(), 1);
    while cancelled.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stream.assert_silent().await;
}

struct Doubles;

#[tonic::async_trait]
impl Middleware for Doubles {
    async fn call(&self, invocation: Invocation, next: Next<'_>) -> Result<orlop_model::durable::Payload, Failure> {
        assert_eq!(invocation.name, "a");
        let result: u32 = orlop_worker::payload::decode(&next.run(invocation).await?)?;
        Ok(orlop_worker::payload::encode(&(result * 2))?)
    }
}

#[tokio::test]
async fn middleware_stands_around_tasks() {
    let mut engine = Engine::with(|worker| {
        worker.task("a", |_: TaskContext, input: u32| async move { Ok(input) }).middleware(Doubles)
    })
    .await;
    let (mut stream, _) = engine.welcomed(Vec::new()).await;
    stream.say(task(1, "a", &21)).await;
    assert_eq!(finished(stream.frame().await).1, Outcome::Ok(json(&42)));
}
