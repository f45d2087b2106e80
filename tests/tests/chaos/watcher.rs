//! Watchers of the operators' view, who go on by revision wherever a stream ended, and what they were told.

use crate::client::register;
use crate::record::{KEYS, Known};
use orlop_client::Calls;
use orlop_proto::watch::v1 as pb;
use pb::change::Object;
use pb::watch_service_client::WatchServiceClient;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Before a stream that ended is opened again.
const AGAIN: Duration = Duration::from_millis(50);
/// A member that is stopped says nothing; it is left after so long without a word, as no revision is for so long.
const SILENCE: Duration = Duration::from_secs(3);

/// What one watcher was told, by revision.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    pub(crate) updates: Vec<Update>,
    /// Streams that went on from what was known.
    pub(crate) resumed: u64,
}

/// An update that was read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Update {
    pub(crate) revision: u64,
    pub(crate) snapshot: bool,
    pub(crate) values: Vec<(usize, u64)>,
    /// Keys that were said to be gone.
    pub(crate) gone: usize,
}

pub(crate) struct Watcher {
    pub(crate) name: String,
    /// One after the other.
    pub(crate) members: Vec<WatchServiceClient<Calls>>,
    pub(crate) told: Arc<Mutex<Told>>,
}

impl Watcher {
    pub(crate) async fn run(self, stop: CancellationToken) {
        let (mut cluster, mut since, mut turn) = (String::new(), 0, 0);
        while !stop.is_cancelled() {
            let mut member = self.members[turn % self.members.len()].clone();
            turn += 1;
            tokio::select! {
                () = self.stream(&mut member, &mut cluster, &mut since) => {}
                () = stop.cancelled() => return,
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Reads one stream to its end.
    async fn stream(&self, member: &mut WatchServiceClient<Calls>, cluster: &mut String, since: &mut u64) {
        let kind = pb::view::Kind::Operator(pb::OperatorView { deployment: String::new() });
        let request =
            pb::WatchRequest { view: Some(pb::View { kind: Some(kind) }), since: *since, cluster: cluster.clone() };
        let Ok(Ok(answer)) = tokio::time::timeout(SILENCE, member.watch(request)).await else { return };
        let mut stream = answer.into_inner();
        let mut update = Update { revision: 0, snapshot: false, values: Vec::new(), gone: 0 };
        let mut first = true;
        while let Ok(Ok(Some(message))) = tokio::time::timeout(SILENCE, stream.message()).await {
            for change in message.changes {
                match change.object {
                    Some(Object::Service(service)) => update.values.extend(register(&service)),
                    Some(_) => {}
                    None => update.gone += usize::from(change.key.starts_with("service/key-")),
                }
            }
            if message.more {
                continue;
            }
            (update.revision, update.snapshot) = (message.revision, message.snapshot);
            *since = message.revision;
            *cluster = message.cluster;
            let mut told = self.told.lock().expect("no panic");
            told.resumed += u64::from(first && !update.snapshot);
            first = false;
            let empty = Update { revision: 0, snapshot: false, values: Vec::new(), gone: 0 };
            told.updates.push(std::mem::replace(&mut update, empty));
        }
    }
}

/// Does what a watcher was told fit what clients know, at each revision that it was told of?
pub(crate) fn check(told: &Told, known: &Known) -> Result<(), String> {
    let (mut believed, mut revision) = (BTreeMap::new(), 0);
    for update in &told.updates {
        if update.revision < revision {
            return Err(format!("was told of revision {} after {revision}: {update:?}", update.revision));
        }
        revision = update.revision;
        if update.snapshot {
            believed.clear();
        }
        if update.gone > 0 {
            return Err(format!("was told at revision {revision} that a service is gone, and none was stopped"));
        }
        believed.extend(update.values.iter().copied());
        for key in 0..KEYS {
            let Some(value) = believed.get(&key) else {
                return Err(format!("knows nothing of key {key} at revision {revision}"));
            };
            if let Err(expected) = known.allows(key, revision, *value) {
                return Err(format!("believes at revision {revision} that key {key} is {value}, and it is {expected}"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Did, Heard};

    #[test]
    fn a_watcher_that_misses_a_change_or_goes_back_is_found() {
        let write = |key, value, revision| Did {
            key,
            write: Some(value),
            called: 0,
            heard: Some(Heard { at: 1, told: 0, revision }),
            attempts: 1,
        };
        let known = Known::of(&[write(0, 5, 10), write(0, 6, 20), write(1, 3, 15)]).expect("places");
        let update =
            |revision, values: &[(usize, u64)]| Update { revision, snapshot: false, values: values.to_vec(), gone: 0 };
        let snapshot = Update { snapshot: true, ..update(9, &std::array::from_fn::<_, KEYS, _>(|key| (key, 0))) };
        let verdict = |updates: &[Update]| {
            let updates = std::iter::once(&snapshot).chain(updates).cloned().collect();
            check(&Told { updates, resumed: 0 }, &known)
        };
        assert_eq!(verdict(&[update(10, &[(0, 5)]), update(15, &[(1, 3)]), update(20, &[(0, 6)])]), Ok(()));
        assert_eq!(verdict(&[update(20, &[(0, 6), (1, 3)])]), Ok(()), "merged");
        for (updates, reason) in [
            (vec![update(10, &[(0, 5)]), update(20, &[(0, 6)])], "key 1 is 0, and it is 3"),
            (vec![update(15, &[(0, 5), (1, 3)]), update(10, &[])], "revision 10 after 15"),
            (vec![update(10, &[(0, 6)])], "key 0 is 6, and it is 5"),
            (vec![Update { snapshot: true, ..update(10, &[(0, 5)]) }], "nothing of key 1"),
            (vec![Update { gone: 1, ..update(10, &[(0, 5)]) }], "is gone"),
        ] {
            assert!(verdict(&updates).is_err_and(|what| what.contains(reason)), "{reason}: {:?}", verdict(&updates));
        }
    }
}
