//! Logs of a service, from all nodes that may have some, as one stream.
//!
//! What was written before the call is merged by time; then lines pass on as they come. Nodes that cannot be asked are
//! told of at the end, so that what the others have is not lost for it. Who follows hears a node again when its agent was
//! away, from the line where it broke off, and nodes that come later.

use crate::control::{Control, now};
use crate::sessions::Session;
use crate::status;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use orlop_model::{NodeId, ReplicaId, ServiceRef};
use orlop_proto::node::v1 as pb;
use pb::session_frame::Frame;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use tokio::sync::mpsc;
use tonic::{Code, Status};

/// The most lines that `tail` may ask for.
pub(crate) const TAIL_MAX: u32 = 100_000;

/// Which lines.
pub(crate) struct Query {
    pub(crate) service: ServiceRef,
    pub(crate) replica: Option<ReplicaId>,
    pub(crate) follow: bool,
    pub(crate) since_ms: u64,
    pub(crate) tail: Option<u32>,
}

type Lines = mpsc::Sender<Result<pb::LogLine, Status>>;

impl Control {
    /// Sends the lines until all are sent, or the receiver is dropped.
    pub(crate) async fn logs(self, query: Query, lines: Lines) {
        let told = tokio::select! {
            told = self.gather(&query, &lines) => told,
            () = lines.closed() => return,
            () = self.stop.cancelled() => Err(status::stopping()),
        };
        if let Err(status) = told {
            let _ = lines.send(Err(status)).await;
        }
    }

    async fn gather(&self, query: &Query, lines: &Lines) -> Result<(), Status> {
        let began_ms = now().0;
        let nodes = self.nodes_with_logs(query)?;
        let start = pb::LogsStart {
            service: Some((&query.service).into()),
            replicas: query.replica.iter().map(ToString::to_string).collect(),
            follow: query.follow,
            since_ms: query.since_ms,
            tail: query.tail,
        };
        let opening = nodes.into_iter().map(|node| {
            let kind = pb::session_start::Kind::Logs(start.clone());
            let seat = self.attendance.seat_of(node).unwrap_or_default();
            async move { (node, seat, self.open_session(node, kind).await) }
        });
        let (mut sources, mut failed) = (Vec::new(), Vec::new());
        for (node, seat, opened) in futures::future::join_all(opening).await {
            match opened {
                Ok(session) => sources.push(Source { session, seat, over: false, repeats: false }),
                Err(status) => failed.push((node, status)),
            }
        }
        // A single node has cut its own tail.
        let tail = query.tail.filter(|_| sources.len() > 1).map(|tail| tail as usize);
        let mut output = Output { lines, newest: BTreeMap::new(), nodes: BTreeMap::new(), sent: false };
        history(&mut sources, tail, &mut output, &mut failed).await?;
        let sent = output.sent;
        if query.follow {
            self.follow(query, &start, began_ms, sources, &mut output, &mut failed).await?;
        }
        self.conclude(query, sent, failed)
    }

    /// Passes lines on as they come, until no node has more to come and none is away.
    async fn follow(
        &self,
        query: &Query,
        start: &pb::LogsStart,
        began_ms: u64,
        sources: Vec<Source>,
        output: &mut Output<'_>,
        failed: &mut Vec<(NodeId, Status)>,
    ) -> Result<(), Status> {
        let mut arrivals = self.attendance.arrivals();
        // The seats of agents that were asked already.
        let mut asked: BTreeSet<u64> = failed.iter().filter_map(|(node, _)| self.attendance.seat_of(*node)).collect();
        let mut away: BTreeSet<NodeId> = BTreeSet::new();
        let mut waiting: FuturesUnordered<BoxFuture<'_, (Source, Live)>> = FuturesUnordered::new();
        for source in sources {
            asked.insert(source.seat);
            if source.over {
                away.insert(source.session.node);
            } else {
                waiting.push(Box::pin(source.live()));
            }
        }
        while !waiting.is_empty() || !away.is_empty() {
            tokio::select! {
                Some((source, live)) = waiting.next() => {
                    let node = source.session.node;
                    match live {
                        Live::Line(line) => {
                            if !source.repeats || !output.has(&line) {
                                output.heard(node, &line);
                                output.send(line).await?;
                            }
                            waiting.push(Box::pin(source.live()));
                            continue;
                        }
                        // A replica's log has an end, that of a service has none: its agent went away in good order.
                        Live::End if query.replica.is_some() && self.attendance.seat_of(node) == Some(source.seat) => {}
                        Live::End | Live::Away => {
                            away.insert(node);
                        }
                        Live::Failed(status) => failed.push((node, status)),
                    }
                }
                _ = arrivals.changed() => {}
            }
            for node in self.nodes_with_logs(query).unwrap_or_default() {
                let Some(seat) = self.attendance.seat_of(node) else { continue };
                if !asked.insert(seat) {
                    continue;
                }
                let since_ms = output.since_ms(node, query, began_ms);
                let again = pb::LogsStart { since_ms, tail: None, ..start.clone() };
                if let Ok(session) = self.open_session(node, pb::session_start::Kind::Logs(again)).await {
                    away.remove(&node);
                    waiting.push(Box::pin(Source { session, seat, over: false, repeats: true }.live()));
                }
            }
        }
        Ok(())
    }

    /// One replica's node, when it is known; else all that are there, because what is gone has left its logs behind.
    fn nodes_with_logs(&self, query: &Query) -> Result<Vec<NodeId>, Status> {
        let known = query.replica.and_then(|id| self.machine.read(|state| state.replica(id).map(|r| r.node)));
        if let Some(node) = known {
            return Ok(vec![node]);
        }
        let nodes = self.attendance.present();
        if nodes.is_empty() {
            return Err(Status::unavailable("no node's agent is connected, so nobody has logs to give"));
        }
        Ok(nodes)
    }

    fn conclude(&self, query: &Query, sent: bool, failed: Vec<(NodeId, Status)>) -> Result<(), Status> {
        if let [(_, status)] = &failed[..] {
            return Err(status.clone());
        }
        if !failed.is_empty() {
            let each = failed.iter().map(|(node, status)| format!("{}: {}", self.name_of(*node), status.message()));
            let message = format!("some nodes gave no logs: {}", each.collect::<Vec<_>>().join("; "));
            return Err(Status::unavailable(message));
        }
        let known = || self.machine.read(|state| state.service(&query.service).is_some());
        if !sent && !known() {
            let message =
                format!("there is no service {}, and no logs of one are left; `ps` lists them", query.service);
            return Err(Status::not_found(message));
        }
        Ok(())
    }
}

/// A node's session.
struct Source {
    session: Session,
    /// The seat that its agent had when it was asked.
    seat: u64,
    over: bool,
    /// It begins with lines that may have been sent before its agent was away.
    repeats: bool,
}

impl Source {
    /// The next line of what was written before the session began; `None` when all of it was given.
    async fn past(&mut self) -> Result<Option<pb::LogLine>, Status> {
        loop {
            match self.session.from_node.next().await? {
                Some(Frame::Log(line)) => return Ok(Some(line)),
                Some(Frame::CaughtUp(_)) => return Ok(None),
                Some(_) => {}
                // An agent that ends says first that it has caught up.
                None => return Err(self.session.from_node.lost()),
            }
        }
    }

    /// What comes next, and the source back.
    async fn live(mut self) -> (Self, Live) {
        let live = loop {
            match self.session.from_node.next().await {
                Ok(Some(Frame::Log(line))) => break Live::Line(line),
                Ok(Some(Frame::CaughtUp(_))) => self.repeats = false,
                Ok(Some(_)) => {}
                Ok(None) => break Live::End,
                Err(status) if status.code() == Code::Unavailable => break Live::Away,
                Err(status) => break Live::Failed(status),
            }
        };
        (self, live)
    }
}

/// What comes from a node that is followed.
enum Live {
    Line(pb::LogLine),
    /// There will be no more.
    End,
    /// The agent is gone, and may come back.
    Away,
    /// The node said why there will be no more.
    Failed(Status),
}

/// The way to the operator.
struct Output<'a> {
    lines: &'a Lines,
    /// The time of each replica's newest line, by which a node's repetitions are known after its agent was away.
    newest: BTreeMap<String, u64>,
    /// What was heard of each node that was asked, by its own clock.
    nodes: BTreeMap<NodeId, Option<Heard>>,
    sent: bool,
}

/// The times of lines that a node gave, in nanoseconds.
struct Heard {
    first: u64,
    last: u64,
}

/// How far the lines of a node's replicas may be out of order among each other while they are being written.
const DISORDER_NS: u64 = 2_000_000_000;

impl Output<'_> {
    /// Notes a line, whether it is sent or is older than the tail that was asked for.
    fn heard(&mut self, node: NodeId, line: &pb::LogLine) {
        let newest = self.newest.entry(line.replica.clone()).or_default();
        *newest = line.at_ns.max(*newest);
        let heard = self.nodes.entry(node).or_default().get_or_insert(Heard { first: line.at_ns, last: line.at_ns });
        heard.last = line.at_ns.max(heard.last);
    }

    /// From when a node is asked again. Its own lines tell, as long as there are some: its clock is not ours.
    fn since_ms(&self, node: NodeId, query: &Query, began_ms: u64) -> u64 {
        match self.nodes.get(&node) {
            // No earlier than its first line, before which is what `tail` left out.
            Some(Some(heard)) => heard.last.saturating_sub(DISORDER_NS).max(heard.first) / 1_000_000,
            // It had nothing yet, so whatever it has is new.
            Some(None) if query.tail != Some(0) => query.since_ms,
            Some(None) | None => began_ms,
        }
    }

    async fn send(&mut self, line: pb::LogLine) -> Result<(), Status> {
        self.sent = true;
        self.lines.send(Ok(line)).await.map_err(|_| gone())
    }

    fn has(&self, line: &pb::LogLine) -> bool {
        self.newest.get(&line.replica).is_some_and(|newest| line.at_ns <= *newest)
    }
}

fn gone() -> Status {
    Status::cancelled("nobody reads the logs any more")
}

/// Merges what was written before, by time; the newest `tail` lines of it.
async fn history(
    sources: &mut [Source],
    tail: Option<usize>,
    output: &mut Output<'_>,
    failed: &mut Vec<(NodeId, Status)>,
) -> Result<(), Status> {
    let mut heads: Vec<Option<pb::LogLine>> = Vec::with_capacity(sources.len());
    for source in &mut *sources {
        heads.push(next_past(source, output, failed).await);
    }
    let mut kept = VecDeque::new();
    loop {
        let times = heads.iter().enumerate().filter_map(|(i, head)| Some((head.as_ref()?.at_ns, i)));
        let Some((_, oldest)) = times.min() else { break };
        let (Some(head), Some(source)) = (heads.get_mut(oldest), sources.get_mut(oldest)) else { break };
        let Some(line) = head.take() else { break };
        match tail {
            // Sent before the next is waited for.
            None => output.send(line).await?,
            Some(tail) => {
                kept.push_back(line);
                if kept.len() > tail {
                    kept.pop_front();
                }
            }
        }
        *head = next_past(source, output, failed).await;
    }
    for line in kept {
        output.send(line).await?;
    }
    Ok(())
}

async fn next_past(
    source: &mut Source,
    output: &mut Output<'_>,
    failed: &mut Vec<(NodeId, Status)>,
) -> Option<pb::LogLine> {
    match source.past().await {
        Ok(line) => {
            match &line {
                Some(line) => output.heard(source.session.node, line),
                None => drop(output.nodes.entry(source.session.node).or_default()),
            }
            line
        }
        Err(status) => {
            source.over = true;
            failed.push((source.session.node, status));
            None
        }
    }
}
