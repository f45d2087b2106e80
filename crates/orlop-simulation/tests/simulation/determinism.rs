//! A seed is a run.

use orlop_simulation::{Plan, run};

#[test]
fn a_seed_gives_the_same_run_again_event_for_event_also_on_another_thread() {
    let mut hashes = Vec::new();
    for seed in 0..12 {
        let first = run(Plan::new(seed));
        let again = run(Plan::new(seed));
        assert_eq!(first, again, "seed {seed}");
        let elsewhere = std::thread::spawn(move || run(Plan::new(seed))).join().unwrap();
        assert_eq!(first, elsewhere, "seed {seed} on another thread");
        hashes.push(first.hash);
    }
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), 12, "different seeds are different runs");
}
