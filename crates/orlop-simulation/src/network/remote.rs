//! A member as another one reaches it over the network.

use super::{Network, Stream};
use crate::host::Running;
use crate::mutation::Mutation;
use crate::trace::hash_of;
use async_trait::async_trait;
use futures::StreamExt;
use futures::future::BoxFuture;
use orlop_consensus::seam::{Messages, Peer, PeerError};
use orlop_proto::peer::v1 as pb;
use prost::Message;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::UnboundedReceiverStream;

/// A connection on which nothing comes back is given up after so long.
const DEAD: Duration = Duration::from_secs(3);

pub(super) struct Remote {
    pub(super) network: Network,
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) member: u64,
}

type Answer<T> = Result<T, PeerError>;
type Work<Q, T> = fn(Arc<dyn Peer>, Q) -> BoxFuture<'static, Answer<T>>;

impl Remote {
    fn refused(&self) -> PeerError {
        PeerError::Unreachable { member: self.member, reason: "the connection is refused".into() }
    }

    fn lost(&self) -> PeerError {
        PeerError::Lost { member: self.member, reason: "the connection is dead".into() }
    }

    /// Puts the bug in that a snapshot comes with stale members.
    fn age(&self, offer: &mut pb::SnapshotOffer) {
        if let Some(head) = offer.head.as_mut().filter(|_| self.network.has(Mutation::StaleMembership)) {
            head.membership_at = Some(pb::LogId { term: 0, leader: 1, index: 0 });
            head.membership = Some(pb::Membership {
                configs: vec![pb::membership::Voters { members: vec![1] }],
                members: vec![pb::Member { id: 1, address: "host-1".into() }],
            });
        }
    }

    /// Sends a request, and waits for the answer.
    async fn call<Q, T>(&self, what: &'static str, request: Q, work: Work<Q, T>) -> Answer<T>
    where
        Q: Message + 'static,
        T: Message + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let (network, from, to, refused) = (self.network.clone(), self.from, self.to, self.refused());
        let content = hash_of(&request.encode_to_vec());
        let back = move |answer: oneshot::Sender<Answer<T>>, result: Answer<T>| {
            let content = result.as_ref().map_or(0, |message| hash_of(&message.encode_to_vec()));
            let arrival = Box::new(move |_: Option<&Running>| drop(answer.send(result)));
            network.send((to, from), what, content, None, arrival);
        };
        let arrival = Box::new(move |there: Option<&Running>| match there.and_then(Running::peer) {
            None => back(answer, Err(refused)),
            Some((peer, runtime)) => {
                runtime.spawn(async move { back(answer, work(peer, request).await) });
            }
        });
        self.network.send((from, to), what, content, None, arrival);
        match tokio::time::timeout(DEAD, answered).await {
            Ok(Ok(result)) => result,
            // Lost on the way: nobody tells.
            Ok(Err(_)) => {
                tokio::time::sleep(DEAD).await;
                Err(self.lost())
            }
            Err(_) => Err(self.lost()),
        }
    }
}

/// What comes back on a stream.
enum Back {
    Answer(Answer<pb::AppendResponse>),
    End,
}

/// One direction of a stream.
#[derive(Clone)]
struct Direction {
    network: Network,
    way: (u64, u64),
    stream: Arc<Stream>,
}

impl Direction {
    fn send(&self, what: &'static str, content: u64, arrival: impl FnOnce(Option<&Running>) + Send + 'static) {
        self.network.send(self.way, what, content, Some(self.stream.clone()), Box::new(arrival));
    }

    fn is_broken(&self) -> bool {
        self.stream.broken.load(Ordering::Relaxed)
    }
}

/// Answers requests at the member that they are for, until either side ends.
async fn serve(peer: Arc<dyn Peer>, requests: Messages<pb::AppendRequest>, back: Direction, answers: Answers) {
    let send = |item: Back| {
        let (answers, content) = (answers.clone(), item.content());
        back.send(item.what(), content, move |_| drop(answers.send(item)));
    };
    match peer.append_stream(requests).await {
        Err(error) => send(Back::Answer(Err(error))),
        Ok(mut given) => {
            while let Some(answer) = given.next().await {
                send(Back::Answer(answer));
            }
            send(Back::End);
        }
    }
}

type Answers = mpsc::UnboundedSender<Back>;

impl Back {
    fn what(&self) -> &'static str {
        match self {
            Back::Answer(Ok(_)) => "answer",
            Back::Answer(Err(_)) => "error",
            Back::End => "end of answers",
        }
    }

    fn content(&self) -> u64 {
        match self {
            Back::Answer(Ok(message)) => hash_of(&message.encode_to_vec()),
            Back::Answer(Err(_)) => 1,
            Back::End => 2,
        }
    }
}

#[async_trait]
impl Peer for Remote {
    async fn append(&self, request: pb::AppendRequest) -> Answer<pb::AppendResponse> {
        self.call("append", request, |peer, request| Box::pin(async move { peer.append(request).await })).await
    }

    async fn append_stream(
        &self,
        mut requests: Messages<pb::AppendRequest>,
    ) -> Answer<Messages<Answer<pb::AppendResponse>>> {
        let direction = |from, to| Direction { network: self.network.clone(), way: (from, to), stream: Arc::default() };
        let (forth, back) = (direction(self.from, self.to), direction(self.to, self.from));
        let (forth_state, lost_answers) = (forth.clone(), self.lost());
        let (answers, answered) = mpsc::unbounded_channel::<Back>();
        let (arrive, arriving) = mpsc::unbounded_channel::<pb::AppendRequest>();
        let (refused, lost) = (self.refused(), self.lost());
        let opened = {
            let (back, answers, refused) = (back.clone(), answers.clone(), refused.clone());
            move |there: Option<&Running>| match there.and_then(Running::peer) {
                None => back.clone().send("refused", 1, move |_| drop(answers.send(Back::Answer(Err(refused))))),
                Some((peer, runtime)) => {
                    let requests = UnboundedReceiverStream::new(arriving).boxed();
                    runtime.spawn(serve(peer, requests, back, answers));
                }
            }
        };
        forth.send("open", 0, opened);
        let resets = back.clone();
        tokio::spawn(async move {
            loop {
                let request = tokio::select! {
                    biased;
                    () = answers.closed() => return,
                    request = requests.next() => request,
                };
                let Some(request) = request else { break };
                if forth.is_broken() {
                    // Held until whoever waits for answers gives up.
                    answers.closed().await;
                    return;
                }
                let (arrive, answers, back, lost) = (arrive.clone(), answers.clone(), resets.clone(), lost.clone());
                forth.send("entries", hash_of(&request.encode_to_vec()), move |_| {
                    if arrive.send(request).is_err() {
                        // The member on the other side is another process by now.
                        back.send("reset", 1, move |_| drop(answers.send(Back::Answer(Err(lost)))));
                    }
                });
            }
            // The end of the requests arrives after the last of them.
            forth.send("end", 2, move |_| drop(arrive));
            answers.closed().await;
        });
        let answers = futures::stream::unfold(Some(answered), move |answered| {
            let (forth, back, lost) = (forth_state.clone(), back.clone(), lost_answers.clone());
            async move {
                let mut answered = answered?;
                loop {
                    match tokio::time::timeout(DEAD, answered.recv()).await {
                        Ok(Some(Back::Answer(answer))) => return Some((answer, Some(answered))),
                        Ok(Some(Back::End) | None) => return None,
                        // Signs of life show that the connection is dead.
                        Err(_) if forth.is_broken() || back.is_broken() => return Some((Err(lost), None)),
                        Err(_) => {}
                    }
                }
            }
        });
        Ok(answers.boxed())
    }

    async fn vote(&self, request: pb::VoteRequest) -> Answer<pb::VoteResponse> {
        self.call("vote", request, |peer, request| Box::pin(async move { peer.vote(request).await })).await
    }

    async fn offer_snapshot(&self, mut offer: pb::SnapshotOffer) -> Answer<pb::SnapshotProgress> {
        self.age(&mut offer);
        self.call("offer", offer, |peer, offer| Box::pin(async move { peer.offer_snapshot(offer).await })).await
    }

    async fn send_snapshot(&self, mut part: pb::SendSnapshotRequest) -> Answer<pb::SnapshotProgress> {
        part.offer.iter_mut().for_each(|offer| self.age(offer));
        self.call("part", part, |peer, part| Box::pin(async move { peer.send_snapshot(part).await })).await
    }

    async fn install_snapshot(&self, mut offer: pb::SnapshotOffer) -> Answer<pb::SnapshotProgress> {
        self.age(&mut offer);
        self.call("install", offer, |peer, offer| Box::pin(async move { peer.install_snapshot(offer).await })).await
    }

    async fn transfer_leader(&self, request: pb::TransferLeaderRequest) -> Answer<pb::TransferLeaderResponse> {
        self.call("transfer", request, |peer, request| Box::pin(async move { peer.transfer_leader(request).await }))
            .await
    }

    async fn submit(&self, request: pb::SubmitRequest) -> Answer<pb::SubmitResponse> {
        self.call("submit", request, |peer, request| Box::pin(async move { peer.submit(request).await })).await
    }

    async fn read_index(&self, request: pb::ReadIndexRequest) -> Answer<pb::ReadIndexResponse> {
        self.call("read", request, |peer, request| Box::pin(async move { peer.read_index(request).await })).await
    }
}
