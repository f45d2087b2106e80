//! Sessions: streams between an operator and this node, opened by the node when the control plane asks for one.

mod exec;
mod images;
mod logs;

use crate::board::Board;
use crate::node::Layout;
use orlop_model::Reason;
use orlop_proto::node::v1 as pb;
use orlop_proto::node::v1::node_service_client::NodeServiceClient;
use orlop_proto::node::v1::session_frame::Frame;
use orlop_proto::node::v1::session_start::Kind;
use orlop_runtime::{ContainerRuntime, RuntimeError};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

/// So many frames wait in a session before whoever makes them has to.
const FRAMES_WAITING_MAX: usize = 64;

/// What sessions work with.
pub(crate) struct Sessions {
    runtime: Arc<dyn ContainerRuntime>,
    layout: Layout,
    board: Board,
}

/// The other side is gone: there is nobody to tell anything.
struct HungUp;

/// The way to the other side.
struct Outgoing(mpsc::Sender<pb::SessionFrame>);

impl Outgoing {
    async fn send(&self, frame: Frame) -> Result<(), HungUp> {
        self.0.send(pb::SessionFrame { frame: Some(frame) }).await.map_err(|_| HungUp)
    }

    /// Ends the session with what went wrong.
    async fn fail(&self, reason: Reason) -> Result<(), HungUp> {
        self.send(Frame::Failure((&reason).into())).await
    }

    async fn fail_with(&self, error: &RuntimeError) -> Result<(), HungUp> {
        self.fail(Reason::new(error.code(), error.to_string())).await
    }

    async fn hung_up(&self) {
        self.0.closed().await;
    }
}

/// The way from the other side.
struct Incoming(mpsc::Receiver<Frame>);

impl Incoming {
    /// The next frame; `None` when the other side is gone.
    async fn next(&mut self) -> Option<Frame> {
        self.0.recv().await
    }
}

/// Hands over what comes from the other side until there is no more; then waits for ever.
async fn hand_over(stream: &mut Streaming<pb::SessionFrame>, to: mpsc::Sender<Frame>) {
    while let Ok(Some(message)) = stream.message().await {
        if let Some(frame) = message.frame
            && to.send(frame).await.is_err()
        {
            break;
        }
    }
    drop(to);
    std::future::pending().await
}

impl Sessions {
    pub(crate) fn new(runtime: Arc<dyn ContainerRuntime>, layout: Layout, board: Board) -> Self {
        Self { runtime, layout, board }
    }

    /// Opens the session that was asked for and serves it to its end.
    pub(crate) async fn attend(&self, invitation: pb::SessionInvitation, mut client: NodeServiceClient<Channel>) {
        let (send, receive) = mpsc::channel(FRAMES_WAITING_MAX);
        let outgoing = Outgoing(send);
        let session = invitation.session;
        if outgoing.send(Frame::Session(session.clone())).await.is_err() {
            return;
        }
        let mut stream = match client.open_session(ReceiverStream::new(receive)).await {
            Ok(response) => response.into_inner(),
            Err(status) => {
                tracing::warn!(session, reason = status.message(), "the session was not opened");
                return;
            }
        };
        tracing::debug!(session, "session opened");
        let (hand, incoming) = mpsc::channel(FRAMES_WAITING_MAX);
        let incoming = Incoming(incoming);
        let serve = async {
            match invitation.start.and_then(|start| start.kind) {
                Some(Kind::Logs(start)) => self.logs(start, incoming, &outgoing).await,
                Some(Kind::Exec(start)) => self.exec(start, incoming, &outgoing).await,
                Some(Kind::ImageImport(start)) => self.import(start, incoming, &outgoing).await,
                Some(Kind::ImageList(_)) => self.list_images(&outgoing).await,
                Some(Kind::ImageRemove(start)) => self.remove_images(start, &outgoing).await,
                None => {
                    let message = "this agent does not know that kind of session";
                    outgoing.fail(Reason::new("unsupported", message)).await
                }
            }
        };
        let ended = tokio::select! {
            ended = serve => ended,
            () = hand_over(&mut stream, hand) => Err(HungUp),
        };
        tracing::debug!(session, hung_up = ended.is_err(), "session ended");
        // To let go of the stream would take back what was said last and is not sent yet: the other side ends it, when
        // its reader has had all of it or is gone. A reader may take its time: somebody turns the pages.
        drop(outgoing);
        while let Ok(Some(_)) = stream.message().await {}
    }
}

fn invalid(what: impl Into<String>) -> Reason {
    Reason::new("invalid", what)
}
