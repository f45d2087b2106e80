//! The committer.

use super::{Ask, Desk};
use crate::metrics::Metrics;
use crate::store::{Store, StoreError};
use orlop_durable_core::{Effects, Input, Load, Message};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc;

/// So many batches of the engine become one transaction at most.
const BATCHES_AT_A_TIME: usize = 16;

/// Writes what comes until nothing can come any more, or until something cannot be written or read.
pub(super) async fn run(
    store: Arc<dyn Store>,
    mut batches: mpsc::Receiver<Effects>,
    desk: Arc<Desk>,
    asks: mpsc::WeakSender<Ask>,
    metrics: Arc<Metrics>,
) -> Result<(), StoreError> {
    let mut taken = Vec::new();
    let (fail, mut failures) = mpsc::channel(1);
    loop {
        tokio::select! {
            biased;
            Some(failure) = failures.recv() => return Err(failure),
            count = batches.recv_many(&mut taken, BATCHES_AT_A_TIME) => if count == 0 {
                return Ok(());
            },
        }
        let mut writes = Vec::new();
        let (mut messages, mut loads) = (Vec::new(), Vec::new());
        for effects in taken.drain(..) {
            writes.extend(effects.writes);
            messages.push(effects.messages);
            loads.extend(effects.loads);
        }
        if !writes.is_empty() {
            let (counted, began) = (metrics.counted(&writes), Instant::now());
            store.commit(writes).await?;
            metrics.committed(began.elapsed());
            counted.count(&metrics);
        }
        for message in messages.into_iter().flatten() {
            metrics.said(&message);
            match message {
                Message::ToWorker(session, frame) => desk.frame(session, frame),
                Message::Close(session, reason) => {
                    tracing::info!(%session, reason, "a worker's stream is closed");
                    desk.disconnect(session);
                }
                Message::Reply(ticket, reply) => desk.answer(ticket, reply),
            }
        }
        for load in loads {
            tokio::spawn(read(store.clone(), load, asks.clone(), fail.clone()));
        }
    }
}

async fn read(store: Arc<dyn Store>, load: Load, asks: mpsc::WeakSender<Ask>, fail: mpsc::Sender<StoreError>) {
    let found = match load {
        Load::Run(run) => store.run(run).await.map(|found| Input::RunLoaded(run, found.map(Box::new))),
        Load::Task(task) => store.task_outcome(task).await.map(|found| Input::TaskLoaded(task, found)),
    };
    match found {
        Ok(input) => {
            if let Some(asks) = asks.upgrade() {
                asks.send(Ask::Input(input)).await.ok();
            }
        }
        Err(error) => {
            tracing::error!(%error, ?load, "the store could not be read");
            fail.send(error).await.ok();
        }
    }
}
