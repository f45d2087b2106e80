//! A worker's stream.

use super::{Shared, gone};
use crate::drive::{Frames, Life};
use futures::{Stream, StreamExt};
use orlop_durable_core::Input;
use orlop_model::WorkerSessionId;
use orlop_model::durable::{EngineFrame, Hello, WorkerFrame};
use orlop_proto::engine::v1 as pb;
use orlop_proto::engine::v1::worker_service_server::WorkerService;
use std::pin::Pin;
use std::sync::Arc;
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

/// So many frames go in one message at most.
const FRAMES_AT_A_TIME: usize = 256;
/// And so many bytes, about.
const BYTES_AT_A_TIME: usize = 1 << 20;

pub(crate) struct Workers(pub(super) Shared);

type Answers = Pin<Box<dyn Stream<Item = Result<pb::WorkResponse, Status>> + Send>>;

#[tonic::async_trait]
impl WorkerService for Workers {
    type WorkStream = Answers;

    async fn work(&self, request: Request<Streaming<pb::WorkRequest>>) -> Result<Response<Answers>, Status> {
        let mut said = request.into_inner();
        let first = tokio::time::timeout(self.0.lost_after, said.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no hello came"))??;
        let mut frames = first.map(|first| first.frames).unwrap_or_default().into_iter();
        let hello = frames.next().ok_or_else(|| Status::invalid_argument("the first frame must be a hello"))?;
        let hello = Hello::try_from(hello)?;
        let life = self.0.life().await?;
        let session = WorkerSessionId::from_u128(Uuid::now_v7().as_u128());
        tracing::info!(%session, worker = hello.name, host = hello.host, build = hello.build, "a worker is there");
        let says = life.connect(session, hello).await?;
        let (end, ended) = tokio::sync::oneshot::channel();
        let listening = Listener { life: life.clone(), session, shared: self.0.clone() };
        tokio::spawn(async move {
            let outcome = listening.listen(frames.collect(), said).await;
            end.send(outcome).ok();
        });
        Ok(Response::new(answers(says, ended, self.0.clone()).boxed()))
    }
}

/// Takes what a worker says.
struct Listener {
    life: Arc<Life>,
    session: WorkerSessionId,
    shared: Shared,
}

impl Drop for Listener {
    fn drop(&mut self) {
        // However it ends, what the worker held goes to others.
        let (life, session) = (self.life.clone(), self.session);
        life.forget(session);
        tokio::spawn(async move { life.input(Input::Disconnected(session)).await.ok() });
    }
}

impl Listener {
    /// Until the worker is gone, or says what cannot be understood; then with the reason.
    async fn listen(self, first: Vec<pb::WorkerFrame>, mut said: Streaming<pb::WorkRequest>) -> Status {
        let mut frames = first;
        loop {
            for frame in frames.drain(..) {
                match WorkerFrame::try_from(frame) {
                    Ok(frame) => {
                        if self.life.input(Input::Frame(self.session, frame)).await.is_err() {
                            return gone();
                        }
                    }
                    Err(error) => {
                        tracing::warn!(session = %self.session, %error, "a worker cannot be understood");
                        return error.into();
                    }
                }
            }
            let next = tokio::select! {
                next = tokio::time::timeout(self.shared.lost_after, said.message()) => next,
                () = self.life.over() => return gone(),
            };
            match next {
                Ok(Ok(Some(request))) => frames = request.frames,
                Ok(Ok(None)) => return Status::ok("the worker left"),
                Ok(Err(error)) => {
                    tracing::info!(session = %self.session, error = %error.message(), "a worker is gone");
                    return error;
                }
                Err(_) => {
                    tracing::warn!(session = %self.session, silent = ?self.shared.lost_after, "a worker is lost");
                    return Status::deadline_exceeded("nothing came for too long");
                }
            }
        }
    }
}

/// What the engine says, as many frames in a message as wait.
fn answers(
    mut says: Frames,
    mut ended: tokio::sync::oneshot::Receiver<Status>,
    shared: Shared,
) -> impl Stream<Item = Result<pb::WorkResponse, Status>> + Send {
    // The first frame is the welcome.
    let mut ping = tokio::time::interval_at(tokio::time::Instant::now() + shared.ping, shared.ping);
    ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (sender, receiver) = tokio::sync::mpsc::channel(4);
    tokio::spawn(async move {
        let mut waiting = Vec::new();
        let mut leaving = false;
        loop {
            tokio::select! {
                biased;
                count = says.recv_many(&mut waiting, FRAMES_AT_A_TIME) => if count == 0 {
                    sender.send(Err(gone())).await.ok();
                    return;
                },
                status = &mut ended => {
                    sender.send(Err(status.unwrap_or_else(|_| gone()))).await.ok();
                    return;
                }
                () = shared.stop.cancelled(), if !leaving => {
                    leaving = true;
                    waiting.push(EngineFrame::Leaving);
                }
                _ = ping.tick() => waiting.push(EngineFrame::Ping),
            }
            let mut message = pb::WorkResponse::default();
            let mut bytes = 0;
            for frame in waiting.drain(..) {
                bytes += size_of_frame(&frame);
                message.frames.push(frame.into());
                if bytes > BYTES_AT_A_TIME {
                    bytes = 0;
                    if sender.send(Ok(std::mem::take(&mut message))).await.is_err() {
                        return;
                    }
                }
            }
            if !message.frames.is_empty() && sender.send(Ok(message)).await.is_err() {
                return;
            }
        }
    });
    tokio_stream::wrappers::ReceiverStream::new(receiver)
}

fn size_of_frame(frame: &EngineFrame) -> usize {
    match frame {
        EngineFrame::TaskAssigned(task) => task.input.data.len(),
        EngineFrame::RunAssigned { entries, .. } => 256 * entries.len(),
        _ => 64,
    }
}
