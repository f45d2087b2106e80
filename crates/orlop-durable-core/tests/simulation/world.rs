//! Everything in one thread, in an order that the seed decides.

use crate::Check;
use crate::client::Clients;
use crate::driver::Life;
use crate::said::Said;
use crate::store::Store;
use crate::worker::Worker;
use orlop_durable_core::{Engine, Options, Recovered};
use orlop_history::chance::Chance;
use orlop_model::{Millis, Timestamp};
use std::collections::BTreeMap;

/// So much happens before everything is made whole.
const STEPS: usize = 250;

/// What is wrong with the driver, or the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutation {
    None,
    /// What is said is said before it is written.
    SpeaksEarly,
    /// A frame under an old fence is taken for one of who holds the run or the task.
    IgnoresFences,
    /// The engine dies, and with it the last transaction that was committed.
    LosesCommit,
    /// Rows that are wanted are not read.
    ForgetsReads,
}

/// All there is.
pub(crate) struct World {
    pub(crate) aloud: bool,
    /// How often what was done.
    pub(crate) done: BTreeMap<&'static str, u64>,
    pub(crate) chance: Chance,
    pub(crate) mutation: Mutation,
    /// So many of a thousand steps are faults.
    faults: u64,
    pub(crate) now: Timestamp,
    pub(crate) store: Store,
    /// The store before the last transaction, for one that loses it.
    pub(crate) before: Option<Store>,
    pub(crate) life: Life,
    pub(crate) said: Said,
    pub(crate) workers: Vec<Worker>,
    pub(crate) clients: Clients,
    pub(crate) streams: u128,
}

impl World {
    pub(crate) fn new(seed: u64, mutation: Mutation) -> Self {
        let mut chance = Chance::new(seed);
        let faults = chance.pick(&[0, 20, 60, 150]).unwrap_or_default();
        let workers = (0..chance.between(1, 3) as usize).map(|number| Worker::new(number, &mut chance)).collect();
        let engine = Engine::new(Options::default(), Recovered::default(), Timestamp(0));
        let mut world = Self {
            aloud: false,
            done: BTreeMap::new(),
            chance,
            mutation,
            faults,
            now: Timestamp(1_000_000),
            store: Store::default(),
            before: None,
            life: Life::of(engine),
            said: Said::default(),
            workers,
            clients: Clients::default(),
            streams: 0,
        };
        world.life = world.new_life();
        world
    }

    pub(crate) fn tell(&self, what: impl FnOnce() -> String) {
        if self.aloud {
            eprintln!("{} {}", self.now.0, what());
        }
    }

    pub(crate) fn did(&mut self, what: &'static str) {
        *self.done.entry(what).or_default() += 1;
    }

    /// A whole schedule: faults, and then none, until all is over.
    pub(crate) fn live(&mut self) -> Check {
        for _ in 0..STEPS {
            self.step()?;
        }
        self.rest()
    }

    fn step(&mut self) -> Check {
        if self.chance.per_mille(self.faults) {
            return self.fault();
        }
        let number = self.chance.below(self.workers.len());
        match self.chance.below(100) {
            0..22 => {
                let most = self.chance.between(1, 8) as usize;
                self.take(most)?;
            }
            22..38 => {
                let most = self.chance.between(1, 4) as usize;
                self.commit(most)?;
            }
            38..50 => {
                self.read();
            }
            50..64 => self.worker_hears(number)?,
            64..72 => {
                let most = self.chance.between(1, 6);
                for _ in 0..most {
                    self.carry(number);
                }
            }
            72..82 => self.worker_works(number),
            82..92 => self.client_acts(),
            92..95 => self.misbehave(number),
            _ => self.time_passes(),
        }
        Ok(())
    }

    fn time_passes(&mut self) {
        let deadline = self.life.engine.next_deadline().filter(|at| *at > self.now);
        let most = self.chance.pick(&[10, 1000, 20_000]).unwrap_or_default();
        let jump = self.now + Millis(self.chance.between(1, most));
        self.now = deadline.filter(|_| self.chance.per_mille(500)).unwrap_or(jump);
        self.did("time passed");
    }

    fn fault(&mut self) -> Check {
        let number = self.chance.below(self.workers.len());
        match self.chance.below(100) {
            0..20 => self.crash()?,
            20..55 => self.break_stream(number),
            55..65 => self.worker_leaves(number),
            _ => self.misbehave(number),
        }
        Ok(())
    }

    fn misbehave(&mut self, number: usize) {
        let what = if self.faults > 0 { self.workers[number].misbehave(&mut self.chance) } else { None };
        what.into_iter().for_each(|what| self.did(what));
    }
}
