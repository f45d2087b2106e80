//! What clients want.

use super::Engine;
use super::run::RunInput;
use crate::effect::{Reply, Requested, RunRow, TaskRow};
use crate::input::{NewRun, NewTask, Request, Ticket};
use orlop_model::durable::{CallId, Owner, Started};

impl Engine {
    pub(super) fn request(&mut self, ticket: Ticket, request: Request) {
        match request {
            Request::Start(new) => self.start(ticket, *new),
            Request::Submit(new) => {
                let submitted = new.into_iter().map(|new| self.submit_new(new)).collect();
                self.reply(ticket, Ok(Reply::Tasks(submitted)));
            }
            Request::Await(CallId::Run(run)) => self.tell_run(run, RunInput::Await(ticket)),
            Request::Await(CallId::Task(task)) => self.await_task(ticket, task),
            Request::Signal(run, signal) => self.tell_run(run, RunInput::Signal { ticket: Some(ticket), signal }),
            Request::Cancel(CallId::Run(run), reason) => {
                self.tell_run(run, RunInput::Cancel { ticket: Some(ticket), reason });
            }
            Request::Cancel(CallId::Task(task), reason) => {
                let over = !self.cancel_task(task, reason);
                self.reply(ticket, Ok(Reply::Done { over }));
            }
            Request::Retry(run) => self.tell_run(run, RunInput::Retry(ticket)),
        }
    }

    pub(super) fn abandoned(&mut self, ticket: Ticket) {
        let Some(call) = self.tickets.remove(&ticket) else { return };
        if let Some(waiting) = self.waiters.get_mut(&call) {
            waiting.remove(&ticket);
            if waiting.is_empty() {
                self.waiters.remove(&call);
            }
        }
    }

    fn start(&mut self, ticket: Ticket, new: NewRun) {
        let row = RunRow {
            run: new.run,
            workflow: new.workflow.clone(),
            version: new.version.clone(),
            key: new.key,
            owner: None,
            root: None,
            detached: false,
            created: self.now,
            attributes: new.attributes,
        };
        let started = Started {
            workflow: new.workflow,
            version: new.version,
            input: new.input,
            seed: new.seed,
            continues: None,
            traceparent: new.traceparent,
        };
        let requested = match self.begin_run(row, started, Vec::new()) {
            Ok(()) => Requested { id: new.run, found: false },
            Err(found) => Requested { id: found, found: true },
        };
        self.reply(ticket, Ok(Reply::Run(requested)));
    }

    fn submit_new(&mut self, new: NewTask) -> Requested<orlop_model::TaskId> {
        let root = new.parent.map(|parent| {
            let known = self.tasks.get(&parent).and_then(|parent| parent.row.root);
            known.unwrap_or(CallId::Task(parent))
        });
        let change = self.first_change(new.options.run_at);
        let row = TaskRow {
            task: new.task,
            name: new.name,
            input: new.input,
            options: new.options,
            key: new.key,
            owner: new.parent.map(Owner::Task),
            root,
            traceparent: new.traceparent,
            created: self.now,
            change,
        };
        let (id, found) = self.submit(row);
        Requested { id, found }
    }
}
