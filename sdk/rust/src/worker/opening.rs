//! How a stream begins: Hello, and Welcome.

use super::Error;
use orlop_model::TaskId;
use orlop_model::durable::{EngineFrame, Fence, Hello};
use orlop_model::{Millis, WorkerSessionId};
use orlop_proto::engine::v1 as pb;
use orlop_proto::engine::v1::worker_service_client::WorkerServiceClient;
use std::collections::VecDeque;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Endpoint;

/// A message that carries many frames is larger than what tonic takes by itself.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// A stream on which the worker is welcome.
pub(super) struct Opening {
    pub(super) requests: mpsc::Sender<pb::WorkRequest>,
    pub(super) responses: Streaming<pb::WorkResponse>,
    pub(super) session: WorkerSessionId,
    pub(super) lost_after: Millis,
    pub(super) kept_tasks: Vec<(TaskId, Fence)>,
    pub(super) payload_bytes_max: u64,
    /// What came in the same message as the welcome.
    pub(super) frames: VecDeque<pb::EngineFrame>,
}

impl Opening {
    pub(super) async fn of(endpoint: &Endpoint, hello: Hello) -> Result<Self, Error> {
        let channel = endpoint.connect().await.map_err(Error::Unreachable)?;
        let mut client = WorkerServiceClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let (requests, sent) = mpsc::channel(2);
        // There is room: nothing was sent yet.
        let _ = requests.send(pb::WorkRequest { frames: vec![hello.into()] }).await;
        let mut responses = client.work(ReceiverStream::new(sent)).await?.into_inner();
        let mut frames = VecDeque::new();
        loop {
            match frames.pop_front().map(EngineFrame::try_from).transpose()? {
                Some(EngineFrame::Welcome { session, lost_after, kept_tasks, payload_bytes_max, .. }) => {
                    let lost_after = lost_after.max(Millis::from_secs(1));
                    return Ok(Self {
                        requests,
                        responses,
                        session,
                        lost_after,
                        kept_tasks,
                        payload_bytes_max,
                        frames,
                    });
                }
                // An engine that is busy may ask before it welcomes; what comes after the welcome answers that as well.
                Some(EngineFrame::Ping | EngineFrame::Leaving) => {}
                Some(_) => return Err(Error::Unreadable("work came before the welcome".into())),
                None => {
                    let message = responses.message().await?;
                    frames.extend(message.ok_or(Error::Lost("the engine closed it before its welcome"))?.frames);
                }
            }
        }
    }
}
