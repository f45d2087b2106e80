//! A machine with a member of the control plane on it: a disk, clocks, and a process, which may die or stand still.
//!
//! Each process has a runtime of its own whose time is moved by the simulation, as in turmoil: dropping it is a crash, not
//! stepping it is SIGSTOP, and its clock may go faster or slower than others.

use crate::chance::Chance;
use crate::check::applied::AppliedLog;
use crate::disk::{Drive, Mounted};
use crate::machine::Recorder;
use crate::mutation::Mutation;
use crate::network::{Network, Packet};
use orlop_consensus::seam::Peer;
use orlop_consensus::{Consensus, Options, StartError};
use orlop_model::Timestamp;
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::runtime::Runtime;

/// A tick of the simulation.
pub(crate) const TICK: Duration = Duration::from_millis(5);

/// So many ticks are a second.
pub(crate) const SECOND: u64 = 200;

/// How members are set up in a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    pub(crate) snapshot_after: u64,
    pub(crate) keep: u64,
}

pub(crate) struct Host {
    pub(crate) id: u64,
    pub(crate) drive: Arc<Drive>,
    pub(crate) process: Option<Running>,
    /// How many processes there were.
    pub(crate) processes: u64,
    /// Until when it stands still.
    pub(crate) stopped_until: Option<u64>,
    /// When it stopped.
    stopped_at: u64,
    /// When it starts again by itself.
    pub(crate) starts_at: Option<u64>,
    /// What arrived while it stood still.
    inbox: Vec<Packet>,
    /// How long a tick is on its clock.
    rate: Duration,
    /// Its wall clock.
    pub(crate) wall: Arc<AtomicU64>,
    mutation: Option<Mutation>,
    /// Its disk failed while this process ran: it may have given up.
    pub(crate) disk_failed: bool,
}

/// A process.
pub(crate) struct Running {
    runtime: Runtime,
    started: Arc<Mutex<Option<Result<Consensus, StartError>>>>,
    consensus: Option<Consensus>,
    pub(crate) machine: Arc<Recorder>,
    wall: Arc<AtomicU64>,
}

impl Running {
    /// The member as others reach it, and what runs its tasks.
    pub(crate) fn peer(&self) -> Option<(Arc<dyn Peer>, &Runtime)> {
        self.consensus.as_ref().map(|consensus| (consensus.peer(), &self.runtime))
    }

    pub(crate) fn consensus(&self) -> Option<&Consensus> {
        self.consensus.as_ref()
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The wall clock here.
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp(self.wall.load(Ordering::Relaxed))
    }
}

/// Wall clocks begin here: some day in 2026, in ms.
pub(crate) const EPOCH: u64 = 1_790_000_000_000;

impl Host {
    pub(crate) fn new(id: u64, chance: &mut Chance, network: &Network, mutation: Option<Mutation>) -> Self {
        let drive = Drive::new(chance.fork(), mutation);
        network.silence_with(id, drive.dead.clone());
        // Clocks are up to 5 % off.
        let rate = Duration::from_micros(chance.between(4750, 5250));
        let wall = Arc::new(AtomicU64::new(EPOCH + chance.between(0, 2000)));
        Self {
            id,
            drive,
            process: None,
            processes: 0,
            stopped_until: None,
            stopped_at: 0,
            starts_at: None,
            inbox: Vec::new(),
            rate,
            wall,
            mutation,
            disk_failed: false,
        }
    }

    pub(crate) fn start(
        &mut self,
        setting: Setting,
        network: &Network,
        log: &Arc<Mutex<AppliedLog>>,
    ) -> io::Result<()> {
        self.starts_at = None;
        self.processes += 1;
        self.disk_failed = self.drive.is_broken();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
        let options = Options {
            member: self.id,
            leader_wait: Duration::from_secs(2),
            commit_wait: Duration::from_secs(2),
            catch_up_wait: Duration::from_secs(5),
            snapshot_after_entries: setting.snapshot_after,
            keep_entries: setting.keep,
            ..Options::new("/data/raft")
        };
        let machine = Arc::new(Recorder::new(self.id, log.clone(), self.mutation));
        let started = Arc::new(Mutex::new(None));
        let (peers, disk) = (network.of(self.id), Arc::new(Mounted(self.drive.clone())));
        let (slot, own) = (started.clone(), machine.clone());
        runtime.spawn(async move {
            let result = Consensus::start_in(options, own, peers, disk).await;
            *slot.lock() = Some(result);
        });
        self.process = Some(Running { runtime, started, consensus: None, machine, wall: self.wall.clone() });
        Ok(())
    }

    /// The process dies at this instant.
    pub(crate) fn kill(&mut self) {
        self.process = None;
        self.stopped_until = None;
        self.inbox.clear();
        self.drive.release();
    }

    /// The power fails at this instant.
    pub(crate) fn cut_power(&mut self) {
        self.kill();
        self.drive.lose_unsynced();
    }

    /// The process stands still for a while.
    pub(crate) fn stop(&mut self, now: u64, ticks: u64) {
        if self.process.is_some() && self.stopped_until.is_none() {
            (self.stopped_at, self.stopped_until) = (now, Some(now + ticks));
        }
    }

    pub(crate) fn deliver(&mut self, packet: Packet) {
        match self.stopped_until {
            Some(_) => self.inbox.push(packet),
            None => packet.arrive(self.process.as_ref()),
        }
    }

    /// Lets a tick pass. A member that does not start says why.
    pub(crate) fn step(&mut self, now: u64) -> Result<(), StartError> {
        self.wall.fetch_add(TICK.as_millis() as u64, Ordering::Relaxed);
        let mut slept = Duration::ZERO;
        if let Some(until) = self.stopped_until {
            if now < until {
                return Ok(());
            }
            self.stopped_until = None;
            slept = self.rate.saturating_mul(u32::try_from(now - self.stopped_at).unwrap_or(u32::MAX));
        }
        let Some(process) = &mut self.process else { return Ok(()) };
        let rate = self.rate;
        process.runtime.block_on(async {
            if !slept.is_zero() {
                tokio::time::advance(slept).await;
            }
            for packet in std::mem::take(&mut self.inbox) {
                packet.arrive(Some(process));
            }
            tokio::time::sleep(rate).await;
        });
        if let Some(result) = process.started.lock().take() {
            process.consensus = Some(result?);
        }
        Ok(())
    }
}
