//! Runs that cannot go on with the code that there is, and what is said of them.

use crate::rig::{Rig, json, machine};
use orlop_model::durable::{BlockCause, CommandKind, Outcome, Record};
use orlop_worker::WorkflowContext;
use orlop_worker::replay::{Machine, check};
use orlop_worker::workflow::Definition;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

fn two_tasks() -> Rig {
    let definition = Definition::new("w", |context: WorkflowContext, (): ()| async move {
        context.task::<u32>("charge", &()).await?;
        context.task::<u32>("ship", &()).await
    });
    let mut rig = Rig::start(definition, &());
    rig.answer(1, &1);
    rig
}

#[track_caller]
fn blocked(rig: &Rig, cause: BlockCause, parts: &[&str]) {
    let blocked = rig.blocked.as_ref().expect("a blocked run");
    assert_eq!(blocked.cause, cause, "{}", blocked.message);
    for part in parts {
        assert!(blocked.message.contains(part), "no {part:?} in: {}", blocked.message);
    }
}

#[test]
fn another_command_is_said_with_both_sides_and_both_lines() {
    let journal = two_tasks().journal;
    let other = Definition::new("w", |context: WorkflowContext, (): ()| async move {
        context.task::<u32>("charge", &()).await?;
        context.sleep(Duration::from_secs(1)).await?;
        Ok(())
    });
    let line = line!() - 3;
    let rig = Rig::replay(other, journal.clone());
    let recorded = match &journal[3].record {
        Record::Command(command) => command.source.clone(),
        other => panic!("{other:?}"),
    };
    assert!(recorded.contains("blocked.rs:"), "{recorded}");
    let here = format!("a timer in this code (issued at sdk/rust/tests/replay/blocked.rs:{line}:");
    let there = format!("command 2 is task \"ship\" in the journal (issued at {recorded})");
    blocked(&rig, BlockCause::Mismatch, &[&there, &here, "ctx.patched"]);
    assert_eq!(rig.journal, journal, "nothing is written");
}

#[test]
fn a_command_that_does_not_come_is_said_with_what_came() {
    let journal = two_tasks().journal;
    let waits = Definition::new("w", |context: WorkflowContext, (): ()| async move {
        context.task::<u32>("charge", &()).await?;
        context.signal::<u32>("go").await
    });
    let rig = Rig::replay(waits, journal.clone());
    blocked(
        &rig,
        BlockCause::Mismatch,
        &["command 2 is task \"ship\" in the journal", "this code waits, and issued 1 last (at "],
    );
    let ends =
        Definition::new(
            "w",
            |context: WorkflowContext, (): ()| async move { context.task::<u32>("charge", &()).await },
        );
    blocked(
        &Rig::replay(ends.clone(), journal.clone()),
        BlockCause::Mismatch,
        &["this code ended after 1 (issued at "],
    );
    let nothing = Definition::new("w", |_: WorkflowContext, (): ()| async move { Ok(()) });
    blocked(
        &Rig::replay(nothing, journal.clone()),
        BlockCause::Mismatch,
        &["command 1 is task \"charge\"", "ended without any command"],
    );
    let blocked = check(&ends, crate::rig::RUN, journal).unwrap_err();
    assert_eq!(blocked.cause, BlockCause::Mismatch);
}

#[test]
fn a_command_that_comes_too_early_is_none_of_the_journals() {
    let journal = two_tasks().journal;
    let early = Definition::new("w", |context: WorkflowContext, (): ()| async move {
        let ship = context.task::<u32>("ship", &()).start();
        context.task::<u32>("charge", &()).await?;
        ship.await
    });
    blocked(
        &Rig::replay(early, journal),
        BlockCause::Mismatch,
        &["command 1 is task \"charge\" in the journal", "task \"ship\" in this code"],
    );
}

#[test]
fn a_panic_blocks_and_is_said() {
    let definition = Definition::new("w", |context: WorkflowContext, (): ()| async move {
        let count = context.task::<u32>("count", &()).await?;
        Ok(1 / u32::from(count != 0))
    });
    let mut rig = Rig::start(definition, &());
    rig.answer(1, &0);
    blocked(&rig, BlockCause::Panicked, &["the workflow's own code panicked: attempt to divide by zero"]);
    assert!(rig.ended);
    rig.signal("go", &1);
    assert_eq!(rig.said().len(), 3, "it does nothing more");
}

#[test]
fn what_is_woken_from_outside_is_blocked() {
    let (sender, receiver) = futures::channel::oneshot::channel::<u32>();
    let receiver = Arc::new(std::sync::Mutex::new(Some(receiver)));
    let definition = Definition::new("w", move |_: WorkflowContext, (): ()| {
        let receiver = receiver.lock().expect("a lock").take();
        async move { Ok(receiver.expect("the first run").await?) }
    });
    let mut rig = Rig::start(definition, &());
    assert_eq!(rig.foreign.load(Ordering::SeqCst), 0);
    sender.send(7).expect("a workflow that waits");
    assert_eq!(rig.foreign.load(Ordering::SeqCst), 1);
    let advance = rig.machine.foreign_wake();
    rig.take(advance);
    blocked(&rig, BlockCause::ForeignWake, &["not in its journal", "a timer, a channel", "ctx.step(\"name\""]);
}

#[test]
fn a_channel_within_the_workflow_is_its_own() {
    let definition = Definition::new("w", |context: WorkflowContext, (): ()| async move {
        let (sender, receiver) = futures::channel::oneshot::channel::<u32>();
        let one = async {
            let value = context.task::<u32>("a", &()).await?;
            Ok::<_, orlop_worker::Failure>(sender.send(value).is_ok())
        };
        let (sent, received) = futures::join!(one, receiver);
        assert!(sent?);
        Ok(received?)
    });
    let mut rig = Rig::start(definition, &());
    rig.answer(1, &7);
    assert_eq!(rig.said().last().map(String::as_str), Some("finished 7"));
    assert_eq!(rig.foreign.load(Ordering::SeqCst), 0);
}

#[test]
fn the_context_is_the_workflows_alone() {
    let definition = Definition::new("w", |context: WorkflowContext, (): ()| async move {
        let within = context.clone();
        let misuse = move || {
            let within = within.clone();
            async move {
                within.set_attributes([("a", "b")]);
                Ok(())
            }
        };
        context.step("misuse", misuse).await
    });
    let mut rig = Rig::start(definition, &());
    rig.run_step(1);
    assert_eq!(rig.foreign.load(Ordering::SeqCst), 1);
    blocked(
        &rig,
        BlockCause::ForeignWake,
        &["the workflow's context was used at sdk/rust/tests/replay/blocked.rs:", "step"],
    );
}

#[test]
fn a_workflow_that_wakes_itself_for_ever_is_stuck() {
    let definition = Definition::new("w", |_: WorkflowContext, (): ()| {
        std::future::poll_fn(|context| {
            context.waker().wake_by_ref();
            std::task::Poll::<Result<(), orlop_worker::Failure>>::Pending
        })
    });
    blocked(&Rig::start(definition, &()), BlockCause::Stuck, &["woke itself 10000 times"]);
}

#[test]
fn a_result_that_the_code_cannot_read_waits_for_code_that_can() {
    let mut rig = two_tasks();
    rig.answer(2, "a parcel");
    blocked(
        &rig,
        BlockCause::Unreadable,
        &["command 2 (\"ship\", awaited at sdk/rust/tests/replay/blocked.rs:", "cannot be read as u32"],
    );
}

#[test]
fn a_finished_history_is_checked_to_its_end() {
    let mut rig = two_tasks();
    rig.answer(2, &2);
    assert!(matches!(
        &rig.journal.last().map(|entry| &entry.record),
        Some(Record::Command(command)) if command.kind == CommandKind::Finished(Outcome::Ok(json(&2)))
    ));
    assert_eq!(check(&rig.definition, crate::rig::RUN, rig.journal.clone()), Ok(()));
}

#[test]
fn a_machine_that_is_dropped_issues_nothing() {
    let rig = two_tasks();
    let mut machine: Machine = machine(&rig.definition, &Arc::default());
    machine.replay(rig.journal);
    drop(machine);
}
