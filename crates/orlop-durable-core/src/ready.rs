//! Tasks that wait for a worker, and who is next.
//!
//! Tasks of one function in one queue that ask for the same labels wait in one lane: any worker that may run one of them
//! may run all. Within a lane the class of a task is its priority, plus one for each [`AGEING`] that it has waited; the
//! greatest class goes first, within it fair keys take turns, and within a key the oldest goes first.

use orlop_model::durable::{Priority, QueueName};
use orlop_model::{Millis, TaskId, Timestamp};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A task that has waited so long counts as one priority higher.
pub(crate) const AGEING: Millis = Millis::from_secs(10);
/// So many keys are looked at for each task that is taken, beginning with the one whose turn it is.
const KEYS_LOOKED_AT: usize = 32;

/// What a worker must have to run the tasks of a lane.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LaneKey {
    pub(crate) queue: QueueName,
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
}

/// The tasks of a lane.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    keys: BTreeMap<String, BTreeSet<Place>>,
    turns: VecDeque<String>,
}

/// A task's place within its key. A priority is a head start of so many [`AGEING`]s, so that the order never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    rank: i64,
    task: TaskId,
}

impl Place {
    pub(crate) fn new(task: TaskId, priority: Priority, ready_since: Timestamp) -> Self {
        let head_start = i64::from(priority.get()) * AGEING.0 as i64;
        Self { rank: i64::try_from(ready_since.0).unwrap_or(i64::MAX).saturating_sub(head_start), task }
    }

    /// Greater is more urgent.
    fn class(self, now: Timestamp) -> i64 {
        (i64::try_from(now.0).unwrap_or(i64::MAX).saturating_sub(self.rank)).div_euclid(AGEING.0 as i64)
    }
}

impl Lane {
    pub(crate) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    pub(crate) fn insert(&mut self, fair_key: &str, place: Place) {
        if let Some(places) = self.keys.get_mut(fair_key) {
            places.insert(place);
        } else {
            self.keys.insert(fair_key.to_owned(), BTreeSet::from([place]));
            self.turns.push_back(fair_key.to_owned());
        }
    }

    pub(crate) fn remove(&mut self, fair_key: &str, place: Place) {
        let Some(places) = self.keys.get_mut(fair_key) else { return };
        places.remove(&place);
        if places.is_empty() {
            self.keys.remove(fair_key);
            self.turns.retain(|key| key != fair_key);
        }
    }

    /// Takes the task that is next.
    pub(crate) fn pop(&mut self, now: Timestamp) -> Option<TaskId> {
        let first = |key: &String| self.keys.get(key).and_then(|places| places.first().copied());
        let mut best: Option<(i64, usize)> = None;
        for (turn, key) in self.turns.iter().take(KEYS_LOOKED_AT).enumerate() {
            let class = first(key)?.class(now);
            if best.is_none_or(|(greatest, _)| class > greatest) {
                best = Some((class, turn));
            }
        }
        let key = self.turns.remove(best?.1)?;
        let places = self.keys.get_mut(&key)?;
        let place = places.pop_first()?;
        if places.is_empty() {
            self.keys.remove(&key);
        } else {
            self.turns.push_back(key);
        }
        Some(place.task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(number: u128, priority: i32, since: u64) -> Place {
        Place::new(TaskId::from_u128(number), Priority::new(priority).unwrap_or_default(), Timestamp(since))
    }

    fn order(lane: &mut Lane, now: u64) -> Vec<u128> {
        std::iter::from_fn(|| lane.pop(Timestamp(now))).map(|task| task.as_u128()).collect()
    }

    #[test]
    fn the_oldest_goes_first_and_priority_before_that() {
        let mut lane = Lane::default();
        for (number, priority, since) in [(1, 0, 100), (2, 0, 50), (3, 5, 120), (4, -1, 10)] {
            lane.insert("", place(number, priority, since));
        }
        assert_eq!(order(&mut lane, 130), [3, 2, 1, 4]);
    }

    #[test]
    fn who_has_waited_long_overtakes_a_higher_priority() {
        let mut lane = Lane::default();
        lane.insert("", place(1, 0, 0));
        lane.insert("", place(2, 3, 31_000));
        assert_eq!(order(&mut lane, 31_000), [1, 2]);
    }

    #[test]
    fn keys_take_turns() {
        let mut lane = Lane::default();
        for number in 1..=4 {
            lane.insert("many", place(number, 0, number as u64));
        }
        lane.insert("few", place(9, 0, 100));
        assert_eq!(order(&mut lane, 200), [1, 9, 2, 3, 4]);
    }

    #[test]
    fn an_urgent_task_does_not_wait_for_its_key_s_turn() {
        let mut lane = Lane::default();
        lane.insert("a", place(1, 0, 1));
        lane.insert("b", place(2, 1, 2));
        lane.insert("b", place(3, 0, 2));
        assert_eq!(order(&mut lane, 10), [2, 1, 3]);
    }

    #[test]
    fn what_is_removed_does_not_come() {
        let mut lane = Lane::default();
        lane.insert("a", place(1, 0, 1));
        lane.insert("b", place(2, 0, 2));
        lane.remove("a", place(1, 0, 1));
        lane.remove("c", place(1, 0, 1));
        assert_eq!(order(&mut lane, 10), [2]);
        assert!(lane.is_empty());
    }
}
