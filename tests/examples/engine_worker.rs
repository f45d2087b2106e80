//! A worker for the engine's end-to-end tests: what it does it also writes into a file, a line at a time, so that a test
//! sees what ran, and how often, whoever was killed.

use clap::Parser;
use orlop_model::Millis;
use orlop_worker::{Failure, RetryPolicy, TaskContext, Worker, WorkflowContext};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Runs the tests' tasks and workflows until it is stopped or killed.
#[derive(Parser)]
struct Arguments {
    /// Where the engine is.
    address: String,
    /// What happened is added to this file.
    ledger: PathBuf,
    /// How the code of `test.changed` names its step.
    #[arg(long, default_value = "first")]
    variant: String,
}

/// Writes what happens, each line whole.
#[derive(Clone)]
struct Ledger(Arc<Mutex<std::fs::File>>);

impl Ledger {
    fn note(&self, line: &str) {
        let mut file = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        file.write_all(format!("{line}\n").as_bytes()).expect("the ledger takes lines");
    }
}

#[derive(Clone, Serialize, Deserialize)]
struct Walk {
    steps: u32,
    pause_ms: u64,
}

async fn pause(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// Steps one after the other, a task, and a short sleep at the end.
async fn walk(context: WorkflowContext, ledger: Ledger, walk: Walk) -> Result<u32, Failure> {
    let run = context.run_id();
    let mut sum = 0;
    for number in 0..walk.steps {
        let ledger = ledger.clone();
        let pause_ms = walk.pause_ms;
        sum += context
            .step(format!("step {number}"), move || {
                let ledger = ledger.clone();
                async move {
                    ledger.note(&format!("{run} begins {number}"));
                    pause(pause_ms).await;
                    ledger.note(&format!("{run} ends {number}"));
                    Ok(number)
                }
            })
            .await?;
    }
    context.sleep(Duration::from_millis(20)).await?;
    let doubled: u32 = context.task("test.double", &sum).await?;
    Ok(doubled)
}

async fn double(context: TaskContext, ledger: Ledger, number: u32) -> Result<u32, Failure> {
    ledger.note(&format!("{} doubles {number}", context.id()));
    Ok(number * 2)
}

/// Takes three words, in the order in which they came.
async fn collect(context: WorkflowContext, _: ()) -> Result<Vec<String>, Failure> {
    let mut words = Vec::new();
    while words.len() < 3 {
        words.push(context.signal::<String>("word").await?);
    }
    Ok(words)
}

/// A child that runs a task that does not end by itself.
async fn tree(context: WorkflowContext, depth: u32) -> Result<(), Failure> {
    if depth == 0 {
        return context.task("test.endless", &()).await;
    }
    context.child("test.tree", &(depth - 1)).await
}

async fn endless(context: TaskContext, ledger: Ledger, _: ()) -> Result<(), Failure> {
    ledger.note("endless begins");
    context.cancelled().await;
    ledger.note("endless was cancelled");
    Err(Failure::new("it was told to end"))
}

/// Fails so often as it is told, then succeeds.
async fn stumble(context: TaskContext, times: u32) -> Result<u32, Failure> {
    if context.attempt() <= times {
        return Err(Failure::new(format!("stumbled over attempt {}", context.attempt())));
    }
    Ok(context.attempt())
}

async fn changed(context: WorkflowContext, variant: String, _: ()) -> Result<String, Failure> {
    let name = variant.clone();
    context.step(format!("the {variant} way"), || async { Ok(()) }).await?;
    context.signal::<()>("go").await?;
    Ok(name)
}

/// Pays, then fails, and pays back although it was asked to end meanwhile.
async fn refund(context: WorkflowContext, ledger: Ledger, _: ()) -> Result<(), Failure> {
    let mut saga = context.saga();
    context.step("pay", || async { Ok(()) }).await?;
    let paid = ledger.clone();
    saga.compensate("pay", move || {
        let ledger = paid.clone();
        async move {
            ledger.note("paid back");
            Ok(())
        }
    });
    let waited = context.signal::<()>("never").await;
    saga.settle(waited).await
}

async fn many(context: WorkflowContext, count: u32) -> Result<u32, Failure> {
    let policy = RetryPolicy { backoff: Millis(10), ..RetryPolicy::default() };
    let calls =
        (0..count).map(|number| context.task::<u32>("test.double", &number).retry(policy.clone()).into_future());
    let doubled: Vec<u32> = futures::future::try_join_all(calls.collect::<Vec<_>>()).await?;
    Ok(doubled.into_iter().sum())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let file = std::fs::File::options().create(true).append(true).open(&arguments.ledger)?;
    let ledger = Ledger(Arc::new(Mutex::new(file)));
    let with = || ledger.clone();
    let variant = arguments.variant;
    let (of_walk, of_double, of_endless, of_refund) = (with(), with(), with(), with());
    let worker = Worker::builder(arguments.address)
        .task("test.double", move |context, number| double(context, of_double.clone(), number))
        .task("test.endless", move |context, nothing| endless(context, of_endless.clone(), nothing))
        .task("test.stumble", stumble)
        .workflow("test.walk", move |context, input| walk(context, of_walk.clone(), input))
        .workflow("test.collect", collect)
        .workflow("test.tree", tree)
        .workflow("test.changed", move |context, nothing| changed(context, variant.clone(), nothing))
        .workflow("test.refund", move |context, nothing| refund(context, of_refund.clone(), nothing))
        .workflow("test.many", many)
        .build()?;
    ledger.note("a worker is there");
    worker.run(CancellationToken::new()).await;
    Ok(())
}
