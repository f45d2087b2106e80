//! Sessions between operators and nodes. Nobody dials a node: the agent is invited, and opens a stream that names the
//! session; from then on frames pass both ways, with no more of them under way than a few.
//!
//! A session ends when either side lets go of it.

use crate::control::{Call, Control, new_session_id};
use orlop_model::{NodeId, SessionId};
use orlop_proto::node::v1 as pb;
use parking_lot::Mutex;
use pb::session_frame::Frame;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// Frames under way to a node.
const FRAMES_MAX: usize = 8;

/// The sessions that agents were invited to and have not opened yet.
pub(crate) struct Sessions {
    invited: Mutex<BTreeMap<SessionId, (NodeId, oneshot::Sender<NodeSide>)>>,
    open: Arc<Semaphore>,
}

type ToNode = mpsc::Sender<Result<pb::SessionFrame, Status>>;

struct NodeSide {
    to_node: ToNode,
    from_node: Streaming<pb::SessionFrame>,
}

/// The operator's side of a session.
pub(crate) struct Session {
    /// The node at the other side.
    pub(crate) node: NodeId,
    /// What goes to it; dropped with the session.
    pub(crate) to_node: ToNode,
    /// What comes from it.
    pub(crate) from_node: FromNode,
    _open: OwnedSemaphorePermit,
}

/// What comes from a node in a session.
pub(crate) struct FromNode {
    node: NodeId,
    frames: Streaming<pb::SessionFrame>,
}

impl FromNode {
    /// The next frame; `None` after the last. A failure that the node tells of is an error.
    pub(crate) async fn next(&mut self) -> Result<Option<Frame>, Status> {
        loop {
            match self.frames.message().await {
                Ok(Some(pb::SessionFrame { frame: Some(Frame::Failure(reason)) })) => {
                    return Err(of_failure(reason));
                }
                Ok(Some(pb::SessionFrame { frame: Some(frame) })) => return Ok(Some(frame)),
                // A frame of a newer agent.
                Ok(Some(pb::SessionFrame { frame: None })) => {}
                Ok(None) => return Ok(None),
                Err(_) => return Err(self.lost()),
            }
        }
    }

    /// What to say of a session that ended before its time.
    pub(crate) fn lost(&self) -> Status {
        Status::unavailable(format!("the agent of {} went away in the middle; try again", self.node))
    }
}

/// A failure's code tells what kind of status it is.
fn of_failure(reason: orlop_proto::cluster::v1::Reason) -> Status {
    match reason.code.as_str() {
        code if code.ends_with("not_found") || code.starts_with("no_such") => Status::not_found(reason.message),
        code if code.starts_with("invalid") => Status::invalid_argument(reason.message),
        _ => Status::failed_precondition(reason.message),
    }
}

impl Sessions {
    pub(crate) fn new(open_max: usize) -> Self {
        Self { invited: Mutex::default(), open: Arc::new(Semaphore::new(open_max)) }
    }

    /// The node's side: its first frame names the session; what is sent back goes to the node.
    pub(crate) async fn accept(
        &self,
        call: &Call,
        mut frames: Streaming<pb::SessionFrame>,
    ) -> Result<ReceiverStream<Result<pb::SessionFrame, Status>>, Status> {
        let Some(pb::SessionFrame { frame: Some(Frame::Session(session)) }) = frames.message().await? else {
            return Err(Status::invalid_argument("the first frame must name the session"));
        };
        let id: SessionId = session.parse().map_err(|e| Status::invalid_argument(format!("session: {e}")))?;
        let over = || Status::not_found(format!("there is no session {id} (any more); nobody waits for it"));
        let waiting = {
            let mut invited = self.invited.lock();
            call.for_node(invited.get(&id).ok_or_else(over)?.0)?;
            invited.remove(&id).ok_or_else(over)?.1
        };
        let (to_node, receiver) = mpsc::channel(FRAMES_MAX);
        waiting.send(NodeSide { to_node, from_node: frames }).map_err(|_| over())?;
        Ok(ReceiverStream::new(receiver))
    }
}

/// Forgets an invitation that nobody waits for any more.
struct Invited<'a> {
    sessions: &'a Sessions,
    id: SessionId,
}

impl Drop for Invited<'_> {
    fn drop(&mut self) {
        self.sessions.invited.lock().remove(&self.id);
    }
}

impl Control {
    /// Opens a session with a node.
    pub(crate) async fn open_session(&self, node: NodeId, kind: pb::session_start::Kind) -> Result<Session, Status> {
        let full = || Status::resource_exhausted("too many sessions with nodes are open; end some, or try later");
        let permit = self.sessions.open.clone().try_acquire_owned().map_err(|_| full())?;
        let id = new_session_id();
        let (sender, opened) = oneshot::channel();
        self.sessions.invited.lock().insert(id, (node, sender));
        let _invited = Invited { sessions: &self.sessions, id };
        let start = Some(pb::SessionStart { kind: Some(kind) });
        self.attendance.invite(node, pb::SessionInvitation { session: id.to_string(), start })?;
        let side = tokio::select! {
            opened = tokio::time::timeout(self.config.session_timeout, opened) => opened,
            () = self.stop.cancelled() => return Err(crate::status::stopping()),
        };
        match side {
            Ok(Ok(NodeSide { to_node, from_node })) => {
                Ok(Session { node, to_node, from_node: FromNode { node, frames: from_node }, _open: permit })
            }
            _ => {
                let seconds = self.config.session_timeout.as_secs_f32();
                let message = format!("the agent of {node} did not open the session within {seconds} s; is it well?");
                Err(Status::deadline_exceeded(message))
            }
        }
    }

    /// A name for a node that people know.
    pub(crate) fn name_of(&self, node: NodeId) -> String {
        self.machine.read(|state| state.node(node).map_or_else(|| node.to_string(), |n| n.name.to_string()))
    }
}
