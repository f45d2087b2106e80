//! What changed lately, so that watchers hear of it.
//!
//! There are no queues per watcher. The ring names what each revision changed; a watcher is a cursor, and when it is ready
//! for more, what changed since its cursor is projected from the *present* state. A slow watcher so gets the outcome of
//! many changes at once, and one that was away resumes if the ring still reaches back, or else gets a snapshot.

use orlop_model::trust::{SecretName, SecretValue};
use orlop_model::{Object, Revision, View};
use orlop_proto::watch::v1 as pb;
use orlop_state::{Entity, State, view};
use prost::Message;
use std::collections::{BTreeSet, VecDeque};

/// The entities that the latest revisions changed.
#[derive(Debug)]
pub(crate) struct Ring {
    /// Everything after this revision is in the ring.
    floor: Revision,
    entries: VecDeque<(Revision, Entity)>,
    capacity: usize,
}

impl Ring {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { floor: Revision(0), entries: VecDeque::new(), capacity }
    }

    /// Forgets everything: the state was replaced by another one.
    pub(crate) fn reset(&mut self, floor: Revision) {
        self.entries.clear();
        self.floor = floor;
    }

    pub(crate) fn push(&mut self, revision: Revision, changed: Vec<Entity>) {
        self.entries.extend(changed.into_iter().map(|entity| (revision, entity)));
        while self.entries.len() > self.capacity {
            if let Some((revision, _)) = self.entries.pop_front() {
                self.floor = revision;
            }
        }
    }

    /// What changed after a revision, each once; `None` when the ring does not reach back so far.
    fn since(&self, revision: Revision) -> Option<BTreeSet<&Entity>> {
        if revision < self.floor {
            return None;
        }
        let first = self.entries.partition_point(|(at, _)| *at <= revision);
        Some(self.entries.range(first..).map(|(_, entity)| entity).collect())
    }
}

/// A revision is passed on to views that it did not concern after so many of them.
const SILENT_REVISIONS_MAX: u64 = 1_000;

/// How far one watcher is.
#[derive(Debug)]
pub struct Cursor {
    view: View,
    /// Up to here the watcher has everything; `None` when it has nothing that can be built on.
    at: Option<Revision>,
    /// The last revision it was told; `None` before the first message.
    told: Option<Revision>,
}

/// What a watcher is to be told, as one update.
#[derive(Debug)]
pub struct Update {
    revision: Revision,
    cluster: String,
    snapshot: bool,
    changes: VecDeque<(String, Option<Object>)>,
    sent: bool,
}

impl Cursor {
    /// A watcher that has seen everything up to `since` of the same cluster, if anything.
    pub fn new(view: View, since: Option<Revision>) -> Self {
        Self { view, at: since.filter(|since| *since > Revision(0)), told: None }
    }

    /// Catches up; `None` when there is nothing to tell. Nothing is told either while this member is not as far as the
    /// watcher is, who comes from another one: what it has seen would be taken back.
    pub(crate) fn advance(&mut self, state: &State, ring: &Ring) -> Option<Update> {
        let now = state.revision();
        if self.at > Some(now) {
            return None;
        }
        let cluster = || state.cluster().map(|id| id.to_string()).unwrap_or_default();
        let changed = self.at.and_then(|at| ring.since(at));
        let (snapshot, changes): (bool, VecDeque<_>) = match changed {
            Some(entities) => {
                (false, entities.into_iter().filter_map(|entity| view::project(state, &self.view, entity)).collect())
            }
            None => {
                let objects = view::snapshot(state, &self.view);
                (true, objects.into_iter().map(|object| (object.key(), Some(object))).collect())
            }
        };
        self.at = Some(now);
        let worth_telling = match self.told {
            None => true,
            Some(told) => {
                let each = matches!(self.view, View::Scheduler | View::Operator(_)) && told != now;
                snapshot || !changes.is_empty() || each || now.0 - told.0.min(now.0) >= SILENT_REVISIONS_MAX
            }
        };
        if !worth_telling {
            return None;
        }
        self.told = Some(now);
        Some(Update { revision: now, cluster: cluster(), snapshot, changes, sent: false })
    }
}

impl Update {
    /// Gives assignments the values of the secrets that they name, as far as there are any.
    pub(crate) fn reveal(&mut self, mut open: impl FnMut(&SecretName) -> Option<SecretValue>) {
        for (_, object) in &mut self.changes {
            if let Some(Object::Assignment(assignment)) = object {
                let named = assignment.workload.secrets();
                assignment.secrets = named.into_iter().filter_map(|name| Some((name.clone(), open(name)?))).collect();
            }
        }
    }

    /// The next part, of about `bytes_max` at most, or of one object; `None` when all of it was given.
    pub fn part(&mut self, bytes_max: usize) -> Option<pb::WatchResponse> {
        if self.sent && self.changes.is_empty() {
            return None;
        }
        self.sent = true;
        let (mut changes, mut bytes) = (Vec::new(), 0);
        while let Some((key, object)) = self.changes.pop_front() {
            let change = pb::Change { key, object: object.as_ref().map(Into::into) };
            bytes += change.encoded_len();
            changes.push(change);
            if bytes >= bytes_max {
                break;
            }
        }
        Some(pb::WatchResponse {
            revision: self.revision.0,
            cluster: self.cluster.clone(),
            snapshot: self.snapshot,
            changes,
            more: !self.changes.is_empty(),
        })
    }
}
