//! Watchers, which go from member to member and compare what they were told with what there is.

use crate::chance::Chance;
use crate::host::Running;
use crate::trace::hash_of;
use crate::violation::{Check, Violation};
use orlop_control::seam::Cursor;
use orlop_model::{Revision, View};
use orlop_proto::watch::v1 as pb;
use orlop_state::view;
use prost::Message;
use std::collections::BTreeMap;

/// Messages are of about so many bytes: few, so that most updates come in several.
const MESSAGE_BYTES: usize = 300;

pub(crate) struct Watcher {
    view: View,
    /// What it was told, by key: a hash of the object.
    known: BTreeMap<String, u64>,
    revision: Revision,
    /// The stream it reads, and the process that it comes from.
    stream: Option<(u64, u64, Cursor)>,
    /// Updates of which each was read to its end.
    pub(crate) updates: u64,
    pub(crate) resumed: u64,
}

impl Watcher {
    pub(crate) fn new(view: View) -> Self {
        Self { view, known: BTreeMap::new(), revision: Revision(0), stream: None, updates: 0, resumed: 0 }
    }

    /// Where it reads now: a host, and which of its processes.
    pub(crate) fn reads(&self) -> Option<(u64, u64)> {
        self.stream.as_ref().map(|(host, process, _)| (*host, *process))
    }

    /// Goes to a member, and says what it has seen.
    pub(crate) fn go_to(&mut self, host: u64, process: u64) {
        self.stream = Some((host, process, Cursor::new(self.view.clone(), Some(self.revision))));
    }

    pub(crate) fn leave(&mut self) {
        self.stream = None;
    }

    /// Reads what there is. The stream may break in the middle of an update, which counts for nothing then.
    pub(crate) fn read(&mut self, from: &Running, chance: &mut Chance) -> Result<(), Violation> {
        let Some((host, _, cursor)) = &mut self.stream else { return Ok(()) };
        let host = *host;
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
        let revision = Revision(last.revision);
        if revision < self.revision {
            return wrong(format!("it had seen revision {}, and is told of {revision}", self.revision));
        }
        if last.snapshot {
            self.known.clear();
        } else {
            self.resumed += 1;
        }
        for pb::Change { key, object } in parts.into_iter().flat_map(|part| part.changes) {
            match object {
                Some(object) => drop(self.known.insert(key, hash(&object))),
                None => drop(self.known.remove(&key)),
            }
        }
        self.revision = revision;
        self.updates += 1;
        let there: BTreeMap<String, u64> = from.machine.machine.read(|state| {
            let objects = view::snapshot(state, &self.view);
            objects.iter().map(|object| (object.key(), hash(&object.into()))).collect()
        });
        // An event that is not kept any more is not taken back from those who were told of it.
        let events = matches!(self.view, View::Events(_));
        let differs = |key: &&String| there.get(*key) != self.known.get(*key) && !(events && !there.contains_key(*key));
        if let Some(key) = there.keys().chain(self.known.keys()).find(differs) {
            return wrong(format!("at revision {revision} it believes something else of {key} than is so"));
        }
        Ok(())
    }
}

fn hash(object: &pb::change::Object) -> u64 {
    let change = pb::Change { key: String::new(), object: Some(object.clone()) };
    hash_of(&change.encode_to_vec())
}
