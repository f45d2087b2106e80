//! What the worker runs.

use orlop_worker::{Failure, TaskContext, Worker, WorkflowContext};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio_util::sync::CancellationToken;

async fn nothing(_: TaskContext, _: ()) -> Result<(), Failure> {
    Ok(())
}

/// When it was called, in microseconds since 1970.
async fn when(_: TaskContext, _: ()) -> Result<u64, Failure> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros()).unwrap_or(u64::MAX))
}

async fn empty(_: WorkflowContext, _: ()) -> Result<(), Failure> {
    Ok(())
}

async fn steps(context: WorkflowContext, count: u32) -> Result<u32, Failure> {
    let mut sum = 0;
    for number in 0..count {
        sum += context.step("step", move || async move { Ok(number) }).await?;
    }
    Ok(sum)
}

/// Works until it is killed.
pub(crate) async fn run(address: &str) {
    let worker = Worker::builder(address)
        .concurrency(1000)
        .cached_runs(1000)
        .task("nothing", nothing)
        .task("when", when)
        .workflow("empty", empty)
        .workflow("steps", steps)
        .build()
        .expect("a worker");
    worker.run(CancellationToken::new()).await;
}
