//! What comes while the machine has things under way.

use crate::rig::{machine, started};
use orlop_model::Timestamp;
use orlop_model::durable::{CommandNumber, Entry, Outcome, Payload, Record, Seq, Signal};
use orlop_worker::WorkflowContext;
use orlop_worker::replay::{Machine, StepEnd, StepToRun};
use orlop_worker::workflow::{Definition, race};
use std::sync::Arc;
use std::time::Duration;

fn begun(definition: &Definition) -> (Machine, orlop_worker::replay::Advance) {
    let mut machine = machine(definition, &Arc::default());
    let advance = machine.replay(vec![started(&())]);
    (machine, advance)
}

fn signal(seq: u64) -> Entry {
    let signal = Signal { name: "s".into(), payload: Payload::default(), id: String::new() };
    Entry { seq: Seq(seq), at: Timestamp(5000 + seq), record: Record::SignalReceived(signal) }
}

fn ended(step: &StepToRun) -> StepEnd {
    let result = futures::executor::block_on(step.start());
    StepEnd { number: step.number, attempt: step.attempt, began_at: Timestamp(1), result }
}

fn step_or_signal() -> Definition {
    Definition::new("w", |context: WorkflowContext, (): ()| async move {
        let step = context.step("a", || async { Ok("step".to_owned()) }).start();
        let signal = context.signal::<()>("s");
        Ok(match futures::future::select(step, signal).await {
            futures::future::Either::Left((text, _)) => text?,
            futures::future::Either::Right(_) => "signal".to_owned(),
        })
    })
}

fn finished_with(commands: &[orlop_model::durable::Command]) -> String {
    format!("{:?}", commands.last().map(|command| command.kind.clone()))
}

#[test]
fn a_step_counts_in_its_place_and_not_when_it_ended() {
    for (signal_at, step_at, winner) in [(1, 2, "signal"), (2, 1, "step")] {
        let (mut machine, advance) = begun(&step_or_signal());
        let written = machine.step_ended(ended(&advance.steps[0]), Timestamp(1), 0);
        assert_eq!(written.commands.len(), 1);
        assert!(written.waiting.is_none(), "its own step decides what comes next");
        // The signal comes first in any case, also ahead of the word that the step is written in the place before it.
        let first = machine.entries(vec![signal(signal_at)]);
        let second = machine.appended(Seq(step_at), 1, Timestamp(6000));
        let end = if first.ended { first } else { second };
        assert!(end.ended && finished_with(&end.commands).contains(winner), "{winner}: {end:?}");
    }
}

#[test]
fn what_the_engine_writes_between_the_commands_of_one_advance_has_its_place() {
    let definition = Definition::new("w", |context: WorkflowContext, (): ()| async move {
        let timer = context.sleep(Duration::from_secs(1)).start();
        context.signal::<()>("s").await?;
        drop(timer);
        context.sleep(Duration::from_secs(2)).await?;
        context.step("a", || async { Ok(()) }).await
    });
    let (mut machine, advance) = begun(&definition);
    assert_eq!(advance.waiting.as_ref().map(|waiting| waiting.seen), Some(Seq(1)));
    machine.appended(Seq(1), 1, Timestamp(2000));
    let advance = machine.entries(vec![signal(2)]);
    assert_eq!(advance.commands.len(), 2);
    assert_eq!(advance.waiting.as_ref().map(|waiting| waiting.seen), Some(Seq(3)));
    // The cancelled timer is answered at once: in the place after the command that cancels it.
    let record = Record::Answered { command: CommandNumber(1), outcome: Outcome::Ok(Payload::default()) };
    let advance = machine.entries(vec![Entry { seq: Seq(4), at: Timestamp(2000), record }]);
    assert!(advance.waiting.is_none() && !machine.is_waiting(), "the place before it is not known yet");
    let advance = machine.appended(Seq(3), 2, Timestamp(2000));
    assert_eq!(advance.waiting.as_ref().map(|waiting| waiting.seen), Some(Seq(6)));
    let record = Record::Answered { command: CommandNumber(3), outcome: Outcome::Ok(Payload::default()) };
    let advance = machine.entries(vec![Entry { seq: Seq(6), at: Timestamp(2000), record }]);
    assert_eq!(advance.steps.len(), 1);
}

#[test]
fn waiting_is_said_once_and_again_when_something_came() {
    let definition =
        Definition::new(
            "w",
            |context: WorkflowContext, (): ()| async move { context.sleep(Duration::from_secs(1)).await },
        );
    let (mut machine, advance) = begun(&definition);
    let waiting = advance.waiting.expect("a workflow that waits");
    assert_eq!((waiting.seen, waiting.commands.as_slice()), (Seq(1), [CommandNumber(1)].as_slice()));
    let advance = machine.appended(Seq(1), 1, Timestamp(2000));
    assert!(!advance.is_for_engine(), "that the timer is written is no news");
    let advance = machine.entries(vec![signal(2)]);
    assert_eq!(advance.waiting.map(|waiting| waiting.seen), Some(Seq(3)));
    assert!(machine.is_waiting());
}

#[test]
fn a_step_that_nobody_waits_for_ends_in_silence() {
    let definition = Definition::new("w", |context: WorkflowContext, (): ()| async move {
        let timer = context.sleep(Duration::from_secs(1)).start();
        race([context.step("a", || async { Ok(()) }).start(), timer]).await.1?;
        context.signal::<()>("s").await
    });
    let (mut machine, advance) = begun(&definition);
    machine.appended(Seq(1), 1, Timestamp(2000));
    let record = Record::Answered { command: CommandNumber(1), outcome: Outcome::Ok(Payload::default()) };
    let late = machine.entries(vec![Entry { seq: Seq(2), at: Timestamp(2000), record }]);
    assert_eq!(late.abandoned, [CommandNumber(2)]);
    assert!(late.waiting.is_some(), "it runs no more");
    let end = machine.step_ended(ended(&advance.steps[0]), Timestamp(1), 0);
    assert!(!end.is_for_engine(), "{end:?}");
}
