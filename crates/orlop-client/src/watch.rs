//! Following a view: typed changes, and a connection that is made again when it breaks.

use crate::address::Address;
use crate::calls::Calls;
use crate::error::Error;
use orlop_model::view::{Object, View};
use orlop_model::{ClusterId, Revision};
use orlop_proto::watch::v1 as pb;
use orlop_proto::{InvalidWire, Within};
use pb::watch_service_client::WatchServiceClient;
use std::time::Duration;
use tokio::time::Instant;
use tonic::Streaming;

/// How long a broken connection is tried again before the watch gives up.
pub const RETRY_FOR: Duration = Duration::from_secs(30);
const RETRY_EVERY: Duration = Duration::from_millis(300);

/// One message of a view.
#[derive(Debug, Clone, PartialEq)]
pub struct Changes {
    /// The cluster.
    pub cluster: ClusterId,
    /// The state that the view shows after this message.
    pub revision: Revision,
    /// Everything that was known before is to be forgotten first.
    pub snapshot: bool,
    /// What changed, by key; `None` is gone.
    pub objects: Vec<(String, Option<Object>)>,
}

impl TryFrom<pb::WatchResponse> for Changes {
    type Error = InvalidWire;

    fn try_from(wire: pb::WatchResponse) -> Result<Self, InvalidWire> {
        let cluster =
            wire.cluster.parse().map_err(|e: orlop_model::id::InvalidId| InvalidWire::new("cluster", e.to_string()))?;
        let mut objects = Vec::with_capacity(wire.changes.len());
        for change in wire.changes {
            let object = change.object.map(Object::try_from).transpose().within(&change.key)?;
            objects.push((change.key, object));
        }
        Ok(Self { cluster, revision: Revision(wire.revision), snapshot: wire.snapshot, objects })
    }
}

/// A view that is being followed. Resumes where it was when the connection breaks, and gives up after
/// [`RETRY_FOR`] without one.
#[derive(Debug)]
pub struct Watch {
    client: WatchServiceClient<Calls>,
    address: Address,
    view: View,
    seen: Option<(ClusterId, Revision)>,
    stream: Option<Streaming<pb::WatchResponse>>,
    /// Of an update whose last part is still to come.
    parts: Vec<pb::Change>,
    /// Since when there is no connection. Kept here so that a caller who asks in short turns does not start it anew.
    broken_since: Option<Instant>,
}

impl Watch {
    pub(crate) fn new(client: WatchServiceClient<Calls>, address: Address, view: View) -> Self {
        Self { client, address, view, seen: None, stream: None, parts: Vec::new(), broken_since: None }
    }

    /// Says that everything up to a revision is known already, so that only later changes come.
    #[must_use]
    pub fn since(mut self, cluster: ClusterId, revision: Revision) -> Self {
        self.seen = Some((cluster, revision));
        self
    }

    /// The next message, whenever it comes. Cancel-safe: a message is either returned or still to come.
    pub async fn next(&mut self) -> Result<Changes, Error> {
        loop {
            match self.attempt().await {
                Ok(changes) => {
                    self.broken_since = None;
                    self.seen = Some((changes.cluster, changes.revision));
                    return Ok(changes);
                }
                Err(error) if error.is_transient() && self.seen.is_some() => {
                    self.stream = None;
                    if self.broken_since.get_or_insert_with(Instant::now).elapsed() >= RETRY_FOR {
                        return Err(error);
                    }
                    tokio::time::sleep(RETRY_EVERY).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn attempt(&mut self) -> Result<Changes, Error> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => {
                let request = pb::WatchRequest {
                    view: Some((&self.view).into()),
                    since: self.seen.map_or(0, |(_, revision)| revision.0),
                    cluster: self.seen.map(|(cluster, _)| cluster.to_string()).unwrap_or_default(),
                };
                let answer = self.client.watch(request).await;
                let stream = answer.map_err(|status| Error::from_status(&status, &self.address))?.into_inner();
                // What came of an update before the connection broke comes again.
                self.parts.clear();
                self.stream.insert(stream)
            }
        };
        loop {
            match stream.message().await {
                Ok(Some(message)) if message.more => self.parts.extend(message.changes),
                Ok(Some(mut message)) => {
                    message.changes.splice(..0, self.parts.drain(..));
                    return Ok(Changes::try_from(message)?);
                }
                Ok(None) => {
                    let problem = "it ended the watch".into();
                    return Err(Error::Lost { address: self.address.clone(), problem });
                }
                Err(status) => return Err(Error::from_status(&status, &self.address)),
            }
        }
    }
}
