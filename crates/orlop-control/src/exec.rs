//! A command in a replica: the operator's frames to the node, the node's to the operator.

use crate::control::{Call, Control};
use crate::sessions::Session;
use crate::status;
use orlop_model::ReplicaId;
use orlop_model::trust::Role;
use orlop_proto::node::v1 as node;
use orlop_proto::operator::v1 as pb;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

/// The longest command, in arguments.
const COMMAND_MAX: usize = 1_000;

type ToOperator = mpsc::Sender<Result<pb::ExecResponse, Status>>;

impl Control {
    /// Begins a command in a replica.
    pub(crate) async fn start_exec(&self, call: &Call, start: node::ExecStart) -> Result<Session, Status> {
        let id: ReplicaId =
            start.replica.parse().map_err(|e| Status::invalid_argument(format!("start.replica: {e}")))?;
        if start.command.is_empty() || start.command.len() > COMMAND_MAX {
            let found = start.command.len();
            return Err(Status::invalid_argument(format!(
                "start.command: found {found} words; expected 1 to {COMMAND_MAX}"
            )));
        }
        let Some(replica) = self.machine.read(|state| state.replica(id).cloned()) else {
            return Err(Status::not_found(format!("there is no replica {id}; `ps` lists them")));
        };
        call.for_deployment(Role::Deployer, Some(&replica.service.deployment))?;
        if !replica.status.phase.may_have_process() {
            let message = format!("{id} does not run, it is {}; `why {id}` says more", replica.status.phase.word());
            return Err(Status::failed_precondition(message));
        }
        self.open_session(replica.node, node::session_start::Kind::Exec(start)).await
    }

    /// Passes frames both ways until the command has ended or either side is gone.
    pub(crate) async fn run_exec(self, session: Session, input: Streaming<pb::ExecRequest>, output: ToOperator) {
        let ended = tokio::select! {
            ended = bridge(session, input, &output) => ended,
            () = output.closed() => return,
            () = self.stop.cancelled() => Err(status::stopping()),
        };
        if let Err(status) = ended {
            let _ = output.send(Err(status)).await;
        }
    }
}

async fn bridge(session: Session, mut input: Streaming<pb::ExecRequest>, output: &ToOperator) -> Result<(), Status> {
    use node::session_frame::Frame;
    use pb::exec_request::Frame as Request;
    let Session { to_node, mut from_node, .. } = session;
    let upwards = async {
        // An operator who ends the call without ending the input first is gone.
        while let Some(request) = input.message().await? {
            let frame = match request.frame {
                Some(Request::Input(bytes)) => Frame::Input(bytes),
                Some(Request::Resize(size)) => Frame::Resize(size),
                Some(Request::Start(_)) => return Err(Status::invalid_argument("start may only be the first frame")),
                None => continue,
            };
            if to_node.send(Ok(node::SessionFrame { frame: Some(frame) })).await.is_err() {
                break;
            }
        }
        // What the command still says is to be heard.
        std::future::pending().await
    };
    let downwards = async {
        loop {
            let frame = match from_node.next().await? {
                Some(Frame::Output(bytes)) => pb::exec_response::Frame::Output(bytes),
                Some(Frame::ExitCode(code)) => pb::exec_response::Frame::ExitCode(code),
                Some(_) => continue,
                None => return Err(Status::unavailable("the session ended before the command did")),
            };
            let last = matches!(frame, pb::exec_response::Frame::ExitCode(_));
            let sent = output.send(Ok(pb::ExecResponse { frame: Some(frame) })).await;
            if last || sent.is_err() {
                return Ok(());
            }
        }
    };
    tokio::select! {
        ended = downwards => ended,
        failed = upwards => failed,
    }
}
