//! Workflows as small programs, which are made of what their runs begin with.

use orlop_history::chance::Chance;
use orlop_model::durable::{Payload, Priority, RetryPolicy, TaskOptions};
use orlop_model::{Millis, TaskId, Timestamp, WorkflowRunId};

/// What a run is called with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Input {
    pub(crate) seed: u64,
    /// So many generations of children it may have.
    pub(crate) depth: u8,
    /// How often it went on as new.
    pub(crate) generation: u8,
    pub(crate) parent: Option<WorkflowRunId>,
}

impl Input {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, depth: 2, generation: 0, parent: None }
    }

    pub(crate) fn encoded(self) -> Payload {
        let parent = self.parent.map_or(0, |run| run.as_u128());
        let mut data = self.seed.to_be_bytes().to_vec();
        data.extend([self.depth, self.generation]);
        data.extend(parent.to_be_bytes());
        Payload { data: data.into(), encoding: String::new() }
    }

    pub(crate) fn of(payload: &Payload) -> Self {
        let number = |from: usize, to: usize| {
            payload
                .data
                .get(from..to)
                .unwrap_or_default()
                .iter()
                .fold(0, |sum: u128, byte| sum << 8 | u128::from(*byte))
        };
        let parent = Some(number(10, 26)).filter(|bits| *bits != 0).map(WorkflowRunId::from_u128);
        Self { seed: number(0, 8) as u64, depth: number(8, 9) as u8, generation: number(9, 10) as u8, parent }
    }
}

fn derived(run: WorkflowRunId, kind: u64, number: u32) -> u128 {
    let bits = run.as_u128();
    let mut chance = Chance::new((bits >> 64) as u64 ^ kind);
    let mut chance = Chance::new(chance.next() ^ bits as u64 ^ u64::from(number) << 32);
    u128::from(chance.next()) << 64 | u128::from(chance.next())
}

/// The task that a command schedules.
pub(crate) fn task_of(run: WorkflowRunId, number: u32) -> TaskId {
    TaskId::from_u128(derived(run, 1, number))
}

/// The run that a command starts.
pub(crate) fn child_of(run: WorkflowRunId, number: u32) -> WorkflowRunId {
    WorkflowRunId::from_u128(derived(run, 2, number))
}

/// The run that continues a run.
pub(crate) fn continuation_of(run: WorkflowRunId) -> WorkflowRunId {
    WorkflowRunId::from_u128(derived(run, 3, 0))
}

/// What a program begins, and may wait for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Begin {
    /// It fails so often, and then it is done.
    Step {
        fails: u32,
    },
    Task {
        shape: u64,
    },
    Timer {
        after: Millis,
    },
    Child {
        seed: u64,
        detached: bool,
        keyed: bool,
    },
    Signal(Whom),
    Cancel(Whom),
    Attributes,
}

/// A run that a program knows.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Whom {
    Itself,
    Parent,
    /// What the command with this number of a register began.
    Child(usize),
}

/// One step of a program. Each [`Begin`] fills the next register.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Op {
    Begin(Begin),
    Await(usize),
    AwaitEither(usize, usize),
    Take(&'static str),
    Patch(&'static str),
    /// Nobody waits for the register any more.
    CallOff(usize),
    End(End),
}

/// How a program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Ok,
    Failed,
    Cancelled,
    Continued,
}

/// A program.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    pub(crate) ops: Vec<Op>,
    /// Where it goes on when it is cancelled; none if it does not care.
    pub(crate) cleanup: Option<usize>,
}

struct Writer {
    chance: Chance,
    ops: Vec<Op>,
    registers: usize,
}

impl Script {
    pub(crate) fn of(input: &Input) -> Self {
        let chance = Chance::new(input.seed ^ u64::from(input.generation).rotate_left(40));
        let mut writer = Writer { chance, ops: Vec::new(), registers: 0 };
        for _ in 0..writer.chance.between(1, 4) {
            writer.phrase(input);
        }
        let end = match writer.chance.below(100) {
            0..25 if input.generation < 2 => End::Continued,
            25..40 => End::Failed,
            _ => End::Ok,
        };
        writer.ops.push(Op::End(end));
        let cleanup = writer.ops.len();
        if writer.chance.per_mille(400) {
            let step = writer.begin(Begin::Step { fails: 0 });
            writer.ops.push(Op::Await(step));
        }
        writer.ops.push(Op::End(End::Cancelled));
        let heeds = writer.chance.per_mille(800);
        Self { ops: writer.ops, cleanup: heeds.then_some(cleanup) }
    }

    /// How many registers are filled before this place when nothing is passed over.
    pub(crate) fn registers_before(&self, place: usize) -> usize {
        self.ops.iter().take(place).filter(|op| matches!(op, Op::Begin(_))).count()
    }
}

impl Writer {
    fn begin(&mut self, begin: Begin) -> usize {
        self.ops.push(Op::Begin(begin));
        self.registers += 1;
        self.registers - 1
    }

    /// Something that has an answer.
    fn any(&mut self, input: &Input) -> usize {
        let chance = &mut self.chance;
        let begin = match chance.below(4) {
            0 => Begin::Step { fails: chance.below(3) as u32 },
            1 => Begin::Task { shape: chance.next() },
            2 if input.depth > 0 => {
                Begin::Child { seed: chance.next(), detached: chance.per_mille(150), keyed: chance.per_mille(300) }
            }
            _ => Begin::Timer { after: Millis(chance.between(0, 4000)) },
        };
        self.begin(begin)
    }

    fn phrase(&mut self, input: &Input) {
        match self.chance.below(12) {
            0..3 => {
                let one = self.any(input);
                self.ops.push(Op::Await(one));
            }
            3 => {
                let many: Vec<_> = (0..self.chance.between(2, 4)).map(|_| self.any(input)).collect();
                self.ops.extend(many.into_iter().map(Op::Await));
            }
            4 => {
                let (one, other) = (self.any(input), self.any(input));
                self.ops.extend([Op::AwaitEither(one, other), Op::CallOff(one), Op::CallOff(other)]);
            }
            5 => {
                let one = self.any(input);
                if self.chance.per_mille(500) {
                    let between = self.any(input);
                    self.ops.push(Op::Await(between));
                }
                self.ops.push(Op::CallOff(one));
                if self.chance.per_mille(500) {
                    self.ops.push(Op::Await(one));
                }
            }
            6 => self.ops.push(Op::Take(if self.chance.per_mille(500) { "a" } else { "b" })),
            7 => {
                self.begin(Begin::Signal(Whom::Itself));
                self.ops.push(Op::Take("self"));
            }
            8 if input.depth > 0 => {
                let (detached, keyed) = (self.chance.per_mille(100), self.chance.per_mille(300));
                let seed = self.chance.next();
                let child = self.begin(Begin::Child { seed, detached, keyed });
                if self.chance.per_mille(600) {
                    let after = Millis(self.chance.between(0, 3000));
                    let delay = self.begin(Begin::Timer { after });
                    self.ops.push(Op::Await(delay));
                }
                let whom = Whom::Child(child);
                let is_signal = self.chance.per_mille(600);
                self.begin(if is_signal { Begin::Signal(whom) } else { Begin::Cancel(whom) });
                self.ops.push(Op::Await(child));
            }
            8 => {
                self.begin(Begin::Signal(Whom::Parent));
            }
            9 => {
                self.ops.push(Op::Patch("new way"));
                self.begin(Begin::Attributes);
                // A journal that the engine does not keep in memory.
                if self.chance.per_mille(400) {
                    (0..40).for_each(|_| {
                        self.begin(Begin::Signal(Whom::Itself));
                    });
                }
            }
            10 => {
                // Nobody waits for it.
                self.any(input);
            }
            _ => {
                let after = Millis(self.chance.between(0, 60_000));
                let sleep = self.begin(Begin::Timer { after });
                self.ops.push(Op::Await(sleep));
            }
        }
    }
}

/// How a task is run.
pub(crate) fn options(shape: u64, now: Timestamp) -> TaskOptions {
    let mut chance = Chance::new(shape);
    let mut some = |cases: u64, most: u64| Some(Millis(chance.between(1, most))).filter(|_| chance.per_mille(cases));
    let (run_at, schedule_to_start) = (some(200, 5000), some(150, 20_000));
    let (start_to_close, heartbeat) = (some(200, 20_000), some(200, 20_000));
    let retry = RetryPolicy { attempts_max: Some(chance.between(1, 3) as u32), ..RetryPolicy::default() };
    let labels = if chance.per_mille(150) { [("gpu".into(), "yes".into())].into() } else { Default::default() };
    TaskOptions {
        queue: if chance.per_mille(300) { "other".parse().unwrap_or_default() } else { Default::default() },
        priority: Priority::new(chance.below(3) as i32).unwrap_or_default(),
        fair_key: chance.pick(&["", "x", "y"]).unwrap_or_default().to_owned(),
        run_at: run_at.map(|delay| now + delay),
        retry,
        schedule_to_start,
        start_to_close,
        heartbeat,
        labels,
    }
}
