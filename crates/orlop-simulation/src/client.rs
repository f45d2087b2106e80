//! Clients, which write and read one thing at a time and note when they asked and when they heard.

use crate::chance::Chance;
use crate::check::history::{Operation, Value};
use crate::host::Running;
use crate::network::Network;
use crate::trace::hash_of;
use orlop_consensus::{Applied, SubmitError};
use orlop_model::MemberId;
use orlop_state::command::MoveMember;
use orlop_state::{Answer, Command, Kind, State, stored};
use parking_lot::Mutex;
use std::sync::Arc;

/// Clients' places on the network begin here.
pub(crate) const FIRST_CLIENT: u64 = 1001;
/// The keys: members that are none, whose addresses are the values.
pub(crate) const KEYS: [u64; 3] = [501, 502, 503];
/// A client that hears nothing for so many ticks gives up.
const PATIENCE: u64 = 400;

/// What became of what a client asked for.
pub(crate) enum Outcome {
    /// Written, at this index; the hash of the command.
    Written(u64, u64),
    Read(Value),
    /// It did not happen, and will not.
    Not,
    /// Nobody knows.
    Unknown,
}

#[derive(Clone, Copy)]
struct Asked {
    number: u64,
    key: u64,
    /// None for a read.
    write: Option<Value>,
    called: u64,
    deadline: u64,
}

/// Answers on their way into clients, by client.
pub(crate) type Answers = Arc<Mutex<Vec<(u64, u64, Outcome)>>>;

pub(crate) struct Client {
    pub(crate) id: u64,
    asked: Option<Asked>,
    idle_until: u64,
    asked_for: u64,
}

/// Something that a client asked for and that is over.
pub(crate) struct Done {
    pub(crate) key: u64,
    pub(crate) operation: Operation,
    pub(crate) called: u64,
    /// Is it known to have happened?
    pub(crate) certain: bool,
    pub(crate) written: Option<(u64, u64)>,
}

impl Client {
    pub(crate) fn new(number: u64) -> Self {
        Self { id: FIRST_CLIENT + number, asked: None, idle_until: 0, asked_for: 0 }
    }

    /// Asks for something if it has nothing to wait for. `point` is the next point in the order of calls and returns.
    /// Reads are confirmed to be of the newest state.
    pub(crate) fn step(
        &mut self,
        (tick, point): (u64, u64),
        hosts: &[u64],
        chance: &mut Chance,
        network: &Network,
        answers: &Answers,
        confirms: bool,
    ) -> Option<Done> {
        if let Some(asked) = self.asked {
            let over = tick >= asked.deadline;
            return over.then(|| self.end(asked, Outcome::Unknown, tick, chance)).flatten();
        }
        if tick < self.idle_until {
            return None;
        }
        let (host, key) = (chance.pick(hosts)?, chance.pick(&KEYS)?);
        self.asked_for += 1;
        let number = self.asked_for;
        let write = chance.per_mille(500).then_some(self.id * 1_000_000 + number);
        self.asked = Some(Asked { number, key, write, called: point, deadline: tick + PATIENCE });
        let (network_back, answers, id) = (network.clone(), answers.clone(), self.id);
        let back = move |outcome: Outcome| {
            let deposit = move |_: Option<&Running>| answers.lock().push((id, number, outcome));
            network_back.send((host, id), "answer", 0, None, Box::new(deposit));
        };
        let ask = move |there: Option<&Running>| {
            let Some((running, consensus)) = there.and_then(|running| Some((running, running.consensus()?.clone())))
            else {
                return back(Outcome::Not);
            };
            let (now, machine) = (running.now(), running.machine.clone());
            running.runtime().spawn(async move {
                match write {
                    Some(value) => {
                        let (id, address) = (MemberId(key), value.to_string());
                        let kind = Kind::MoveMember(MoveMember { id, address });
                        let command = stored::encode_command(&Command::new(now, kind));
                        let hash = hash_of(&command);
                        back(written(consensus.submit(command).await, hash));
                    }
                    None => match if confirms { consensus.read_index().await } else { Ok(0) } {
                        Ok(_) => {
                            back(machine.machine.read(|state| value_of(state, key)).map_or(Outcome::Not, Outcome::Read))
                        }
                        Err(_) => back(Outcome::Not),
                    },
                }
            });
        };
        network.send((self.id, host), "ask", number, None, Box::new(ask));
        None
    }

    /// Hears an answer.
    pub(crate) fn hear(&mut self, number: u64, outcome: Outcome, tick: u64, chance: &mut Chance) -> Option<Done> {
        let asked = self.asked.filter(|asked| asked.number == number)?;
        self.end(asked, outcome, tick, chance)
    }

    fn end(&mut self, asked: Asked, outcome: Outcome, tick: u64, chance: &mut Chance) -> Option<Done> {
        self.asked = None;
        self.idle_until = tick + chance.between(0, 12);
        let Asked { key, write, called, .. } = asked;
        let done = |operation, certain, written| Some(Done { key, operation, called, certain, written });
        match (outcome, write) {
            (Outcome::Written(index, hash), Some(value)) => done(Operation::Write(value), true, Some((index, hash))),
            (Outcome::Unknown, Some(value)) => done(Operation::Write(value), false, None),
            (Outcome::Read(value), None) => done(Operation::Read(value), true, None),
            _ => None,
        }
    }

    /// What it still waits for, at the end.
    pub(crate) fn unfinished(&self) -> Option<Done> {
        let Asked { key, write, called, .. } = self.asked?;
        Some(Done { key, operation: Operation::Write(write?), called, certain: false, written: None })
    }
}

fn written(result: Result<Applied, SubmitError>, hash: u64) -> Outcome {
    match result {
        Ok(Applied { index, answer }) => match stored::decode_answer(&answer) {
            Ok(Answer::Done) => Outcome::Written(index, hash),
            // Nothing refuses it; what an answer that is none means for the value, the reads tell.
            _ => Outcome::Unknown,
        },
        Err(error) if error.is_unsure() => Outcome::Unknown,
        Err(_) => Outcome::Not,
    }
}

/// The value of a key: 0 before the first write.
pub(crate) fn value_of(state: &State, key: u64) -> Option<Value> {
    let address = &state.member(MemberId(key))?.address;
    Some(address.parse().unwrap_or(0))
}
