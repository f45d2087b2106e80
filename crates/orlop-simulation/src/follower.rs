//! Followers of a view, which go from member to member and compare what they were told with what there is.

use crate::chance::Chance;
use crate::host::{Host, Running};
use crate::violation::{Check, Violation};
use orlop_control::seam::Cursor;
use orlop_model::{Object, Revision, View};
use orlop_proto::watch::v1 as pb;
use orlop_state::view;
use std::collections::BTreeMap;

/// Messages are of about so many bytes: few, so that most updates come in several.
const MESSAGE_BYTES: usize = 300;

pub(crate) struct Follower {
    view: View,
    /// What it was told, by key.
    pub(crate) known: BTreeMap<String, Object>,
    pub(crate) revision: Revision,
    /// The stream it reads, and the process that it comes from.
    stream: Option<(u64, u64, Cursor)>,
    /// Updates that were read to their ends.
    pub(crate) updates: u64,
    /// Those of them that went on from what was known.
    pub(crate) resumed: u64,
}

impl Follower {
    pub(crate) fn new(view: View) -> Self {
        Self { view, known: BTreeMap::new(), revision: Revision(0), stream: None, updates: 0, resumed: 0 }
    }

    /// Reads what there is, mostly where it read before.
    pub(crate) fn step(&mut self, hosts: &BTreeMap<u64, Host>, chance: &mut Chance) -> Result<(), Violation> {
        if !chance.per_mille(300) {
            return Ok(());
        }
        if chance.per_mille(15) {
            self.stream = None;
        }
        let alive = |host: &&Host| host.process.is_some() && host.stopped_until.is_none();
        let reads = self.stream.as_ref().and_then(|(id, process, _)| {
            hosts.get(id).filter(|host| host.processes == *process && host.process.is_some())
        });
        let host = match reads {
            Some(host) => host,
            None => {
                let there: Vec<&Host> = hosts.values().filter(alive).collect();
                let Some(host) = chance.pick(&there) else { return Ok(()) };
                self.stream = Some((host.id, host.processes, Cursor::new(self.view.clone(), Some(self.revision))));
                host
            }
        };
        match &host.process {
            Some(process) if alive(&host) => self.read(process, host.id, chance),
            _ => Ok(()),
        }
    }

    /// The stream may break in the middle of an update, which counts for nothing then.
    fn read(&mut self, from: &Running, host: u64, chance: &mut Chance) -> Result<(), Violation> {
        let Some((_, _, cursor)) = &mut self.stream else { return Ok(()) };
        let Some(mut update) = from.machine.machine.advance(cursor) else { return Ok(()) };
        let mut parts = Vec::new();
        while let Some(part) = update.part(MESSAGE_BYTES) {
            if chance.per_mille(20) {
                self.stream = None;
                return Ok(());
            }
            parts.push(part);
        }
        let wrong = |what: String| {
            Err(Violation::new(Check::Watch, format!("a watcher of {:?} at member {host}: {what}", self.view)))
        };
        let Some(last) = parts.last() else { return wrong("an update without a message".into()) };
        if last.more || parts.iter().rev().skip(1).any(|part| !part.more) {
            return wrong("the messages of an update do not say which is the last".into());
        }
        let (revision, snapshot) = (Revision(last.revision), last.snapshot);
        if revision < self.revision {
            return wrong(format!("it had seen revision {}, and is told of {revision}", self.revision));
        }
        if snapshot {
            self.known.clear();
        } else {
            self.resumed += 1;
        }
        for pb::Change { key, object } in parts.into_iter().flat_map(|part| part.changes) {
            match object.map(Object::try_from) {
                Some(Ok(object)) => drop(self.known.insert(key, object)),
                Some(Err(invalid)) => return wrong(format!("{key} cannot be read: {invalid}")),
                None => drop(self.known.remove(&key)),
            }
        }
        self.revision = revision;
        self.updates += 1;
        let there: BTreeMap<String, Object> = from
            .machine
            .machine
            .read(|state| view::snapshot(state, &self.view).into_iter().map(|object| (object.key(), object)).collect());
        // An event that is not kept any more is not taken back from those who were told of it.
        let events = matches!(self.view, View::Events(_));
        let counts = |key: &str| !events || there.contains_key(key);
        let differs = |key: &&String| counts(key) && there.get(*key) != self.known.get(*key);
        if let Some(key) = there.keys().chain(self.known.keys()).find(differs) {
            return wrong(format!("at revision {revision} it believes something else of {key} than is so"));
        }
        Ok(())
    }
}
