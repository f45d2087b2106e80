//! The state machine as the log sees it: bytes in, bytes out. Everything that reads the state reads it here.

use crate::hub::{Cursor, Ring, Update};
use orlop_consensus::{Encode, InvalidSnapshot, StateMachine};
use orlop_model::Revision;
use orlop_state::{State, stored};
use parking_lot::RwLock;
use tokio::sync::watch;

/// The state, what changed lately, and a bell that rings when a command was applied.
pub struct Machine {
    held: RwLock<Held>,
    applied: watch::Sender<u64>,
}

struct Held {
    state: State,
    ring: Ring,
}

impl Machine {
    /// An empty state, that remembers so many changes for watchers that come back.
    pub fn new(ring_entities: usize) -> Self {
        let held = Held { state: State::new(), ring: Ring::new(ring_entities) };
        Self { held: RwLock::new(held), applied: watch::Sender::new(0) }
    }

    /// Looks at the state. Commands wait meanwhile: look, take what is needed, leave.
    pub fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.held.read().state)
    }

    /// The revision of the state.
    pub fn revision(&self) -> u64 {
        self.held.read().state.revision().0
    }

    /// What a watcher is to be told now.
    pub fn advance(&self, cursor: &mut Cursor) -> Option<Update> {
        let held = self.held.read();
        cursor.advance(&held.state, &held.ring)
    }

    /// Hears of every command that is applied.
    pub fn bell(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }
}

impl StateMachine for Machine {
    fn apply(&self, index: u64, command: &[u8]) -> Vec<u8> {
        let command = stored::decode_command(command);
        let revision = Revision(index);
        let answer = {
            let mut held = self.held.write();
            let applied = held.state.apply(revision, command);
            held.ring.push(revision, applied.changed);
            applied.answer
        };
        self.applied.send_replace(index);
        stored::encode_answer(&answer)
    }

    fn snapshot(&self) -> Encode {
        let state = self.held.read().state.clone();
        Box::new(move || stored::encode_state(&state))
    }

    fn restore(&self, index: u64, snapshot: &[u8]) -> Result<(), InvalidSnapshot> {
        let state = stored::decode_state(snapshot).map_err(|invalid| InvalidSnapshot(invalid.to_string()))?;
        {
            let mut held = self.held.write();
            // The index, which a restored backup has raised: no revision in between is known to have been this state's.
            held.ring.reset(Revision(index));
            held.state = state;
        }
        self.applied.send_replace(index);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_model::{ClusterId, NodeId, Timestamp, View};
    use orlop_state::command::{InitCluster, RegisterNode};
    use orlop_state::{Command, Kind};

    fn applied(machine: &Machine, index: u64, kind: Kind) {
        machine.apply(index, &stored::encode_command(&Command::new(Timestamp(index), kind)));
    }

    fn register(id: u128, name: &str) -> Kind {
        Kind::RegisterNode(RegisterNode {
            node: NodeId::from_u128(id),
            name: name.parse().expect("a name"),
            cpu: orlop_model::Cpu(1000),
            memory: orlop_model::Memory(1 << 30),
            labels: Default::default(),
            version: "1".into(),
            address: None,
        })
    }

    #[test]
    fn a_snapshot_holds_what_was_applied_before_it_was_taken_and_restores_it() {
        let machine = Machine::new(100);
        let range = "10.77.0.0/16".parse().expect("a range");
        let init = InitCluster { cluster: ClusterId::from_u128(1), range, trust: None };
        applied(&machine, 3, Kind::InitCluster(init));
        applied(&machine, 4, register(1, "alpha"));
        let encode = machine.snapshot();
        applied(&machine, 7, register(2, "beta"));
        let bytes = encode();

        let other = Machine::new(100);
        let bell = other.bell();
        other.restore(4, &bytes).expect("a snapshot");
        assert_eq!(other.read(|state| state.nodes().count()), 1, "beta came later");
        assert!(bell.has_changed().expect("it is there"), "who watches hears of it");

        // Who has seen revision 4 resumes; who has seen less gets all of it.
        applied(&other, 7, register(2, "beta"));
        assert_eq!(other.read(State::clone), machine.read(State::clone));
        for (since, snapshot, changes) in [(4, false, 1), (3, true, 2)] {
            let mut cursor = Cursor::new(View::Mesh, Some(Revision(since)));
            let part = other.advance(&mut cursor).and_then(|mut update| update.part(1 << 20)).expect("an update");
            assert_eq!((part.snapshot, part.changes.len(), part.revision), (snapshot, changes, 7), "since {since}");
            assert!(other.advance(&mut cursor).is_none(), "all is told");
        }
        // Who is further than this member waits for it.
        let mut ahead = Cursor::new(View::Mesh, Some(Revision(9)));
        assert!(other.advance(&mut ahead).is_none());
        applied(&other, 12, register(3, "gamma"));
        applied(&machine, 12, register(3, "gamma"));
        let part = other.advance(&mut ahead).and_then(|mut update| update.part(1 << 20)).expect("an update");
        assert_eq!((part.snapshot, part.changes.len(), part.revision), (false, 1, 12));
        assert!(other.restore(9, b"nonsense").is_err());
        assert_eq!(other.read(State::clone), machine.read(State::clone), "what cannot be read replaces nothing");
    }
}
