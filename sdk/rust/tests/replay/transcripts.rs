//! Whole runs, entry by entry.

use crate::rig::Rig;
use orlop_worker::workflow::{Definition, all, any, race};
use orlop_worker::{Failure, RetryPolicy, WorkflowContext};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, UNIX_EPOCH};

#[test]
fn a_run_of_all_kinds_of_commands() {
    let definition = Definition::new("w", |context: WorkflowContext, input: u32| async move {
        let price = context.step("price", move || async move { Ok(input * 2) }).await?;
        context.set_attributes([("order", input.to_string())]);
        let charge: String = context.task("charge", &price).queue("bank").priority(3).await?;
        context.sleep(Duration::from_secs(60)).named("packing").await?;
        let parcel: String = context.child("ship", &charge).key("7").await?;
        context.send_signal(context.run_id(), "hello", "me")?;
        context.cancel_run(context.run_id());
        let hello: String = context.signal("go").await?;
        Ok(format!("{parcel} {hello}"))
    });
    let mut rig = Rig::start(definition, &21);
    rig.assert_same_at_every_prefix();
    assert!(rig.waiting.is_none(), "a step runs");
    rig.run_step(1);
    assert_eq!(rig.waits_for(), (vec![3], vec![]));
    rig.answer(3, "paid");
    rig.fire(4);
    rig.answer(5, "parcel");
    assert_eq!(rig.waits_for(), (vec![], vec!["go".to_owned()]));
    rig.signal("go", "now");
    assert!(rig.ended);
    let expected = [
        "1 step price (1) 42",
        r#"2 attributes {"order": "21"}"#,
        "3 task charge 42 on bank",
        r#"3: "paid""#,
        r#"4 timer "packing" at 61040"#,
        "4: null",
        r#"5 child ship "paid""#,
        r#"5: "parcel""#,
        r#"6 signal hello "me" to wfr_0000000000000000000000000000abcd"#,
        "7 cancel wfr_0000000000000000000000000000abcd",
        r#"signal go "now""#,
        r#"finished "parcel now""#,
    ];
    assert_eq!(rig.said(), expected);
    rig.assert_same_at_every_prefix();
}

#[test]
fn steps_that_fail_are_tried_again_where_they_stopped() {
    let tries = Arc::new(AtomicU32::new(0));
    let definition = Definition::new("w", move |context: WorkflowContext, (): ()| {
        let tries = tries.clone();
        async move {
            let flaky = move || {
                let tries = tries.fetch_add(1, Ordering::SeqCst) + 1;
                async move { if tries < 3 { Err(Failure::new(format!("no {tries}"))) } else { Ok(tries) } }
            };
            context.step("flaky", flaky).await
        }
    });
    let mut rig = Rig::start(definition, &());
    rig.run_step(1);
    assert_eq!(rig.steps[&1].attempt, 2);
    let moved = rig.moved();
    assert_eq!((moved.steps[&1].attempt, moved.steps[&1].not_before.0), (2, 2010));
    assert!(moved.waiting.is_none(), "a step that is tried again runs in the worker");
    let mut rig = moved;
    rig.run_step(1);
    rig.run_step(1);
    assert_eq!(
        rig.said(),
        [
            "1 step flaky (1) no 1, again at 2010",
            "1 step flaky (2) no 2, again at 3020",
            "1 step flaky (3) 3",
            "finished 3"
        ]
    );
}

#[test]
fn a_step_that_fails_for_good_is_the_workflows_to_handle() {
    let definition = Definition::new("w", |context: WorkflowContext, (): ()| async move {
        let declined = || async { Err::<u32, _>(Failure::new("declined").category("card").is_final()) };
        let once = || async { Err::<u32, _>(Failure::new("late")) };
        let first = context.step("charge", declined).await;
        let second = context.step("ship", once).retry(RetryPolicy::once()).await;
        Ok((first.map_err(|failure| failure.category.clone()), second.map_err(|failure| failure.message.clone())))
    });
    let mut rig = Rig::start(definition, &());
    rig.run_step(1);
    rig.run_step(2);
    assert_eq!(rig.said().last().map(String::as_str), Some(r#"finished [{"Err":"card"},{"Err":"late"}]"#));
}

#[test]
fn losers_of_a_race_are_called_off() {
    let definition = Definition::new("w", |context: WorkflowContext, (): ()| async move {
        let task = context.task::<u32>("slow", &1).start();
        let timer = context.sleep(Duration::from_secs(1));
        let step = context.step("never", || async { Ok(()) });
        let (place, _) = race([timer.start(), step.start()]).await;
        drop(task);
        let rest: Vec<u32> =
            all([context.task("a", &1), context.task("b", &2)]).await.into_iter().collect::<Result<_, _>>()?;
        let first: u32 = any([context.task("c", &1), context.task("d", &2)]).await?;
        Ok((place, rest, first))
    });
    let mut rig = Rig::start(definition, &());
    rig.fire(2);
    assert_eq!(rig.abandoned, [3]);
    rig.answer(6, &20);
    rig.answer(5, &10);
    rig.fail(7, "no");
    rig.answer(8, &5);
    let expected = [
        "1 task slow 1 on default",
        r#"2 timer "" at 2000"#,
        "2: null",
        "4 cancel 1",
        "5 task a 1 on default",
        "6 task b 2 on default",
        "6: 20",
        "5: 10",
        "7 task c 1 on default",
        "8 task d 2 on default",
        "7: failed: no",
        "8: 5",
        "finished [0,[10,20],5]",
    ];
    assert_eq!(rig.said(), expected);
    rig.assert_same_at_every_prefix();
}

#[test]
fn a_race_with_futures_select_is_replayed_as_it_was() {
    let definition = Definition::new("w", |context: WorkflowContext, (): ()| async move {
        let task = context.task::<String>("slow", &()).start();
        let timer = context.sleep(Duration::from_secs(1)).start();
        Ok(match futures::future::select(task, timer).await {
            futures::future::Either::Left((result, _)) => result?,
            futures::future::Either::Right(_) => "too late".to_owned(),
        })
    });
    let mut rig = Rig::start(definition, &());
    rig.fire(2);
    assert_eq!(rig.said()[2..], ["2: null", "3 cancel 1", r#"finished "too late""#]);
    rig.assert_same_at_every_prefix();
}

#[test]
fn time_and_chance_are_the_journals() {
    let definition = Definition::new("w", |context: WorkflowContext, (): ()| async move {
        let since =
            |context: &WorkflowContext| context.now().duration_since(UNIX_EPOCH).map(|since| since.as_millis() as u64);
        let (began, first) = (since(&context)?, context.random());
        context.sleep(Duration::from_millis(5)).await?;
        context.step("a", || async { Ok(()) }).await?;
        Ok((began, since(&context)?, first, context.random()))
    });
    let mut rig = Rig::start(definition, &());
    rig.fire(1);
    let mut moved = rig.moved();
    for rig in [&mut rig, &mut moved] {
        rig.run_step(2);
    }
    assert_eq!(rig.said(), moved.said());
    assert_eq!(rig.said().last().map(|last| last.starts_with("finished [1000,1030,")), Some(true), "{:?}", rig.said());
}

#[test]
fn ids_of_tasks_and_children_are_the_same_on_every_worker() {
    let definition = Definition::new("w", |context: WorkflowContext, (): ()| async move {
        let task = context.task::<()>("a", &()).start();
        let child = context.child::<()>("b", &()).detached().start();
        let ids = (task.id().map(|id| id.to_string()), child.id().map(|id| id.to_string()));
        drop((task, child));
        context.sleep(Duration::from_secs(1)).await?;
        Ok(ids)
    });
    let one = Rig::start(definition.clone(), &());
    let two = Rig::start(definition, &());
    assert_eq!(one.journal, two.journal);
    // A detached child goes on when nobody waits for it.
    assert_eq!(one.said()[2..], ["3 cancel 1", r#"4 timer "" at 2000"#]);
}

#[test]
fn what_json_does_not_have_fails_where_it_is_said() {
    let definition = Definition::new("w", |context: WorkflowContext, (): ()| async move {
        let failure = context.task::<()>("a", &[1.0, f64::NAN]).await.map_err(|failure| failure.message.clone());
        let step = context.step("nan", || async { Ok(f64::INFINITY) }).await;
        assert!(step.is_err_and(|failure| failure.is_final));
        Ok(failure)
    });
    let mut rig = Rig::start(definition, &());
    rig.run_step(1);
    let expected = [
        "1 step nan (1) unreadable: the step's result: the value is inf, which JSON does not have",
        r#"finished {"Err":"the input of task \"a\": [1] is NaN, which JSON does not have"}"#,
    ];
    assert_eq!(rig.said(), expected);
}

#[test]
fn an_input_or_a_result_that_cannot_be_is_the_runs_failure() {
    let text = Definition::new("w", |_: WorkflowContext, input: u32| async move { Ok(input) });
    let rig = Rig::start(text, "seven");
    assert!(
        rig.said()[0].starts_with("finished unreadable: the workflow's input: it cannot be read as u32: "),
        "{:?}",
        rig.said()
    );
    let large = Definition::new("w", |_: WorkflowContext, (): ()| async move { Ok("x".repeat(2000)) });
    let rig = Rig::start(large, &());
    assert_eq!(rig.said(), ["finished unreadable: the value has 2002 bytes as JSON, and the engine takes 1000"]);
}

#[test]
fn wrong_options_fail_and_issue_nothing() {
    let definition = Definition::new("w", |context: WorkflowContext, (): ()| async move {
        let queue = context.task::<()>("a", &()).queue("no queue").await;
        let priority = context.task::<()>("a", &()).priority(101).await;
        Ok([queue, priority].map(|result| result.map_err(|failure| failure.is_final)))
    });
    let rig = Rig::start(definition, &());
    assert_eq!(rig.said(), [r#"finished [{"Err":true},{"Err":true}]"#]);
}
