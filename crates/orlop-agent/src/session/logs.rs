//! The lines that a service's replicas on this node have written, the gone ones included.

use super::{HungUp, Incoming, Outgoing, Sessions, invalid};
use crate::node::Layout;
use orlop_model::{Reason, ReplicaId, ServiceRef};
use orlop_proto::node::v1 as pb;
use orlop_proto::node::v1::session_frame::Frame;
use orlop_runtime::logs::{Item, Line, Query, Reader, Stream};
use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

/// One replica's log directory.
struct Source {
    directory: PathBuf,
    replica: ReplicaId,
    slot: u32,
}

impl Sessions {
    pub(super) async fn logs(
        &self,
        start: pb::LogsStart,
        mut incoming: Incoming,
        outgoing: &Outgoing,
    ) -> Result<(), HungUp> {
        let service = start.service.ok_or("no service is named".to_owned());
        let service = service.and_then(|s| ServiceRef::try_from(s).map_err(|e| e.to_string()));
        let wanted = start.replicas.iter().map(|r| r.parse::<ReplicaId>().map_err(|e| e.to_string()));
        let (service, wanted) = match (service, wanted.collect::<Result<BTreeSet<_>, _>>()) {
            (Ok(service), Ok(wanted)) => (service, wanted),
            (Err(problem), _) | (_, Err(problem)) => return outgoing.fail(invalid(problem)).await,
        };
        let query = Query {
            since_ns: start.since_ms.saturating_mul(1_000_000),
            tail: start.tail.map(|n| n as usize),
            follow: start.follow,
        };
        match self.read(&service, &wanted, query, &mut incoming, outgoing).await {
            Ok(result) => result,
            Err(error) => {
                let message = format!("the logs of {service} cannot be read: {error}");
                outgoing.fail(Reason::new("logs_unreadable", message)).await
            }
        }
    }

    async fn read(
        &self,
        service: &ServiceRef,
        wanted: &BTreeSet<ReplicaId>,
        query: Query,
        incoming: &mut Incoming,
        outgoing: &Outgoing,
    ) -> io::Result<Result<(), HungUp>> {
        // Subscribed before looking: a replica that appears meanwhile is seen one way or the other.
        let mut appearances = self.board.appearances();
        let mut sources = sources(&self.layout, service, wanted)?;
        let mut reader = Reader::open(sources.iter().map(|s| s.directory.clone()).collect(), query)?;
        // The directory of a new replica is made with its container, a little after the replica appears.
        let mut look = tokio::time::interval(std::time::Duration::from_millis(500));
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut looks_left = 0;
        loop {
            let item = tokio::select! {
                () = outgoing.hung_up() => return Ok(Err(HungUp)),
                None = incoming.next() => return Ok(Err(HungUp)),
                item = reader.next() => item?,
                Ok(()) = appearances.changed(), if query.follow => {
                    looks_left = 240;
                    continue;
                }
                _ = look.tick(), if looks_left > 0 => {
                    looks_left -= 1;
                    for source in self::sources(&self.layout, service, wanted)? {
                        if sources.iter().all(|known| known.replica != source.replica) {
                            reader.add(source.directory.clone())?;
                            sources.push(source);
                        }
                    }
                    continue;
                }
            };
            let frame = match item {
                Some(Item::Line(index, line)) => match sources.get(index) {
                    Some(source) => Frame::Log(wire(source, line)),
                    None => continue,
                },
                Some(Item::CaughtUp) => Frame::CaughtUp(pb::CaughtUp {}),
                None => break,
            };
            if outgoing.send(frame).await.is_err() {
                return Ok(Err(HungUp));
            }
        }
        Ok(outgoing.send(Frame::CaughtUp(pb::CaughtUp {})).await)
    }
}

/// The log directories of a service, `<slot>/<replica>/` each; none when it never ran here.
fn sources(layout: &Layout, service: &ServiceRef, wanted: &BTreeSet<ReplicaId>) -> io::Result<Vec<Source>> {
    let mut sources = Vec::new();
    for (slot, directory) in children::<u32>(&layout.service_logs(service))? {
        for (replica, directory) in children::<ReplicaId>(&directory)? {
            if wanted.is_empty() || wanted.contains(&replica) {
                sources.push(Source { directory, replica, slot });
            }
        }
    }
    Ok(sources)
}

/// The entries of a directory whose names can be read as `T`.
fn children<T: std::str::FromStr>(directory: &std::path::Path) -> io::Result<Vec<(T, PathBuf)>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if let Some(name) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
            found.push((name, entry.path()));
        }
    }
    Ok(found)
}

fn wire(source: &Source, line: Line) -> pb::LogLine {
    let stream = match line.stream {
        Stream::Stdout => pb::Stream::Stdout,
        Stream::Stderr => pb::Stream::Stderr,
    };
    pb::LogLine {
        at_ns: line.at_ns,
        stream: stream.into(),
        replica: source.replica.to_string(),
        slot: source.slot,
        text: line.text.to_vec(),
    }
}
