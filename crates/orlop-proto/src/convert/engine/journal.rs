//! The journal of a run.

use super::{attempt_of, command_number, moment, named, since_1970};
use crate::engine::v1 as pb;
use crate::invalid::{each, optional, parsed, required};
use crate::{InvalidWire, Within};
use orlop_model::durable::{Command, CommandKind, Entry, Record, Seq, Signal, Started};
use pb::entry::Kind;

impl From<Signal> for pb::SignalReceived {
    fn from(signal: Signal) -> Self {
        Self { name: signal.name, payload: Some(signal.payload.into()), id: signal.id }
    }
}

impl TryFrom<pb::SignalReceived> for Signal {
    type Error = InvalidWire;

    fn try_from(wire: pb::SignalReceived) -> Result<Self, InvalidWire> {
        Ok(Self { name: named("name", wire.name)?, payload: required("payload", wire.payload)?, id: wire.id })
    }
}

impl From<Started> for pb::Started {
    fn from(started: Started) -> Self {
        Self {
            workflow: started.workflow,
            version: started.version,
            input: Some(started.input.into()),
            seed: started.seed,
            continues: started.continues.map(|run| run.to_string()).unwrap_or_default(),
            traceparent: started.traceparent,
        }
    }
}

impl TryFrom<pb::Started> for Started {
    type Error = InvalidWire;

    fn try_from(wire: pb::Started) -> Result<Self, InvalidWire> {
        Ok(Self {
            workflow: named("workflow", wire.workflow)?,
            version: wire.version,
            input: required("input", wire.input)?,
            seed: wire.seed,
            continues: match wire.continues.as_str() {
                "" => None,
                run => Some(parsed("continues", run)?),
            },
            traceparent: wire.traceparent,
        })
    }
}

impl From<Entry> for pb::Entry {
    fn from(entry: Entry) -> Self {
        let (command, kind) = match entry.record {
            Record::Command(command) => {
                return Self { seq: entry.seq.0, at_ms: since_1970(entry.at), ..command.into() };
            }
            Record::Started(started) => (0, Kind::Started(started.into())),
            Record::Answered { command, outcome } => {
                (command.0, Kind::Answered(pb::Answered { outcome: Some(outcome.into()) }))
            }
            Record::SignalReceived(signal) => (0, Kind::SignalReceived(signal.into())),
            Record::CancelRequested { reason } => (0, Kind::CancelRequested(pb::CancelRequested { reason })),
        };
        Self {
            seq: entry.seq.0,
            at_ms: since_1970(entry.at),
            command,
            hash: 0,
            source: String::new(),
            kind: Some(kind),
        }
    }
}

impl TryFrom<pb::Entry> for Entry {
    type Error = InvalidWire;

    fn try_from(wire: pb::Entry) -> Result<Self, InvalidWire> {
        let (seq, at) = (Seq(wire.seq), moment("at_ms", wire.at_ms)?);
        let kind = wire.kind.ok_or_else(|| InvalidWire::missing("kind"))?;
        let record = if is_command(&kind) {
            Record::Command(command_of(wire.command, wire.hash, wire.source, kind)?)
        } else {
            unset("hash", wire.hash == 0, &kind)?;
            unset("source", wire.source.is_empty(), &kind)?;
            record_of(wire.command, kind)?
        };
        Ok(Self { seq, at, record })
    }
}

/// A command that has no place in a journal yet; the engine will give it place and time.
impl From<Command> for pb::Entry {
    fn from(command: Command) -> Self {
        Self {
            seq: 0,
            at_ms: 0,
            command: command.number.map_or(0, |number| number.0),
            hash: command.kind.hash(),
            source: command.source,
            kind: Some(command.kind.into()),
        }
    }
}

impl TryFrom<pb::Entry> for Command {
    type Error = InvalidWire;

    fn try_from(wire: pb::Entry) -> Result<Self, InvalidWire> {
        for (field, found) in [("seq", wire.seq != 0), ("at_ms", wire.at_ms != 0)] {
            if found {
                return Err(InvalidWire::new(field, "is set, but only the engine gives commands their place and time"));
            }
        }
        command_of(wire.command, wire.hash, wire.source, wire.kind.ok_or_else(|| InvalidWire::missing("kind"))?)
    }
}

impl From<CommandKind> for Kind {
    fn from(kind: CommandKind) -> Self {
        match kind {
            CommandKind::StepDone { name, outcome, attempt, began_at } => Kind::StepDone(pb::StepDone {
                name,
                outcome: Some(outcome.into()),
                attempt,
                began_at_ms: since_1970(began_at),
            }),
            CommandKind::StepFailed { name, failure, attempt, next_at } => Kind::StepFailed(pb::StepFailed {
                name,
                failure: Some(failure.into()),
                attempt,
                next_at_ms: since_1970(next_at),
            }),
            CommandKind::TaskScheduled { task, name, input, options } => Kind::TaskScheduled(pb::TaskScheduled {
                task: task.to_string(),
                name,
                input: Some(input.into()),
                options: Some((*options).into()),
            }),
            CommandKind::ChildStarted { run, workflow, version, input, key, detached } => {
                let (run, input) = (run.to_string(), Some(input.into()));
                Kind::ChildStarted(pb::ChildStarted { run, workflow, version, input, key, detached })
            }
            CommandKind::TimerSet { fires_at, name } => {
                Kind::TimerSet(pb::TimerSet { fires_at_ms: since_1970(fires_at), name })
            }
            CommandKind::SignalSent { run, name, payload } => {
                Kind::SignalSent(pb::SignalSent { run: run.to_string(), name, payload: Some(payload.into()) })
            }
            CommandKind::CommandCancelled(command) => cancel_sent(pb::cancel_sent::Target::OfCommand(command.0)),
            CommandKind::RunCancelled(run) => cancel_sent(pb::cancel_sent::Target::Run(run.to_string())),
            CommandKind::PatchMarked { id } => Kind::PatchMarked(pb::PatchMarked { id }),
            CommandKind::AttributesSet(attributes) => Kind::AttributesSet(pb::AttributesSet { attributes }),
            CommandKind::Finished(outcome) => Kind::Finished(pb::Finished { outcome: Some(outcome.into()) }),
            CommandKind::ContinuedAsNew { run, version, input, carried } => Kind::ContinuedAsNew(pb::ContinuedAsNew {
                run: run.to_string(),
                version,
                input: Some(input.into()),
                carried: carried.into_iter().map(Into::into).collect(),
            }),
        }
    }
}

fn cancel_sent(target: pb::cancel_sent::Target) -> Kind {
    Kind::CancelSent(pb::CancelSent { target: Some(target) })
}

fn command_of(number: u32, hash: u64, source: String, kind: Kind) -> Result<Command, InvalidWire> {
    let field = field_of(&kind);
    let kind = command_kind_of(kind).within(field)?;
    let number = match (number, kind.is_numbered()) {
        (0, false) => None,
        (number, true) => Some(command_number("command", number)?),
        (number, false) => {
            return Err(InvalidWire::new("command", format!("found {number}, but {field} has no number; expected 0")));
        }
    };
    // A worker whose hashes differ would run its journals again and take every command for another one.
    if hash != kind.hash() {
        let problem = format!("found {hash:#x}; {} {:?} has {:#x}", kind.word(), kind.name(), kind.hash());
        return Err(InvalidWire::new("hash", problem));
    }
    Ok(Command { number, source, kind })
}

fn command_kind_of(kind: Kind) -> Result<CommandKind, InvalidWire> {
    Ok(match kind {
        Kind::StepDone(wire) => CommandKind::StepDone {
            name: wire.name,
            outcome: required("outcome", wire.outcome)?,
            attempt: attempt_of("attempt", wire.attempt)?,
            began_at: moment("began_at_ms", wire.began_at_ms)?,
        },
        Kind::StepFailed(wire) => CommandKind::StepFailed {
            name: wire.name,
            failure: required("failure", wire.failure)?,
            attempt: attempt_of("attempt", wire.attempt)?,
            next_at: moment("next_at_ms", wire.next_at_ms)?,
        },
        Kind::TaskScheduled(wire) => CommandKind::TaskScheduled {
            task: parsed("task", &wire.task)?,
            name: named("name", wire.name)?,
            input: required("input", wire.input)?,
            options: Box::new(optional("options", wire.options)?.unwrap_or_default()),
        },
        Kind::ChildStarted(wire) => CommandKind::ChildStarted {
            run: parsed("run", &wire.run)?,
            workflow: named("workflow", wire.workflow)?,
            version: wire.version,
            input: required("input", wire.input)?,
            key: wire.key,
            detached: wire.detached,
        },
        Kind::TimerSet(wire) => {
            CommandKind::TimerSet { fires_at: moment("fires_at_ms", wire.fires_at_ms)?, name: wire.name }
        }
        Kind::SignalSent(wire) => CommandKind::SignalSent {
            run: parsed("run", &wire.run)?,
            name: named("name", wire.name)?,
            payload: required("payload", wire.payload)?,
        },
        Kind::CancelSent(wire) => match wire.target.ok_or_else(|| InvalidWire::missing("target"))? {
            pb::cancel_sent::Target::OfCommand(number) => {
                CommandKind::CommandCancelled(command_number("of_command", number)?)
            }
            pb::cancel_sent::Target::Run(run) => CommandKind::RunCancelled(parsed("run", &run)?),
        },
        Kind::PatchMarked(wire) => CommandKind::PatchMarked { id: named("id", wire.id)? },
        Kind::AttributesSet(wire) => CommandKind::AttributesSet(wire.attributes),
        Kind::Finished(wire) => CommandKind::Finished(required("outcome", wire.outcome)?),
        Kind::ContinuedAsNew(wire) => CommandKind::ContinuedAsNew {
            run: parsed("run", &wire.run)?,
            version: wire.version,
            input: required("input", wire.input)?,
            carried: each("carried", wire.carried, Signal::try_from)?,
        },
        Kind::Started(_) | Kind::Answered(_) | Kind::SignalReceived(_) | Kind::CancelRequested(_) => {
            return Err(InvalidWire::new("", "is no command"));
        }
    })
}

/// What is no command.
fn record_of(command: u32, kind: Kind) -> Result<Record, InvalidWire> {
    let field = field_of(&kind);
    if !matches!(kind, Kind::Answered(_)) {
        unset("command", command == 0, &kind)?;
    }
    Ok(match kind {
        Kind::Started(wire) => Record::Started(Started::try_from(wire).within(field)?),
        Kind::Answered(wire) => Record::Answered {
            command: command_number("command", command)?,
            outcome: required("outcome", wire.outcome).within(field)?,
        },
        Kind::SignalReceived(wire) => Record::SignalReceived(Signal::try_from(wire).within(field)?),
        Kind::CancelRequested(wire) => Record::CancelRequested { reason: wire.reason },
        _ => return Err(InvalidWire::new(field, "is a command")),
    })
}

/// What belongs to a command only would be lost with anything else.
fn unset(field: &str, is_unset: bool, kind: &Kind) -> Result<(), InvalidWire> {
    if is_unset { Ok(()) } else { Err(InvalidWire::new(field, format!("is set, but not of {}", field_of(kind)))) }
}

const fn is_command(kind: &Kind) -> bool {
    !matches!(kind, Kind::Started(_) | Kind::Answered(_) | Kind::SignalReceived(_) | Kind::CancelRequested(_))
}

const fn field_of(kind: &Kind) -> &'static str {
    match kind {
        Kind::Started(_) => "started",
        Kind::StepDone(_) => "step_done",
        Kind::StepFailed(_) => "step_failed",
        Kind::TaskScheduled(_) => "task_scheduled",
        Kind::ChildStarted(_) => "child_started",
        Kind::TimerSet(_) => "timer_set",
        Kind::SignalSent(_) => "signal_sent",
        Kind::CancelSent(_) => "cancel_sent",
        Kind::PatchMarked(_) => "patch_marked",
        Kind::AttributesSet(_) => "attributes_set",
        Kind::Finished(_) => "finished",
        Kind::ContinuedAsNew(_) => "continued_as_new",
        Kind::Answered(_) => "answered",
        Kind::SignalReceived(_) => "signal_received",
        Kind::CancelRequested(_) => "cancel_requested",
    }
}
