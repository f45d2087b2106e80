//! A follower's copy of its view, and how messages change it. Pure.

use orlop_model::route::Route;
use orlop_model::service::Assignment;
use orlop_model::view::Object;
use orlop_model::{ClusterId, Node, Replica, Revision, ServiceState};
use orlop_proto::watch::v1 as pb;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A view at one revision, complete. Cloning is cheap per object: the objects are shared.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ViewState {
    /// The cluster it is of; none when nothing was ever seen.
    pub cluster: Option<ClusterId>,
    /// The revision it has reached; 0 when nothing was ever seen.
    pub revision: Revision,
    /// The objects by their [keys](Object::key).
    pub objects: BTreeMap<Arc<str>, Arc<Object>>,
    /// Is the control plane connected, and had everything arrived when this was published? When not, this is what was
    /// last known.
    pub live: bool,
}

impl ViewState {
    /// Was anything ever seen? An empty view that was seen says that there is nothing; one that was not, says nothing.
    pub fn is_known(&self) -> bool {
        self.cluster.is_some()
    }

    /// The services, in the order of their names.
    pub fn services(&self) -> impl Iterator<Item = &ServiceState> {
        self.objects.values().filter_map(|o| if let Object::Service(service) = &**o { Some(service) } else { None })
    }

    /// The replicas, in the order of their ids.
    pub fn replicas(&self) -> impl Iterator<Item = &Replica> {
        self.objects.values().filter_map(|o| if let Object::Replica(replica) = &**o { Some(replica) } else { None })
    }

    /// The nodes, in the order of their ids.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.objects.values().filter_map(|o| if let Object::Node(node) = &**o { Some(node) } else { None })
    }

    /// The assignments, in the order of their replicas' ids.
    pub fn assignments(&self) -> impl Iterator<Item = &Assignment> {
        self.objects.values().filter_map(|o| if let Object::Assignment(a) = &**o { Some(a) } else { None })
    }

    /// The routes, in the order of their services' names.
    pub fn routes(&self) -> impl Iterator<Item = &Route> {
        self.objects.values().filter_map(|o| if let Object::Route(route) = &**o { Some(route) } else { None })
    }

    /// Takes in a whole update. Returns whether the view changed in a way that its owner should know.
    pub(crate) fn take(&mut self, update: Update) -> Result<Taken, OutOfStep> {
        if !update.snapshot {
            match self.cluster {
                Some(cluster) if cluster == update.cluster => {}
                Some(cluster) => return Err(OutOfStep::Cluster { here: cluster, there: update.cluster }),
                None => return Err(OutOfStep::NoSnapshot),
            }
            if update.revision < self.revision {
                return Err(OutOfStep::Backwards { here: self.revision, there: update.revision });
            }
        }
        let mut invalid = Vec::new();
        // What a snapshot does not name is gone; what it names wrongly stays as it was.
        let before = if update.snapshot { std::mem::take(&mut self.objects) } else { BTreeMap::new() };
        let mut changed = !self.live || self.cluster != Some(update.cluster);
        // Objects of another cluster are no good values to stay with.
        let stay = self.cluster == Some(update.cluster);
        for change in update.changes {
            let key = change.key;
            let object = match change.object.map(|object| decode(&key, object)) {
                None => {
                    changed |= self.objects.remove(key.as_str()).is_some();
                    continue;
                }
                Some(Ok(object)) => Arc::new(object),
                Some(Err(problem)) => {
                    let last_good = before.get(key.as_str()).filter(|_| stay).cloned();
                    invalid.push(format!("{key}: {problem}"));
                    match last_good {
                        Some(last_good) => last_good,
                        None => continue,
                    }
                }
            };
            let old = if update.snapshot { before.get(key.as_str()) } else { self.objects.get(key.as_str()) };
            match old {
                // The same value: the allocation that others may hold is kept.
                Some(old) if **old == *object => {
                    if update.snapshot {
                        self.objects.insert(key.into(), old.clone());
                    }
                }
                _ => {
                    changed = true;
                    self.objects.insert(key.into(), object);
                }
            }
        }
        changed |= before.keys().any(|key| !self.objects.contains_key(key));
        changed |= self.revision != update.revision;
        self.cluster = Some(update.cluster);
        self.revision = update.revision;
        self.live = true;
        Ok(Taken { changed, invalid })
    }
}

/// What an update did.
#[derive(Debug, PartialEq)]
pub(crate) struct Taken {
    pub(crate) changed: bool,
    /// Objects that could not be understood, each with its key and the reason; their last good values stay.
    pub(crate) invalid: Vec<String>,
}

/// An update that does not follow what is here: everything must be asked for again.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum OutOfStep {
    #[error("changes of cluster {there} came to a view of cluster {here}")]
    Cluster { here: ClusterId, there: ClusterId },
    #[error("changes came before any snapshot")]
    NoSnapshot,
    #[error("changes up to revision {there} came to a view at revision {here}")]
    Backwards { here: Revision, there: Revision },
    #[error("{0:?} is no cluster")]
    NoCluster(String),
}

/// One update, put together from its parts.
#[derive(Debug)]
pub(crate) struct Update {
    pub(crate) cluster: ClusterId,
    pub(crate) revision: Revision,
    pub(crate) snapshot: bool,
    pub(crate) changes: Vec<pb::Change>,
}

/// Puts messages together until an update is whole.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    changes: Vec<pb::Change>,
}

impl Parts {
    pub(crate) fn add(&mut self, message: pb::WatchResponse) -> Result<Option<Update>, OutOfStep> {
        if self.changes.is_empty() {
            self.changes = message.changes;
        } else {
            self.changes.extend(message.changes);
        }
        if message.more {
            return Ok(None);
        }
        let cluster = message.cluster.parse().map_err(|_| OutOfStep::NoCluster(message.cluster))?;
        let changes = std::mem::take(&mut self.changes);
        Ok(Some(Update { cluster, revision: Revision(message.revision), snapshot: message.snapshot, changes }))
    }
}

fn decode(key: &str, object: pb::change::Object) -> Result<Object, String> {
    let object = Object::try_from(object).map_err(|e| e.to_string())?;
    let expected = object.key();
    if expected == key { Ok(object) } else { Err(format!("it is {expected}")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{cluster, node};

    fn change(number: u128, version: &str) -> pb::Change {
        let object = Object::Node(node(number, version));
        pb::Change { key: object.key(), object: Some((&object).into()) }
    }

    fn gone(number: u128) -> pb::Change {
        pb::Change { object: None, ..change(number, "") }
    }

    fn invalid(number: u128) -> pb::Change {
        let Some(pb::change::Object::Node(node)) = change(number, "v").object else { panic!() };
        let node = orlop_proto::cluster::v1::Node { subnet: "nonsense".into(), ..node };
        pb::Change { object: Some(pb::change::Object::Node(node)), ..change(number, "") }
    }

    fn update(revision: u64, snapshot: bool, changes: Vec<pb::Change>) -> Update {
        Update { cluster: cluster(1), revision: Revision(revision), snapshot, changes }
    }

    fn versions(view: &ViewState) -> Vec<(u128, String)> {
        view.nodes().map(|node| (node.id.as_u128(), node.version.clone())).collect()
    }

    fn owned(pairs: &[(u128, &str)]) -> Vec<(u128, String)> {
        pairs.iter().map(|(number, version)| (*number, (*version).to_owned())).collect()
    }

    #[test]
    fn changes_add_replace_and_remove_and_a_snapshot_forgets_the_rest() {
        let mut view = ViewState::default();
        assert!(view.take(update(3, true, vec![change(1, "a"), change(2, "a")])).unwrap().changed);
        assert!(view.live && view.is_known() && view.revision == Revision(3));
        assert!(view.take(update(5, false, vec![change(2, "b"), gone(1), change(3, "a")])).unwrap().changed);
        assert_eq!(versions(&view), owned(&[(2, "b"), (3, "a")]));
        assert!(view.take(update(9, true, vec![change(3, "a"), change(4, "a")])).unwrap().changed);
        assert_eq!(versions(&view), owned(&[(3, "a"), (4, "a")]));
    }

    #[test]
    fn the_same_again_is_no_change_and_equal_objects_stay_the_ones_that_others_hold() {
        let mut view = ViewState::default();
        view.take(update(3, true, vec![change(1, "a")])).unwrap();
        let before = view.clone();
        for next in [
            update(3, true, vec![change(1, "a")]),
            update(3, false, vec![]),
            update(3, false, vec![change(1, "a")]),
            update(3, false, vec![gone(7)]),
        ] {
            let taken = view.take(next).unwrap();
            assert!(!taken.changed, "{taken:?}");
            assert_eq!(view, before);
        }
        assert!(view.take(update(4, false, vec![])).unwrap().changed, "a step of the revision is worth a nudge");
        let same = |view: &ViewState| Arc::as_ptr(view.objects.values().next().unwrap());
        assert_eq!(same(&view), same(&before), "an equal object replaced the one that others hold");
        view.live = false;
        assert!(view.take(update(4, false, vec![])).unwrap().changed, "being live again is worth a nudge");
    }

    #[test]
    fn an_invalid_object_keeps_the_last_good_one_in_changes_and_in_snapshots() {
        let mut view = ViewState::default();
        view.take(update(3, true, vec![change(1, "a"), change(2, "a")])).unwrap();
        let taken = view.take(update(4, false, vec![invalid(1), change(2, "b")])).unwrap();
        assert!(taken.changed && taken.invalid.len() == 1 && taken.invalid[0].contains("subnet"), "{taken:?}");
        assert_eq!(versions(&view), owned(&[(1, "a"), (2, "b")]));
        view.take(update(5, true, vec![invalid(1), invalid(9)])).unwrap();
        assert_eq!(versions(&view), owned(&[(1, "a")]));
        let mut misnamed = change(1, "c");
        misnamed.key = "node/other".into();
        assert_eq!(view.take(update(6, false, vec![misnamed])).unwrap().invalid.len(), 1);
        assert_eq!(versions(&view), owned(&[(1, "a")]));
    }

    #[test]
    fn another_cluster_needs_a_snapshot_and_leaves_nothing_of_the_first() {
        let mut view = ViewState::default();
        assert_eq!(view.take(update(1, false, vec![])), Err(OutOfStep::NoSnapshot));
        view.take(update(3, true, vec![change(1, "a")])).unwrap();
        assert_eq!(
            view.take(update(2, false, vec![])),
            Err(OutOfStep::Backwards { here: Revision(3), there: Revision(2) })
        );
        let other = |snapshot, changes| Update { cluster: cluster(2), revision: Revision(9), snapshot, changes };
        assert!(matches!(view.take(other(false, vec![])), Err(OutOfStep::Cluster { .. })));
        assert_eq!(versions(&view), owned(&[(1, "a")]), "a refused update left traces");
        let taken = view.take(other(true, vec![invalid(1), change(2, "a")])).unwrap();
        assert!(taken.changed);
        assert_eq!(versions(&view), owned(&[(2, "a")]), "an object of the first cluster stayed");
    }

    #[test]
    fn parts_are_put_together_before_anything_is_used() {
        let mut parts = Parts::default();
        let message = |changes, more| pb::WatchResponse {
            revision: 8,
            cluster: cluster(1).to_string(),
            snapshot: true,
            changes,
            more,
        };
        assert!(parts.add(message(vec![change(1, "a")], true)).unwrap().is_none());
        assert!(parts.add(message(vec![change(2, "a")], true)).unwrap().is_none());
        let whole = parts.add(message(vec![change(3, "a")], false)).unwrap().unwrap();
        assert_eq!((whole.changes.len(), whole.revision, whole.snapshot), (3, Revision(8), true));
        assert_eq!(parts.add(message(vec![], false)).unwrap().unwrap().changes.len(), 0);
    }
}
