//! Signals: all of them, in their order, to whoever takes them first.

use crate::rig::Rig;
use orlop_worker::WorkflowContext;
use orlop_worker::workflow::Definition;
use std::time::Duration;

#[test]
fn none_is_lost_and_the_order_stays() {
    let definition = Definition::new("w", |context: WorkflowContext, (): ()| async move {
        context.sleep(Duration::from_secs(1)).await?;
        let other: String = context.signal("other").await?;
        let mut sum = Vec::new();
        for _ in 0..3 {
            sum.push(context.signal::<u32>("add").await?);
        }
        Ok((other, sum))
    });
    let mut rig = Rig::start(definition, &());
    rig.signal("add", &1);
    rig.signal("add", &1);
    rig.fire(1);
    assert_eq!(rig.waits_for(), (vec![], vec!["other".to_owned()]));
    rig.signal("other", "x");
    rig.signal("add", &3);
    assert_eq!(rig.said().last().map(String::as_str), Some(r#"finished ["x",[1,1,3]]"#));
    rig.assert_same_at_every_prefix();
}

#[test]
fn one_that_lost_its_race_takes_nothing() {
    let definition = Definition::new("w", |context: WorkflowContext, (): ()| async move {
        let signal = context.signal::<u32>("go");
        let timer = context.sleep(Duration::from_secs(1)).start();
        futures::future::select(timer, signal).await;
        context.sleep(Duration::from_secs(1)).await?;
        context.signal::<u32>("go").await
    });
    let mut rig = Rig::start(definition, &());
    rig.fire(1);
    assert_eq!(rig.waits_for(), (vec![2], vec![]), "the loser waits no more");
    rig.signal("go", &7);
    rig.fire(2);
    assert_eq!(rig.said().last().map(String::as_str), Some("finished 7"));
    rig.assert_same_at_every_prefix();
}

#[test]
fn one_that_cannot_be_read_is_its_takers_failure() {
    let definition = Definition::new("w", |context: WorkflowContext, (): ()| async move {
        let bad = context.signal::<u32>("go").await;
        assert!(bad.is_err_and(|failure| failure.message.starts_with("signal \"go\": it cannot be read as u32")));
        context.signal::<u32>("go").await
    });
    let mut rig = Rig::start(definition, &());
    rig.signal("go", "seven");
    rig.signal("go", &7);
    assert_eq!(rig.said().last().map(String::as_str), Some("finished 7"));
}

#[test]
fn a_run_that_continues_as_new_passes_on_what_it_did_not_take() {
    let definition = Definition::new("w", |context: WorkflowContext, round: u32| async move {
        context.sleep(Duration::from_secs(1)).await?;
        let taken: u32 = context.signal("add").await?;
        if round == 9 {
            return Ok(taken);
        }
        context.continue_as_new(&(round + taken)).await
    });
    let mut rig = Rig::start(definition, &1);
    rig.signal("add", &1);
    rig.signal("add", &2);
    rig.signal("other", "x");
    rig.fire(1);
    assert!(rig.ended);
    assert_eq!(rig.said().last().map(String::as_str), Some(r#"continued 2 ["add 2", "other \"x\""]"#));
    rig.assert_same_at_every_prefix();
    // One that came after the code decided, and before anybody wrote that down.
    let mut journal = rig.journal.clone();
    journal.truncate(journal.len() - 1);
    let mut late = journal[2].clone();
    late.seq.0 = journal.len() as u64;
    journal.push(late);
    let late = Rig::replay(rig.definition.clone(), journal);
    assert_eq!(late.said().last().map(String::as_str), Some(r#"continued 2 ["add 2", "other \"x\"", "add 1"]"#));
}
