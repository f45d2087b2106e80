//! What a program asks for, as commands.

use super::Machine;
use crate::script::{self, Begin, End, Input, Whom};
use crate::{Check, ensure};
use orlop_model::WorkflowRunId;
use orlop_model::durable::{CommandKind, Failure, FailureCause, Outcome};

impl Machine {
    pub(super) fn begin(&mut self, begin: Begin) -> Check {
        let (run, number) = (self.run, self.last + 1);
        let kind = match begin {
            Begin::Step { fails } => {
                self.last = number;
                let name = format!("step {number}");
                let recorded = self.recorded.get(&number);
                let is_it = recorded.is_none_or(|kind| (kind.word(), kind.name()) == ("step", name.as_str()));
                ensure!(is_it, "the journal has {recorded:?}, the program issues {name}");
                self.steps.insert(number, (0, fails));
                self.began.insert(number, begin);
                self.registers.push(number);
                return Ok(());
            }
            Begin::Task { shape } => CommandKind::TaskScheduled {
                task: script::task_of(run, number),
                name: "work".into(),
                input: Default::default(),
                options: Box::new(script::options(shape, self.now)),
            },
            Begin::Timer { after } => CommandKind::TimerSet { fires_at: self.now + after, name: String::new() },
            Begin::Child { seed, detached, keyed } => {
                let input = Input { seed, depth: self.input.depth - 1, generation: 0, parent: Some(run) };
                CommandKind::ChildStarted {
                    run: script::child_of(run, number),
                    workflow: "flow".into(),
                    version: "v1".into(),
                    input: input.encoded(),
                    key: if keyed { format!("k{}", seed % 3) } else { String::new() },
                    detached,
                }
            }
            Begin::Signal(whom) => {
                let name = if matches!(whom, Whom::Itself) { "self" } else { "a" };
                CommandKind::SignalSent { run: self.whom(whom), name: name.into(), payload: Default::default() }
            }
            Begin::Cancel(whom) => CommandKind::RunCancelled(self.whom(whom)),
            Begin::Attributes => CommandKind::AttributesSet([("n".to_owned(), number.to_string())].into()),
        };
        self.began.insert(number, begin);
        let number = self.issue(kind)?;
        self.registers.push(number);
        Ok(())
    }

    fn whom(&self, whom: Whom) -> WorkflowRunId {
        match whom {
            Whom::Itself => self.run,
            Whom::Parent => self.input.parent.unwrap_or(self.run),
            Whom::Child(register) => script::child_of(self.run, self.registers[register]),
        }
    }

    pub(super) fn issue(&mut self, kind: CommandKind) -> Check<u32> {
        self.last += 1;
        match self.recorded.get(&self.last) {
            Some(recorded) => ensure!(*recorded == kind, "the journal has {recorded:?}, the program issues {kind:?}"),
            None => self.say(Some(self.last), kind),
        }
        Ok(self.last)
    }

    pub(super) fn last_word(&self, end: End) -> CommandKind {
        match end {
            End::Ok => CommandKind::Finished(Outcome::Ok(Default::default())),
            End::Failed => CommandKind::Finished(Outcome::Failed(Failure::new(FailureCause::Returned, "it failed"))),
            End::Cancelled => CommandKind::Finished(Outcome::Failed(Failure::cancelled("it was cancelled"))),
            End::Continued => {
                let input = Input { generation: self.input.generation + 1, ..self.input };
                CommandKind::ContinuedAsNew {
                    run: script::continuation_of(self.run),
                    version: "v1".into(),
                    input: input.encoded(),
                    carried: self.signals.iter().cloned().collect(),
                }
            }
        }
    }
}
