//! Commands of schedulers, agents and operators, on their way to some member and back.

use crate::host::Running;
use crate::network::Network;
use orlop_state::{Answer, Command, Kind, stored};
use parking_lot::Mutex;
use std::sync::Arc;

/// The index of a command, and the answer; none when it failed.
type Result = Option<(u64, Answer)>;

/// A command that is under way.
pub(crate) struct Call {
    answer: Arc<Mutex<Option<Result>>>,
    deadline: u64,
}

/// What became of it.
pub(crate) enum Heard {
    Nothing,
    /// The index of the command, and the answer.
    Answer(u64, Answer),
    /// It failed, or nobody answers.
    Lost,
}

impl Call {
    /// Sends a command to a member, which stamps it with its time. It is given up after so many ticks.
    pub(crate) fn send(network: &Network, (from, to): (u64, u64), kind: Kind, deadline: u64) -> Self {
        let answer = Arc::new(Mutex::new(None));
        let (slot, back) = (answer.clone(), network.clone());
        let answered = move |result: Result| {
            let deposit = move |_: Option<&Running>| *slot.lock() = Some(result);
            back.send((to, from), "answer", 0, None, Box::new(deposit));
        };
        let ask = move |there: Option<&Running>| {
            let Some((process, consensus)) = there.and_then(|process| Some((process, process.consensus()?.clone())))
            else {
                return answered(None);
            };
            let command = stored::encode_command(&Command::new(process.now(), kind));
            process.runtime().spawn(async move {
                let applied = consensus.submit(command).await.ok();
                answered(applied.and_then(|a| Some((a.index, stored::decode_answer(&a.answer).ok()?))));
            });
        };
        network.send((from, to), "command", 0, None, Box::new(ask));
        Self { answer, deadline }
    }

    pub(crate) fn hear(&self, tick: u64) -> Heard {
        match self.answer.lock().take() {
            Some(Some((index, answer))) => Heard::Answer(index, answer),
            Some(None) => Heard::Lost,
            None if tick >= self.deadline => Heard::Lost,
            None => Heard::Nothing,
        }
    }
}
