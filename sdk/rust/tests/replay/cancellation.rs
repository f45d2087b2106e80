//! A run that is asked to end.

use crate::rig::Rig;
use orlop_worker::workflow::Definition;
use orlop_worker::{Failure, WorkflowContext};
use std::time::Duration;

#[test]
fn everything_open_ends_and_is_called_off() {
    let definition = Definition::new("w", |context: WorkflowContext, (): ()| async move {
        let task = context.task::<()>("a", &()).start();
        let child = context.child::<()>("b", &()).start();
        let detached = context.child::<()>("c", &()).detached().start();
        let step = context.step("d", || async { Ok(()) }).start();
        let timer = context.sleep(Duration::from_secs(1)).start();
        let signal = context.signal::<()>("e");
        let ends = futures::join!(task, child, detached, step, timer, signal);
        let all = [ends.0, ends.1, ends.2, ends.3, ends.4, ends.5];
        assert!(context.is_cancelled());
        let later = context.task::<()>("later", &()).await;
        assert!(later.is_err_and(|failure| failure.is_cancelled()));
        let reasons = all.map(|end| end.map_err(|failure| failure.message.clone()));
        assert_eq!(reasons, std::array::from_fn::<Result<(), String>, 6, _>(|_| Err("enough".to_owned())));
        Err::<(), _>(Failure::cancelled(context.cancelled().await))
    });
    let mut rig = Rig::start(definition, &());
    rig.cancel("enough");
    assert_eq!(rig.abandoned, [4]);
    let expected = [
        "1 task a null on default",
        "2 child b null",
        "3 child c null",
        r#"5 timer "" at 2000"#,
        "cancel requested: enough",
        "6 cancel 1",
        "7 cancel 2",
        "8 cancel 5",
        "finished cancelled: enough",
    ];
    assert_eq!(rig.said(), expected);
    rig.assert_same_at_every_prefix();
}

#[test]
fn a_shield_keeps_it_out() {
    let definition = Definition::new("w", |context: WorkflowContext, (): ()| async move {
        let within = context.clone();
        let shielded = context.shielded(async move {
            within.task::<u32>("a", &()).await?;
            within.sleep(Duration::from_secs(1)).await?;
            within.signal::<u32>("go").await
        });
        let (shielded, outside) = futures::join!(shielded, context.sleep(Duration::from_secs(9)).into_future());
        assert!(outside.is_err());
        shielded
    });
    let mut rig = Rig::start(definition, &());
    rig.cancel("enough");
    rig.answer(2, &1);
    rig.fire(4);
    assert_eq!(rig.waits_for(), (vec![], vec!["go".to_owned()]));
    rig.signal("go", &7);
    let expected = [
        r#"1 timer "" at 10000"#,
        "2 task a null on default",
        "cancel requested: enough",
        "3 cancel 1",
        "2: 1",
        r#"4 timer "" at 2050"#,
        "4: null",
        "signal go 7",
        "finished 7",
    ];
    assert_eq!(rig.said(), expected);
    rig.assert_same_at_every_prefix();
}

fn saga() -> Definition {
    Definition::new("w", |context: WorkflowContext, (): ()| async move {
        let mut saga = context.saga();
        saga.compensate("room", || async { Ok(()) });
        saga.compensate("flight", || async { Err(Failure::new("too late").is_final()) });
        saga.compensate("car", || async { Ok(()) });
        let booked = context.task::<u32>("pay", &()).await;
        saga.settle(booked).await
    })
}

#[test]
fn a_saga_is_undone_backwards_and_once() {
    let mut rig = Rig::start(saga(), &());
    rig.fail(1, "no money");
    rig.run_step(2);
    let mut rig = rig.moved();
    assert_eq!(rig.steps.keys().copied().collect::<Vec<_>>(), [3], "the car is undone already");
    rig.run_step(3);
    rig.run_step(4);
    let expected = [
        "1 task pay null on default",
        "1: failed: no money",
        "2 step compensate car (1) null",
        "3 step compensate flight (1) failed: too late",
        "4 step compensate room (1) null",
        "finished failed: no money; not undone: flight: too late",
    ];
    assert_eq!(rig.said(), expected);
}

#[test]
fn a_cancelled_saga_is_undone_as_well() {
    let mut rig = Rig::start(saga(), &());
    rig.cancel("enough");
    for step in [3, 4, 5] {
        rig.run_step(step);
    }
    assert_eq!(rig.said()[1..3], ["cancel requested: enough", "2 cancel 1"]);
    assert_eq!(rig.said().last().map(String::as_str), Some("finished cancelled: enough; not undone: flight: too late"));
    rig.assert_same_at_every_prefix();
}

#[test]
fn a_saga_that_went_well_is_forgotten() {
    let mut rig = Rig::start(saga(), &());
    rig.answer(1, &1);
    assert_eq!(rig.said(), ["1 task pay null on default", "1: 1", "finished 1"]);
}

#[test]
fn a_step_that_ended_before_the_wish_counts_and_one_after_does_not() {
    let definition = Definition::new("w", |context: WorkflowContext, (): ()| async move {
        let end = context.step("a", || async { Ok(1) }).await;
        Ok(end.map_err(|failure| failure.message.clone()))
    });
    let mut before = Rig::start(definition.clone(), &());
    before.run_step(1);
    assert_eq!(before.said(), ["1 step a (1) 1", r#"finished {"Ok":1}"#]);
    let mut after = Rig::start(definition, &());
    after.cancel("enough");
    assert_eq!(after.said(), ["cancel requested: enough", r#"finished {"Err":"enough"}"#]);
    assert_eq!(after.abandoned, [1]);
}
