//! Code that changes while runs are open.

use crate::rig::Rig;
use orlop_worker::WorkflowContext;
use orlop_worker::workflow::Definition;

fn old() -> Definition {
    Definition::new("w", |context: WorkflowContext, (): ()| async move {
        context.task::<u32>("old", &()).await?;
        context.task::<u32>("last", &()).await
    })
}

fn new() -> Definition {
    Definition::new("w", |context: WorkflowContext, (): ()| async move {
        let name = if context.patched("better") { "new" } else { "old" };
        context.task::<u32>(name, &()).await?;
        // The first answer stays.
        let suffix = if context.patched("better") { "!" } else { "" };
        context.task::<u32>(format!("last{suffix}"), &()).await
    })
}

#[test]
fn a_new_run_behaves_in_the_new_way_and_goes_on_so() {
    let mut rig = Rig::start(new(), &());
    assert_eq!(rig.said(), ["patch better", "1 task new null on default"]);
    assert_eq!(rig.moved().said(), rig.said());
    rig.answer(1, &1);
    let mut rig = rig.moved();
    rig.answer(2, &2);
    assert_eq!(rig.said()[2..], ["1: 1", "2 task last! null on default", "2: 2", "finished 2"]);
}

#[test]
fn a_run_that_passed_with_the_old_code_stays_with_it() {
    let rig = Rig::start(old(), &());
    let mut rig = Rig::replay(new(), rig.journal);
    assert_eq!(rig.blocked, None);
    rig.answer(1, &1);
    rig.answer(2, &2);
    let expected = ["1 task old null on default", "1: 1", "2 task last null on default", "2: 2", "finished 2"];
    assert_eq!(rig.said(), expected);
    assert_eq!(Rig::replay(old(), rig.journal).blocked, None);
}

#[test]
fn a_run_that_has_not_come_so_far_takes_the_new_way() {
    let late = Definition::new("w", |context: WorkflowContext, (): ()| async move {
        context.task::<u32>("old", &()).await?;
        let name = if context.patched("better") { "better" } else { "last" };
        context.task::<u32>(name, &()).await
    });
    let rig = Rig::start(old(), &());
    let mut rig = Rig::replay(late, rig.journal);
    rig.answer(1, &1);
    assert_eq!(rig.said()[2..], ["patch better", "2 task better null on default"]);
    assert_eq!(rig.moved().blocked, None);
}
