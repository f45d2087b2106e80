//! Which containers share a shim.
//!
//! A shim is a process for each container, and starting it and running it is a fifth of the work of a start. Containers
//! that are made in one burst may share one; containerd gives them the same one when they carry the same annotation.
//! A shim that is killed takes all of its containers with it, so they are few, of one kin, and other shims have the
//! rest. A shim ends with its last container, so nobody joins one that a container has left: it may be about to end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What the shim of `io.containerd.runc.v2` reads.
pub(crate) const ANNOTATION: &str = "io.containerd.runc.v2.group";
/// The most containers that one shim has.
const SIZE_MAX: usize = 8;
/// A shim is joined so long after its first container was begun.
const OPEN: Duration = Duration::from_secs(2);

/// The shims that may still be joined, by kin.
#[derive(Debug)]
pub(crate) struct Shims {
    /// A shim makes one container after the other, so this many are made side by side before one is shared.
    width: usize,
    /// Tells the shims of one agent's life from those of another.
    prefix: String,
    /// Shims begun so far.
    begun: u64,
    open: BTreeMap<String, Vec<Shim>>,
}

#[derive(Debug)]
struct Shim {
    name: String,
    since: Instant,
    containers: Vec<String>,
}

impl Shims {
    /// For a machine with so many cores. The prefix is a word that nobody used before.
    pub(crate) fn new(cores: usize, prefix: impl Into<String>) -> Self {
        Self { width: (2 * cores).clamp(4, 16), prefix: prefix.into(), begun: 0, open: BTreeMap::new() }
    }

    /// The shim for a container that is about to be made. Each container joins at most once.
    pub(crate) fn join(&mut self, kin: &str, id: &str, now: Instant) -> String {
        self.keep(|shim| shim.containers.len() < SIZE_MAX && now.duration_since(shim.since) < OPEN);
        let shims = self.open.entry(kin.to_owned()).or_default();
        if shims.len() >= self.width
            && let Some(emptiest) = shims.iter_mut().min_by_key(|shim| shim.containers.len())
        {
            emptiest.containers.push(id.to_owned());
            return emptiest.name.clone();
        }
        self.begun += 1;
        let name = format!("{}-{}", self.prefix, self.begun);
        shims.push(Shim { name: name.clone(), since: now, containers: vec![id.to_owned()] });
        name
    }

    /// A container is about to be removed: nobody joins its shim any more.
    pub(crate) fn leave(&mut self, id: &str) {
        self.keep(|shim| !shim.containers.iter().any(|container| container == id));
    }

    fn keep(&mut self, suits: impl Fn(&Shim) -> bool) {
        for shims in self.open.values_mut() {
            shims.retain(&suits);
        }
        self.open.retain(|_, shims| !shims.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn burst(shims: &mut Shims, kin: &str, ids: std::ops::Range<usize>, now: Instant) -> BTreeMap<String, usize> {
        let mut sizes = BTreeMap::new();
        for id in ids {
            *sizes.entry(shims.join(kin, &format!("{kin}{id}"), now)).or_default() += 1;
        }
        sizes
    }

    #[test]
    fn a_few_containers_have_a_shim_each_and_a_burst_shares_shims_that_stay_small() {
        let now = Instant::now();
        let mut shims = Shims::new(2, "shim");
        assert_eq!(burst(&mut shims, "a", 0..4, now).len(), 4);
        let sizes = burst(&mut Shims::new(2, "shim"), "a", 0..50, now);
        assert_eq!(sizes.values().sum::<usize>(), 50);
        assert!(sizes.values().all(|size| *size <= SIZE_MAX), "{sizes:?}");
        assert!((7..=8).contains(&sizes.len()), "{sizes:?}");
    }

    #[test]
    fn only_one_kin_shares_and_only_for_a_moment() {
        let now = Instant::now();
        let mut shims = Shims::new(2, "shim");
        let first = burst(&mut shims, "a", 0..6, now);
        let other = burst(&mut shims, "b", 0..6, now);
        let later = burst(&mut shims, "a", 6..12, now + OPEN);
        for (one, two) in [(&first, &other), (&first, &later), (&other, &later)] {
            assert!(one.keys().all(|name| !two.contains_key(name)), "{one:?} {two:?}");
        }
    }

    #[test]
    fn a_shim_that_a_container_left_is_not_joined() {
        let now = Instant::now();
        let mut shims = Shims::new(2, "shim");
        let left: Vec<String> = (0..4).map(|id| shims.join("a", &id.to_string(), now)).collect();
        shims.leave("1");
        for id in std::iter::once(1).chain(4..20) {
            assert_ne!(shims.join("a", &id.to_string(), now), left[1]);
        }
        assert_eq!(shims.open.values().flatten().filter(|shim| shim.name == left[1]).count(), 0);
    }
}
