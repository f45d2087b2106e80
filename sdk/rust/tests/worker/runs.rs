//! Runs: assigned, advanced, evicted, blocked.

use crate::engine::{Engine, FENCE, RUN, entry, json, run, started};
use orlop_model::Timestamp;
use orlop_model::durable::{
    BlockCause, CommandKind, CommandNumber, EngineFrame, Outcome, Payload, Record, Seq, WorkerFrame,
};
use orlop_worker::WorkflowContext;
use orlop_worker::worker::WorkerBuilder;
use std::time::Duration;

fn workflow(worker: WorkerBuilder) -> WorkerBuilder {
    worker.workflow("w", |context: WorkflowContext, input: u32| async move {
        let doubled = context.step("double", move || async move { Ok(input * 2) }).await?;
        context.sleep(Duration::from_secs(60)).await?;
        Ok(doubled)
    })
}

fn advanced(frame: WorkerFrame) -> (Vec<CommandKind>, bool) {
    match frame {
        WorkerFrame::RunAdvanced { run: RUN, fence: FENCE, commands, waiting } => {
            (commands.into_iter().map(|command| command.kind).collect(), waiting.is_some())
        }
        other => panic!("no advance: {other:?}"),
    }
}

fn appended(first: u64, count: u32) -> EngineFrame {
    EngineFrame::RunAppended { run: RUN, fence: FENCE, first: Seq(first), count, at: Timestamp(2000) }
}

fn fired(seq: u64) -> EngineFrame {
    let record = Record::Answered { command: CommandNumber(2), outcome: Outcome::Ok(Payload::default()) };
    EngineFrame::RunEntries { run: RUN, fence: FENCE, entries: vec![entry(seq, record)], more: false }
}

#[tokio::test]
async fn a_run_goes_from_its_beginning_to_its_end() {
    let mut engine = Engine::with(workflow).await;
    let (mut stream, hello) = engine.welcomed(Vec::new()).await;
    assert_eq!(hello.workflows.keys().collect::<Vec<_>>(), ["w"]);
    stream.say(run(vec![started(&21)], false)).await;
    let (commands, is_waiting) = advanced(stream.frame().await);
    assert!(matches!(&commands[..], [CommandKind::StepDone { outcome, .. }] if *outcome == Outcome::Ok(json(&42))));
    assert!(!is_waiting, "what comes next is decided here");
    stream.say(appended(1, 1)).await;
    let (commands, is_waiting) = advanced(stream.frame().await);
    assert!(matches!(&commands[..], [CommandKind::TimerSet { fires_at: Timestamp(62_000), .. }]), "{commands:?}");
    assert!(is_waiting);
    stream.say(appended(2, 1)).await;
    stream.say(fired(3)).await;
    let (commands, _) = advanced(stream.frame().await);
    assert_eq!(commands, [CommandKind::Finished(Outcome::Ok(json(&42)))]);
    stream.say(appended(4, 1)).await;
    stream.assert_silent().await;
}

#[tokio::test]
async fn a_run_that_was_evicted_comes_again_with_its_journal_in_parts() {
    let mut engine = Engine::with(workflow).await;
    let (mut stream, _) = engine.welcomed(Vec::new()).await;
    stream.say(run(vec![started(&21)], false)).await;
    let WorkerFrame::RunAdvanced { commands, .. } = stream.frame().await else { panic!("no advance") };
    stream.say(EngineFrame::RunEvicted { run: RUN, fence: FENCE, reason: "room".into() }).await;
    stream.say(appended(1, 1)).await;
    stream.assert_silent().await;
    stream.say(run(vec![started(&21)], true)).await;
    stream.assert_silent().await;
    let entries = commands.into_iter().map(|command| entry(1, Record::Command(command))).collect();
    stream.say(EngineFrame::RunEntries { run: RUN, fence: FENCE, entries, more: false }).await;
    let (commands, is_waiting) = advanced(stream.frame().await);
    assert!(is_waiting && matches!(&commands[..], [CommandKind::TimerSet { .. }]), "{commands:?}");
}

#[tokio::test]
async fn a_run_that_awaits_a_timer_of_its_own_is_blocked() {
    let mut engine = Engine::with(|worker| {
        worker.workflow("w", |_: WorkflowContext, (): ()| async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            Ok(())
        })
    })
    .await;
    let (mut stream, _) = engine.welcomed(Vec::new()).await;
    stream.say(run(vec![started(&())], false)).await;
    loop {
        match stream.frame().await {
            WorkerFrame::RunAdvanced { commands, .. } => assert!(commands.is_empty()),
            WorkerFrame::RunBlocked { cause, message, .. } => {
                assert_eq!(cause, BlockCause::ForeignWake, "{message}");
                break;
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_run_of_a_workflow_that_is_not_there_is_blocked() {
    let mut engine = Engine::with(|worker| worker).await;
    let (mut stream, _) = engine.welcomed(Vec::new()).await;
    stream.say(run(vec![started(&())], false)).await;
    let frame = stream.frame().await;
    assert!(
        matches!(&frame, WorkerFrame::RunBlocked { message, .. } if message == "this worker has no workflow \"w\""),
        "{frame:?}"
    );
}

#[tokio::test]
async fn runs_are_forgotten_with_their_stream() {
    let mut engine = Engine::with(workflow).await;
    let (mut stream, _) = engine.welcomed(Vec::new()).await;
    stream.say(run(vec![started(&21)], false)).await;
    stream.frame().await;
    drop(stream);
    let (mut stream, _) = engine.welcomed(Vec::new()).await;
    stream.say(appended(1, 1)).await;
    stream.assert_silent().await;
    stream.say(run(vec![started(&21)], false)).await;
    assert!(matches!(&advanced(stream.frame().await).0[..], [CommandKind::StepDone { .. }]));
}
