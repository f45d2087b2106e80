//! Another member at the other end of a connection.

use super::{Dial, MESSAGE_BYTES_MAX};
use crate::peer::{Messages, Peer, PeerError};
use async_trait::async_trait;
use futures::{Stream, StreamExt};
use orlop_proto::peer::v1 as pb;
use orlop_proto::peer::v1::peer_service_client::PeerServiceClient;
use parking_lot::Mutex;
use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Code, Status};

/// A connection that does not answer is replaced, but not more often than this.
const REPLACE_EVERY: Duration = Duration::from_millis(500);

/// So many short waits in a row for nothing, or one that is long, are a connection that does not answer.
const MISSED: u32 = 4;
const LONG: Duration = Duration::from_secs(1);

/// A connection to a member, for one use. When requests are given up before they were answered, the next one gets a new
/// connection: after a cut, TCP would try the old one again only after a pause that grows with the time of the cut.
pub(super) struct Link {
    dial: Arc<dyn Dial>,
    member: u64,
    address: String,
    state: Arc<Mutex<State>>,
}

struct State {
    channel: Option<Channel>,
    made: Instant,
    /// Requests in a row that were given up.
    missed: u32,
}

type Client = PeerServiceClient<Channel>;

impl Link {
    pub(super) fn new(dial: Arc<dyn Dial>, member: u64, address: &str) -> Self {
        let state = State { channel: None, made: Instant::now(), missed: 0 };
        Self { dial, member, address: address.to_owned(), state: Arc::new(Mutex::new(state)) }
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    fn client(&self) -> Client {
        let mut state = self.state.lock();
        let channel = match &state.channel {
            Some(channel) => channel.clone(),
            None => {
                let channel = self.dial.channel(self.member, &self.address);
                state.made = Instant::now();
                state.channel.insert(channel).clone()
            }
        };
        PeerServiceClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    async fn ask<T, F>(&self, request: impl FnOnce(Client) -> F) -> Result<T, PeerError>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>> + Send,
    {
        let mut patience = Patience::new(self);
        let answer = request(self.client()).await;
        patience.note(true);
        answer.map(tonic::Response::into_inner).map_err(|status| error(self.member, &status))
    }
}

/// A request that is under way; dropped without an answer, it takes the connection with it.
struct Patience {
    state: Arc<Mutex<State>>,
    since: Instant,
    answered: bool,
}

impl Patience {
    fn new(link: &Link) -> Self {
        Self { state: link.state.clone(), since: Instant::now(), answered: false }
    }

    fn note(&mut self, answered: bool) {
        self.answered = answered;
    }
}

impl Drop for Patience {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        if self.answered {
            state.missed = 0;
            return;
        }
        state.missed += 1;
        let dead = state.missed >= MISSED || self.since.elapsed() >= LONG;
        if dead && state.made.elapsed() >= REPLACE_EVERY {
            state.channel = None;
            state.missed = 0;
        }
    }
}

/// A stream of requests with a name, for a compiler that cannot prove much of one without.
struct Requests(Messages<pb::AppendRequest>);

impl Stream for Requests {
    type Item = pb::AppendRequest;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<pb::AppendRequest>> {
        self.0.as_mut().poll_next(context)
    }
}

fn error(member: u64, status: &Status) -> PeerError {
    let reason = status.message().to_owned();
    match status.code() {
        Code::FailedPrecondition | Code::InvalidArgument | Code::PermissionDenied | Code::Unauthenticated => {
            PeerError::Refused { member, reason }
        }
        Code::Unimplemented | Code::ResourceExhausted | Code::OutOfRange => PeerError::Refused { member, reason },
        _ if is_connecting(status) => PeerError::Unreachable { member, reason: root(status) },
        _ => PeerError::Lost { member, reason },
    }
}

/// Did the request fail because there is no connection?
fn is_connecting(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.downcast_ref::<tonic::ConnectError>().is_some() {
            return true;
        }
        if let Some(error) = error.downcast_ref::<std::io::Error>()
            && error.kind() == std::io::ErrorKind::ConnectionRefused
        {
            return true;
        }
        source = error.source();
    }
    false
}

/// The innermost cause, which says most.
fn root(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut source = status.source();
    while let Some(error) = source {
        text = error.to_string();
        source = error.source();
    }
    text
}

#[async_trait]
impl Peer for Link {
    async fn append(&self, request: pb::AppendRequest) -> Result<pb::AppendResponse, PeerError> {
        self.ask(|mut client| async move { client.append(request).await }).await
    }

    async fn append_stream(
        &self,
        requests: Messages<pb::AppendRequest>,
    ) -> Result<Messages<Result<pb::AppendResponse, PeerError>>, PeerError> {
        let requests = Requests(requests);
        let answers = self.ask(|mut client| async move { client.append_stream(requests).await }).await?;
        let (member, mut patience) = (self.member, Patience::new(self));
        let answers = answers.map(move |answer| {
            patience.note(answer.is_ok());
            answer.map_err(|status| error(member, &status))
        });
        Ok(answers.boxed())
    }

    async fn vote(&self, request: pb::VoteRequest) -> Result<pb::VoteResponse, PeerError> {
        self.ask(|mut client| async move { client.vote(request).await }).await
    }

    async fn offer_snapshot(&self, offer: pb::SnapshotOffer) -> Result<pb::SnapshotProgress, PeerError> {
        self.ask(|mut client| async move { client.offer_snapshot(offer).await }).await
    }

    async fn send_snapshot(&self, part: pb::SendSnapshotRequest) -> Result<pb::SnapshotProgress, PeerError> {
        self.ask(|mut client| async move { client.send_snapshot(part).await }).await
    }

    async fn install_snapshot(&self, offer: pb::SnapshotOffer) -> Result<pb::SnapshotProgress, PeerError> {
        self.ask(|mut client| async move { client.install_snapshot(offer).await }).await
    }

    async fn transfer_leader(
        &self,
        request: pb::TransferLeaderRequest,
    ) -> Result<pb::TransferLeaderResponse, PeerError> {
        self.ask(|mut client| async move { client.transfer_leader(request).await }).await
    }

    async fn submit(&self, request: pb::SubmitRequest) -> Result<pb::SubmitResponse, PeerError> {
        self.ask(|mut client| async move { client.submit(request).await }).await
    }

    async fn read_index(&self, request: pb::ReadIndexRequest) -> Result<pb::ReadIndexResponse, PeerError> {
        self.ask(|mut client| async move { client.read_index(request).await }).await
    }
}
