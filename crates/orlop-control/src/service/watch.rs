//! Views, pushed as they change.

use crate::control::{Call, Control};
use crate::front::Leave;
use crate::hub::{Cursor, Update};
use crate::room::Room;
use crate::service::{Answers, parsed_if_set, required};
use crate::status;
use orlop_identity::{Caller, access};
use orlop_model::trust::OperatorName;
use orlop_model::{ClusterId, Revision, View};
use orlop_proto::watch::v1 as pb;
use tonic::{Request, Response, Status};

/// About the largest message; an update that has more goes out in parts.
const PART_BYTES_MAX: usize = 1 << 20;

pub(crate) struct Service(pub(crate) Control);

/// One open watch.
struct Watcher {
    control: Control,
    cursor: Cursor,
    /// Whether this member knows a leader; one that knows none for long falls behind.
    sight: tokio::sync::watch::Receiver<bool>,
    leave: Option<Leave>,
    bell: tokio::sync::watch::Receiver<u64>,
    update: Option<Update>,
    ended: bool,
    _open: Room<OperatorName>,
}

#[tonic::async_trait]
impl pb::watch_service_server::WatchService for Service {
    type WatchStream = Answers<pb::WatchResponse>;

    async fn watch(&self, request: Request<pb::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let call = Call::of(&request)?;
        let leave = request.extensions().get::<Leave>().cloned();
        let request = request.into_inner();
        let view: View = required("view", request.view)?;
        if !access::may_watch(&call.caller, &view) {
            let message = format!("{} may not watch {view:?}; ask an admin", call.caller.text());
            return Err(Status::permission_denied(message));
        }
        let seen: Option<ClusterId> = parsed_if_set("cluster", &request.cluster)?;
        let own = self.0.machine.read(|state| state.cluster());
        if own.is_none() {
            if let Some(leave) = &leave {
                leave.cancel();
            }
            return Err(Status::unavailable("this member knows nothing of the cluster yet; another does"));
        }
        let since = Some(Revision(request.since)).filter(|_| seen.is_some() && seen == own);
        // Who was at a member that is ahead of this one is not led back: this one catches up first. What is ahead of all of
        // them is of a history that was lost, and a snapshot follows.
        if since.is_some_and(|since| since.0 > self.0.machine.revision()) {
            self.0.consensus.read_index().await.map_err(|error| Status::unavailable(error.to_string()))?;
        }
        let since = since.filter(|since| since.0 <= self.0.machine.revision());
        let operator = match call.caller {
            Caller::Operator(operator) => Some(operator.name),
            _ => None,
        };
        let full = || Status::resource_exhausted("too many watches are open; end some, or try later");
        let watcher = Watcher {
            control: self.0.clone(),
            cursor: Cursor::new(view, since),
            sight: self.0.leading.sight(),
            leave,
            bell: self.0.machine.bell(),
            update: None,
            ended: false,
            _open: self.0.watchers.take(operator).ok_or_else(full)?,
        };
        let responses = futures::stream::unfold(watcher, |mut watcher| async move {
            let response = watcher.next().await?;
            Some((response, watcher))
        });
        Ok(Response::new(Box::pin(responses)))
    }
}

impl Watcher {
    /// The next message, made when there is room for it: who reads slowly gets fewer, larger ones.
    async fn next(&mut self) -> Option<Result<pb::WatchResponse, Status>> {
        while !self.ended {
            if let Some(part) = self.update.as_mut().and_then(|update| update.part(PART_BYTES_MAX)) {
                return Some(Ok(part));
            }
            // Marked before looking, so that what is applied in between rings again.
            self.bell.borrow_and_update();
            self.update = self.control.machine.advance(&mut self.cursor);
            if let Some(update) = &mut self.update {
                self.control.reveal(update);
            }
            if self.update.is_some() {
                continue;
            }
            let changed = tokio::select! {
                changed = self.bell.changed() => changed.is_ok(),
                () = self.control.stop.cancelled() => false,
                _ = self.sight.wait_for(|sight| !sight) => {
                    self.ended = true;
                    if let Some(leave) = &self.leave {
                        leave.cancel();
                    }
                    return Some(Err(Status::unavailable("this member has lost sight of the leader; another may not have")));
                }
            };
            if !changed {
                self.ended = true;
                return Some(Err(status::stopping()));
            }
        }
        None
    }
}
