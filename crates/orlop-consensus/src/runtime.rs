//! What the protocol runs on: tokio, with a source of chance that a simulation can fix.
//!
//! Everything here waits with selects that prefer in a fixed order, and watched values wake those who wait for them in the
//! order in which they came ([`crate::watch`]); so on a current-thread runtime with paused time nothing but chance is left to
//! vary: the time of elections and the phase of the clock's ticks.

use openraft::AsyncRuntime;
use openraft::impls::TokioRuntime;
use rand_openraft::rngs::SmallRng;
use rand_openraft::{Rng, SeedableRng};
use std::cell::Cell;
use std::future::Future;
use std::time::Duration;

thread_local! {
    static SEED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Makes the chance of all members that run on this thread, from now on, a function of the seed; `None` gives it back to
/// the system.
pub fn fix_chance(seed: Option<u64>) {
    SEED.set(seed);
}

/// The next number of a fixed chance (SplitMix64: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number
/// Generators", 2014), or one of the system's.
fn chance() -> u64 {
    match SEED.get() {
        None => rand_openraft::rng().next_u64(),
        Some(seed) => {
            let next = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            SEED.set(Some(next));
            let mixed = (next ^ (next >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        }
    }
}

/// Tokio but for its chance.
#[derive(Debug)]
pub(crate) struct Runtime(TokioRuntime);

impl AsyncRuntime for Runtime {
    type JoinError = <TokioRuntime as AsyncRuntime>::JoinError;
    type JoinHandle<T: Send + 'static> = <TokioRuntime as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <TokioRuntime as AsyncRuntime>::Sleep;
    type Instant = <TokioRuntime as AsyncRuntime>::Instant;
    type TimeoutError = <TokioRuntime as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + Send> = <TokioRuntime as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = SmallRng;
    type Mpsc = <TokioRuntime as AsyncRuntime>::Mpsc;
    type Watch = crate::watch::Watch;
    type Oneshot = <TokioRuntime as AsyncRuntime>::Oneshot;
    type Mutex<T: Send + 'static> = <TokioRuntime as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + Send + 'static,
        T::Output: Send + 'static,
    {
        TokioRuntime::spawn(future)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        TokioRuntime::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        TokioRuntime::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + Send>(duration: Duration, future: F) -> Self::Timeout<R, F> {
        TokioRuntime::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + Send>(deadline: Self::Instant, future: F) -> Self::Timeout<R, F> {
        TokioRuntime::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        TokioRuntime::is_panic(join_error)
    }

    fn thread_rng() -> SmallRng {
        SmallRng::seed_from_u64(chance())
    }

    fn new(threads: usize) -> Self {
        Self(TokioRuntime::new(threads))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_chance_is_a_function_of_the_seed() {
        let some = |seed| {
            fix_chance(Some(seed));
            let numbers: Vec<u64> = (0..8).map(|_| Runtime::thread_rng().next_u64()).collect();
            fix_chance(None);
            numbers
        };
        assert_eq!(some(7), some(7));
        assert_ne!(some(7), some(8));
        assert_ne!(Runtime::thread_rng().next_u64(), Runtime::thread_rng().next_u64());
    }
}
