//! Faults in an order that a seed decides, between three real members in network namespaces, under clients whose every
//! answer is kept: once all is mended the members agree, no write that was acknowledged is lost, what each key's readers and
//! writers were told is linearizable, and watchers saw every change and never went back.
//!
//! `make chaos` makes a long run of it: `ORLOP_FAULTS=<n>` faults. `ORLOP_SEED=<n>` gives the same schedule; its timing is
//! the machine's.

mod client;
mod record;
mod report;
mod schedule;
mod watcher;
mod world;

use client::Client;
use orlop_history::chance::Chance;
use orlop_history::history::Doubt;
use orlop_proto::operator::v1::operator_service_client::OperatorServiceClient;
use orlop_proto::watch::v1::watch_service_client::WatchServiceClient;
use record::{Did, Heard, KEYS, Known, Record};
use report::Past;
use schedule::{Fault, Kind, Whom};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use watcher::{Told, Watcher};
use world::World;

const CLIENTS: usize = 12;
/// Faults, unless `ORLOP_FAULTS` says how many.
const FAULTS: usize = 8;
/// So many writes are acknowledged between two rounds: the faults of the next meet a cluster at work.
const BETWEEN: u64 = 20;

/// What runs beside the faults.
struct Load {
    record: Arc<Record>,
    watchers: Vec<(String, Arc<Mutex<Told>>)>,
    stop: CancellationToken,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(world: &World, runtime: &tokio::runtime::Runtime, seed: u64) -> Self {
        let (record, stop) = (Arc::new(Record::new()), CancellationToken::new());
        let mut chance = Chance::new(seed ^ 0xc11e);
        let (mut watchers, mut tasks) = (Vec::new(), Vec::new());
        for _ in 0..CLIENTS {
            let members = [1, 2, 3].map(|host| OperatorServiceClient::new(world.way(host))).to_vec();
            let address = world.address();
            let client = Client { record: record.clone(), address, members, chance: chance.fork() };
            tasks.push(runtime.spawn(client.run(stop.clone())));
        }
        for (name, hosts) in [("1", &[1][..]), ("2", &[2]), ("3", &[3]), ("any", &[1, 2, 3])] {
            let members = hosts.iter().map(|host| WatchServiceClient::new(world.way(*host))).collect();
            let told = Arc::new(Mutex::new(Told::default()));
            let watcher = Watcher { name: name.into(), members, told: told.clone() };
            watchers.push((watcher.name.clone(), told));
            tasks.push(runtime.spawn(watcher.run(stop.clone())));
        }
        Self { record, watchers, stop, tasks }
    }

    /// Waits for so many more writes.
    fn work_on(&self, world: &World, writes: u64) {
        let wanted = self.record.written() + writes;
        world.wait("clients to write", || (self.record.written() >= wanted).then_some(()));
    }

    /// Waits until the watchers have been told of a revision, and ends.
    fn end(self, world: &World, runtime: &tokio::runtime::Runtime, revision: u64) -> (Vec<Did>, Vec<(String, Told)>) {
        for (name, told) in &self.watchers {
            let reached = || {
                let told = told.lock().expect("no panic");
                told.updates.last().is_some_and(|update| update.revision >= revision).then_some(())
            };
            world.wait(&format!("the watcher of {name} to hear of revision {revision}"), reached);
        }
        self.stop.cancel();
        for task in self.tasks {
            runtime.block_on(task).expect("a client that does not panic");
        }
        let told = |told: &Mutex<Told>| told.lock().expect("no panic").clone();
        (self.record.all(), self.watchers.iter().map(|(name, watcher)| (name.clone(), told(watcher))).collect())
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// Reads every key once, at one member after the other.
fn read_all(world: &World, runtime: &tokio::runtime::Runtime, record: &Record) {
    for key in 0..KEYS {
        let host = [1, 2, 3][key % 3];
        let mut member = OperatorServiceClient::new(world.way(host));
        let read = || {
            let called = record.now();
            let (told, revision) = runtime.block_on(client::read(&mut member, key, false)).ok()?;
            let heard = Some(Heard { at: record.now(), told, revision });
            record.push(Did { key, write: None, called, heard, attempts: 1 });
            Some(())
        };
        world.wait("a key to be read", read);
    }
}

#[test]
fn no_acknowledged_write_is_lost_and_every_answer_is_in_order_through_any_faults() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("ORLOP_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let faults = number("ORLOP_FAULTS").map_or(FAULTS, |faults| usize::try_from(faults).expect("a number of faults"));
    println!("the schedule comes again with ORLOP_FAULTS={faults} ORLOP_SEED={seed}");
    let rounds = schedule::rounds(seed, faults);
    let runtime = runtime();
    let interrupted = Arc::new(AtomicBool::new(false));
    runtime.spawn({
        let interrupted = interrupted.clone();
        async move {
            // The first one lets the round that is under way end, so that all is taken away.
            if tokio::signal::ctrl_c().await.is_ok() {
                interrupted.store(true, Ordering::Relaxed);
            }
        }
    });

    let mut world = World::start(runtime.handle());
    let load = Load::start(&world, &runtime, seed);
    load.work_on(&world, BETWEEN);
    let (begun, mut past) = (Instant::now(), Vec::new());
    for (number, round) in rounds.iter().enumerate() {
        if interrupted.load(Ordering::Relaxed) {
            break;
        }
        let from = load.record.now();
        let mut told = Vec::new();
        for (at, fault) in round.faults.iter().enumerate() {
            if at > 0 {
                std::thread::sleep(round.apart);
            }
            told.push(world.inject(*fault));
        }
        std::thread::sleep(round.lasts);
        world.heal();
        let healed = load.record.now();
        world.settle();
        load.work_on(&world, BETWEEN);
        let to = load.record.now();
        let seconds = |from: u64, to: u64| Duration::from_nanos(to.saturating_sub(from)).as_secs_f64();
        let (lasted, settled) = (seconds(from, healed), seconds(healed, to));
        println!("{:>3} {} for {lasted:.1} s, well again after {settled:.1} s", number + 1, told.join(" and "));
        past.push(Past { round: round.clone(), from, healed, to });
    }
    let lasted = begun.elapsed();

    // What is read last is what was acknowledged last.
    read_all(&world, &runtime, &load.record);
    let record = load.record.clone();
    let revision = world.look(1).expect("a member").revision;
    let (all, watchers) = load.end(&world, &runtime, revision);
    // Nobody writes any more.
    world.settle();
    let knows = [1, 2, 3].map(|host| world.knows(host));
    let judging = Instant::now();
    let judged = record::judge(&all);
    let judging = judging.elapsed();

    let count: usize = past.iter().map(|past| past.round.faults.len()).sum();
    println!("\nseed {seed}: {count} faults in {} rounds, {:.0} s", past.len(), lasted.as_secs_f64());
    print!("{}", report::faults(&past, &record::acknowledged(&all)));
    print!("{}", report::operations(&record, &all, &watchers));
    let mut wrong = Vec::new();
    let mut must = |what: &str, found: Result<(), String>| {
        println!("{what}: {}", if found.is_ok() { "yes" } else { "NO" });
        wrong.extend(found.err());
    };
    must(
        &format!("linearizable, each of {KEYS} keys (judged in {:.1} s)", judging.as_secs_f64()),
        judged.map_err(|doubt| doubt.to_string()),
    );
    must("revisions follow time", record::revisions_follow_time(&all));
    let known = Known::of(&all);
    must("one write at each revision", known.as_ref().map(drop).map_err(Clone::clone));
    if let Ok(known) = &known {
        for (name, told) in &watchers {
            let checked = watcher::check(told, known).map_err(|what| format!("the watcher of {name} {what}"));
            must(&format!("the watcher of {name} missed nothing and never went back"), checked);
        }
    }
    let same = knows.iter().all(|state| *state == knows[0]);
    let differ = || format!("the members know different states:\n{knows:#?}");
    must(&format!("all members have the same state at revision {}", knows[0].0), same.then_some(()).ok_or_else(differ));
    let defects = record.noes().remove(client::WRONG).map(|(times, first)| format!("{times} answers: {first}"));
    must("no fault was answered as a mistake of the client's or a defect", defects.map_or(Ok(()), Err));
    assert!(wrong.is_empty(), "seed {seed}:\n{}", wrong.join("\n"));
    assert!(!interrupted.load(Ordering::Relaxed), "interrupted");
}

/// What the test above would say of a control plane whose members answered from what they know by themselves.
#[test]
fn reads_of_a_member_that_is_cut_off_are_found_out_when_they_are_passed_off_as_fresh() {
    let runtime = runtime();
    let mut world = World::start(runtime.handle());
    let record = Record::new();
    let cut_off = world.leader().map_or(2, |leader| leader % 3 + 1);
    let writes_by = cut_off % 3 + 1;
    world.isolate(cut_off);
    let client = Client {
        record: Arc::new(Record::new()),
        address: world.address(),
        members: vec![OperatorServiceClient::new(world.way(writes_by))],
        chance: Chance::new(1),
    };
    let writer = client.record.clone();
    let stop = CancellationToken::new();
    let writing = runtime.spawn(client.run(stop.clone()));
    let mut stale = OperatorServiceClient::new(world.way(cut_off));
    let found = world.wait("a stale read to be found out", || {
        for key in 0..KEYS {
            let called = writer.now();
            let (told, revision) = runtime.block_on(client::read(&mut stale, key, true)).ok()?;
            let heard = Some(Heard { at: writer.now(), told, revision });
            record.push(Did { key, write: None, called, heard, attempts: 1 });
        }
        record::judge(&[writer.all(), record.all()].concat()).err()
    });
    stop.cancel();
    runtime.block_on(writing).expect("a client that does not panic");
    assert!(matches!(&found, Doubt::Unexplained(unexplained) if !unexplained.end.is_empty()), "{found}");
    assert!(record::revisions_follow_time(&[writer.all(), record.all()].concat()).is_err(), "by revision too");
}

#[test]
fn a_member_that_fell_behind_turns_nobody_away_whom_the_others_know() {
    let runtime = runtime();
    let mut world = World::start(runtime.handle());
    lead(&world, 1);
    world.isolate(3);
    let login = world.let_in("newcomer");
    let mut member = OperatorServiceClient::new(world.way_of(3, &login));
    let mut ask = || runtime.block_on(client::read(&mut member, 0, false));
    let told = ask().expect_err("it is cut off");
    assert_eq!(told.code(), tonic::Code::Unavailable, "{told}");
    world.heal();
    world.settle();
    world.wait("the newcomer to be known", || ask().ok().filter(|(value, _)| *value == 0));
}

/// Makes a member lead.
fn lead(world: &World, host: u16) {
    world.wait("a member to lead", || {
        world.hand_over(Some(host));
        (world.leader() == Some(host)).then_some(())
    });
}

#[test]
fn a_leader_whose_disk_is_full_gives_way_to_a_member_that_takes_writes() {
    let runtime = runtime();
    let mut world = World::start(runtime.handle());
    lead(&world, 1);
    world.inject(Fault { kind: Kind::FillDisk, whom: Whom::Leader, much: 0 });
    let record = Arc::new(Record::new());
    let members = vec![OperatorServiceClient::new(world.way(3))];
    let client = Client { record: record.clone(), address: world.address(), members, chance: Chance::new(1) };
    let stop = CancellationToken::new();
    let writing = runtime.spawn(client.run(stop.clone()));
    world.wait("another to lead", || world.leader().filter(|leader| *leader != 1));
    let written = record.written();
    world.wait("a write", || (record.written() > written).then_some(()));
    world.heal();
    world.settle();
    stop.cancel();
    runtime.block_on(writing).expect("a client that does not panic");
    assert_eq!(record::judge(&record.all()), Ok(()));
}
