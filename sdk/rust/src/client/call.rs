//! What runs and tasks have in common for a client.

use super::Client;
use super::engines::Engine;
use crate::failure::{self, Failure};
use crate::payload;
use crate::worker::{Backoff, Error};
use orlop_model::durable::{CallId, Outcome};
use orlop_proto::engine::v1 as pb;
use serde::de::DeserializeOwned;
use std::error::Error as _;
use tonic::{Code, Status};

/// How long one question waits for its answer, before the next asks again.
const PATIENCE_MS: u64 = 60_000;
/// An engine that is gone is asked so often, for about half a minute, before that is said: it may begin again.
const TRIES: u32 = 12;

impl Client {
    /// Waits until the call is over, however long that takes.
    pub(super) async fn result_of<T: DeserializeOwned>(&self, call: CallId) -> Result<Result<T, Failure>, Error> {
        let (mut backoff, mut tries) = (Backoff::default(), 0);
        let ask = |mut engine: Engine, request| async move { engine.r#await(request).await };
        loop {
            let request = pb::AwaitRequest { id: call.to_string(), patience_ms: PATIENCE_MS };
            let answer = match self.engines.ask(request, ask).await {
                Ok(answer) => answer,
                Err(status) if is_away(&status) && tries < TRIES => {
                    tries += 1;
                    tokio::time::sleep(backoff.next()).await;
                    continue;
                }
                Err(status) => return Err(status.into()),
            };
            (backoff, tries) = (Backoff::default(), 0);
            if let Some(outcome) = answer.outcome {
                let what = format!("the result of {call}");
                let result = failure::result(Outcome::try_from(outcome)?);
                return Ok(result.and_then(|value| payload::read(&what, &value)));
            }
        }
    }

    /// Whether it was over already.
    pub(super) async fn cancel(&self, call: CallId, reason: &str) -> Result<bool, Error> {
        let request = pb::CancelRequest { id: call.to_string(), reason: reason.to_owned() };
        let cancel = |mut engine: Engine, request| async move { engine.cancel(request).await };
        Ok(self.engines.ask(request, cancel).await?.over)
    }
}

/// Whether it is the connection that failed, and not the engine that said no.
fn is_away(status: &Status) -> bool {
    status.code() == Code::Unavailable || status.source().is_some()
}
