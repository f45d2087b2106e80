//! Clients, and what they were promised.

use crate::script::{Input, options};
use crate::world::World;
use crate::{Check, ensure};
use orlop_durable_core::{NewRun, NewTask, Refusal, Reply, Request, Requested, RunStatus, Ticket};
use orlop_model::durable::{CallId, Outcome, Record, Signal};
use orlop_model::{TaskId, WorkflowRunId};
use std::collections::{BTreeMap, BTreeSet};

/// What a client asked for.
#[derive(Debug, Clone)]
pub(crate) enum Asked {
    Start { run: WorkflowRunId, key: String },
    Submit(Vec<TaskId>),
    Await(CallId),
    Signal { run: WorkflowRunId, number: u64, by_id: bool },
    Cancel(CallId),
    Retry(WorkflowRunId),
}

/// All clients.
#[derive(Default)]
pub(crate) struct Clients {
    next: u64,
    pub(crate) waiting: BTreeMap<Ticket, Asked>,
    given_up: BTreeSet<Ticket>,
    /// What nobody answered, and is asked again.
    again: Vec<Asked>,
    pub(crate) runs: BTreeSet<WorkflowRunId>,
    pub(crate) tasks: BTreeSet<TaskId>,
    /// Signals that were acknowledged.
    pub(crate) signals: BTreeMap<u64, WorkflowRunId>,
}

/// Whether a signal with this number has an id.
pub(crate) const fn has_id(number: u64) -> bool {
    number % 8 < 5
}

impl World {
    fn id(&mut self) -> u128 {
        self.clients.next += 1;
        u128::from(self.clients.next) << 64 | u128::from(self.chance.next())
    }

    /// A client wants something, or does not want it any more.
    pub(crate) fn client_acts(&mut self) {
        if let Some(asked) = self.clients.again.pop() {
            self.did("asked again");
            let asked = match asked {
                // Each attempt has an id of its own; the key says that it is the same.
                Asked::Start { key, .. } => Asked::Start { run: WorkflowRunId::from_u128(self.id()), key },
                asked => asked,
            };
            return self.ask(asked);
        }
        let runs: Vec<_> = self.store.runs.keys().copied().collect();
        let tasks: Vec<_> = self.store.tasks.keys().chain(self.store.done.keys()).copied().collect();
        let given = self.clients.signals.iter().filter(|(number, _)| has_id(**number));
        let given: Vec<_> = given.map(|(number, run)| (*run, *number)).collect();
        let (run, task) = (self.chance.pick(&runs), self.chance.pick(&tasks));
        let asked = match (self.chance.below(100), run, task) {
            (0..25, ..) => {
                let key = if self.chance.per_mille(400) { format!("k{}", self.chance.below(3)) } else { String::new() };
                Asked::Start { run: WorkflowRunId::from_u128(self.id()), key }
            }
            (25..40, ..) => {
                let count = self.chance.between(1, 4);
                Asked::Submit((0..count).map(|_| TaskId::from_u128(self.id())).collect())
            }
            (40..50, Some(run), _) => Asked::Await(CallId::Run(run)),
            (50..58, _, Some(task)) => Asked::Await(CallId::Task(task)),
            (58..65, Some(_), _) => match self.chance.pick(&given) {
                // Whoever gives it again need not know whether it came, as long as it has an id.
                Some((run, number)) => Asked::Signal { run, number, by_id: true },
                None => return,
            },
            (65..80, Some(run), _) => {
                let number = self.id() as u64;
                Asked::Signal { run, number, by_id: has_id(number) }
            }
            (80..85, Some(run), _) => Asked::Cancel(CallId::Run(run)),
            (85..88, _, Some(task)) => Asked::Cancel(CallId::Task(task)),
            (88..95, Some(run), _) => {
                let blocked = self.store.runs.values().find(|run| run.status == RunStatus::Blocked);
                Asked::Retry(blocked.map_or(run, |blocked| blocked.row.run))
            }
            _ => return self.give_up(),
        };
        self.ask(asked);
    }

    fn give_up(&mut self) {
        let waiting: Vec<_> = self.clients.waiting.keys().copied().collect();
        if let Some(ticket) = self.chance.pick(&waiting) {
            self.did("ticket abandoned");
            self.clients.waiting.remove(&ticket);
            self.clients.given_up.insert(ticket);
            self.life.inbox.push_back(orlop_durable_core::Input::Abandoned(ticket));
        }
    }

    pub(crate) fn ask(&mut self, asked: Asked) {
        self.clients.next += 1;
        let ticket = Ticket(self.clients.next);
        let seed = self.chance.next();
        let request = match &asked {
            Asked::Start { run, key } => Request::Start(Box::new(NewRun {
                run: *run,
                workflow: "flow".into(),
                version: "v1".into(),
                input: Input::new(seed).encoded(),
                key: key.clone(),
                attributes: BTreeMap::new(),
                seed,
                traceparent: String::new(),
            })),
            Asked::Submit(tasks) => Request::Submit(tasks.iter().map(|task| self.new_task(*task, seed)).collect()),
            Asked::Await(call) => Request::Await(*call),
            Asked::Signal { run, number, by_id } => {
                let name = if number % 2 == 0 { "a" } else { "b" };
                let id = if *by_id { format!("id {number}") } else { String::new() };
                let payload =
                    orlop_model::durable::Payload { data: number.to_string().into(), encoding: String::new() };
                Request::Signal(*run, Signal { name: name.into(), payload, id })
            }
            Asked::Cancel(call) => Request::Cancel(*call, "a client wants it".into()),
            Asked::Retry(run) => Request::Retry(*run),
        };
        self.clients.waiting.insert(ticket, asked);
        self.life.inbox.push_back(orlop_durable_core::Input::Request(ticket, request));
    }

    fn new_task(&self, task: TaskId, seed: u64) -> NewTask {
        let key = if seed.is_multiple_of(4) { format!("k{}", seed % 3) } else { String::new() };
        NewTask {
            task,
            name: "work".into(),
            input: Default::default(),
            options: options(seed ^ task.as_u128() as u64, self.now),
            key,
            parent: None,
            traceparent: String::new(),
        }
    }

    /// The engine is gone: those that wait hear nothing.
    pub(crate) fn nobody_answers(&mut self) {
        self.clients.given_up.clear();
        for asked in std::mem::take(&mut self.clients.waiting).into_values() {
            let again = match &asked {
                Asked::Start { key, .. } => !key.is_empty(),
                Asked::Signal { by_id, .. } => *by_id,
                Asked::Await(_) | Asked::Cancel(_) => true,
                Asked::Submit(_) | Asked::Retry(_) => false,
            };
            if again {
                self.clients.again.push(asked);
            }
        }
    }

    /// The engine answers: what it says is so, for good.
    pub(crate) fn answered(&mut self, ticket: Ticket, reply: Result<Reply, Refusal>) -> Check {
        let Some(asked) = self.clients.waiting.remove(&ticket) else {
            ensure!(self.clients.given_up.remove(&ticket), "{ticket:?} is answered twice");
            return Ok(());
        };
        let store = &self.store;
        let is_so = match (&asked, &reply) {
            (Asked::Start { run, key }, Ok(Reply::Run(Requested { id, found }))) => {
                self.clients.runs.insert(*id);
                let row = store.runs.get(id).map(|run| &run.row);
                row.is_some_and(|row| row.key == *key && (*found || row.run == *run))
            }
            (Asked::Submit(tasks), Ok(Reply::Tasks(submitted))) => {
                self.clients.tasks.extend(submitted.iter().map(|task| task.id));
                let is_there = |task: &TaskId| store.tasks.contains_key(task) || store.done.contains_key(task);
                tasks.len() == submitted.len() && submitted.iter().all(|task| is_there(&task.id))
            }
            (Asked::Await(call), Ok(Reply::Outcome(outcome))) => self.outcome(*call).as_ref() == Some(outcome),
            (Asked::Await(CallId::Run(run)), Err(Refusal::Unknown(_))) => !store.runs.contains_key(run),
            (Asked::Await(CallId::Task(task)), Err(Refusal::Unknown(_))) => {
                !store.tasks.contains_key(task) && !store.done.contains_key(task)
            }
            (Asked::Signal { run, number, .. }, Ok(Reply::Done { .. })) => {
                self.clients.signals.insert(*number, *run);
                !self.journals_with(*run, *number).is_empty()
            }
            (Asked::Cancel(CallId::Run(run)), Ok(Reply::Done { .. })) => {
                let is_told = |record: &Record| matches!(record, Record::CancelRequested { .. });
                store.last_of(*run).is_none_or(|last| {
                    !last.status.is_open() || last.entries.iter().any(|entry| is_told(&entry.record))
                })
            }
            (Asked::Cancel(CallId::Task(task)), Ok(Reply::Done { .. })) => {
                store.tasks.get(task).is_none_or(|row| row.change.cancelled.is_some())
            }
            (Asked::Retry(_), Ok(Reply::Done { .. }) | Err(Refusal::NotBlocked(_) | Refusal::Over(_))) => true,
            (Asked::Signal { run, .. }, Err(Refusal::Over(_))) => {
                store.last_of(*run).is_some_and(|last| !last.status.is_open())
            }
            (_, Err(Refusal::Unknown(_))) => true,
            _ => false,
        };
        ensure!(is_so, "{asked:?} is answered with {reply:?}, which is not so");
        self.did(match asked {
            Asked::Start { .. } => "run started",
            Asked::Submit(_) => "tasks submitted",
            Asked::Await(_) => "outcome awaited",
            Asked::Signal { .. } => "signal given",
            Asked::Cancel(_) => "cancelled",
            Asked::Retry(_) => "blocked run tried again",
        });
        Ok(())
    }

    fn outcome(&self, call: CallId) -> Option<Outcome> {
        match call {
            CallId::Run(run) => self.store.last_of(run)?.outcome.clone(),
            CallId::Task(task) => self.store.outcome_of(task),
        }
    }

    /// The journals, from this run on, that have this signal of a client, each with its first place.
    pub(crate) fn journals_with(&self, run: WorkflowRunId, number: u64) -> Vec<WorkflowRunId> {
        let text = number.to_string();
        let is_it =
            |record: &Record| matches!(record, Record::SignalReceived(it) if it.payload.data == text.as_bytes());
        let chain = self.store.chain_of(run);
        let having = chain.into_iter().filter(|run| run.entries.iter().any(|entry| is_it(&entry.record)));
        having.map(|run| run.row.run).collect()
    }
}
