//! A worker that is asked to stop.

use crate::engine::{Engine, FENCE, RUN, run, started, task};
use orlop_model::durable::WorkerFrame;
use orlop_worker::{Failure, TaskContext, WorkflowContext};
use std::time::Duration;

#[tokio::test]
async fn it_waits_for_its_tasks_and_gives_back_the_rest() {
    let mut engine = Engine::with(|worker| {
        let worker = worker.grace(Duration::from_millis(300));
        let worker = worker.task("soon", |_: TaskContext, (): ()| async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Ok(())
        });
        let worker = worker.task("never", |_: TaskContext, (): ()| std::future::pending::<Result<(), Failure>>());
        worker.workflow("w", |context: WorkflowContext, (): ()| async move { context.signal::<()>("go").await })
    })
    .await;
    let (mut stream, _) = engine.welcomed(Vec::new()).await;
    stream.say(run(vec![started(&())], false)).await;
    assert!(matches!(stream.frame().await, WorkerFrame::RunAdvanced { waiting: Some(_), .. }));
    stream.say(task(1, "soon", &())).await;
    stream.say(task(2, "never", &())).await;
    stream.assert_silent().await;
    engine.stop.cancel();
    assert_eq!(stream.frame().await, WorkerFrame::Leaving);
    assert_eq!(stream.frame().await, WorkerFrame::RunReleased { run: RUN, fence: FENCE });
    assert!(matches!(stream.frame().await, WorkerFrame::TaskFinished { .. }));
    assert!(matches!(stream.frame().await, WorkerFrame::TaskReturned { .. }));
    stream.end().await;
    drop(stream);
    engine.worker.await.expect("a worker that ended");
}

#[tokio::test]
async fn without_work_it_leaves_at_once() {
    let mut engine = Engine::with(|worker| worker).await;
    let (mut stream, _) = engine.welcomed(Vec::new()).await;
    engine.stop.cancel();
    assert_eq!(stream.frame().await, WorkerFrame::Leaving);
    stream.end().await;
    drop(stream);
    engine.worker.await.expect("a worker that ended");
}
