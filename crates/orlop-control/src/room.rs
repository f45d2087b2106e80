//! Room for things that stay open: so many in all, and of these only a share for any one holder, so that nobody takes all.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Room for a number of things. Cheap to clone.
#[derive(Debug)]
pub(crate) struct Rooms<K: Ord> {
    held: Arc<Mutex<Held<K>>>,
    max: usize,
    share: usize,
}

#[derive(Debug)]
struct Held<K: Ord> {
    all: usize,
    of: BTreeMap<K, usize>,
}

impl<K: Ord> Clone for Rooms<K> {
    fn clone(&self) -> Self {
        Self { held: self.held.clone(), max: self.max, share: self.share }
    }
}

/// Held as long as the thing is open.
#[derive(Debug)]
pub(crate) struct Room<K: Ord> {
    held: Arc<Mutex<Held<K>>>,
    holder: Option<K>,
}

impl<K: Ord + Clone> Rooms<K> {
    /// Room for `max`, and for a holder `share` of them; at least one each.
    pub(crate) fn new(max: usize, share: usize) -> Self {
        let held = Held { all: 0, of: BTreeMap::new() };
        Self { held: Arc::new(Mutex::new(held)), max: max.max(1), share: share.max(1) }
    }

    /// Room for one more; `None` when there is none. Who is no holder is not held to a share.
    pub(crate) fn take(&self, holder: Option<K>) -> Option<Room<K>> {
        let mut held = self.held.lock();
        if held.all >= self.max {
            return None;
        }
        if let Some(holder) = &holder {
            let own = held.of.get(holder).copied().unwrap_or(0);
            if own >= self.share {
                return None;
            }
            held.of.insert(holder.clone(), own + 1);
        }
        held.all += 1;
        Some(Room { held: self.held.clone(), holder })
    }
}

impl<K: Ord> Drop for Room<K> {
    fn drop(&mut self) {
        let mut held = self.held.lock();
        held.all -= 1;
        if let Some(holder) = &self.holder
            && let Some(own) = held.of.get_mut(holder)
        {
            *own -= 1;
            if *own == 0 {
                held.of.remove(holder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_leaves_room_for_others_and_what_is_given_back_is_taken_again() {
        let rooms = Rooms::new(5, 2);
        let mut taken: Vec<_> = ["a", "a", "b"].map(|holder| rooms.take(Some(holder)).expect("room")).into();
        assert!(rooms.take(Some("a")).is_none(), "it has its share");
        taken.push(rooms.take(None).expect("room"));
        taken.push(rooms.take(None).expect("room"));
        assert!(rooms.take(Some("c")).is_none() && rooms.take(None).is_none(), "all is taken");
        taken.remove(0);
        taken.push(rooms.take(Some("a")).expect("room"));
        drop(taken);
        assert_eq!(rooms.held.lock().all, 0);
        assert!(rooms.held.lock().of.is_empty(), "nobody is remembered who holds nothing");
    }
}
