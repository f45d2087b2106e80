//! A state machine for the tests: it remembers the commands.

use orlop_consensus::{Encode, InvalidSnapshot, StateMachine};
use std::sync::{Arc, Mutex};

type Commands = Vec<(u64, Vec<u8>)>;

/// All commands, in order, with their indexes.
#[derive(Default)]
pub(crate) struct List {
    commands: Mutex<Arc<Commands>>,
}

impl List {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    pub(crate) fn all(&self) -> Arc<Commands> {
        self.commands.lock().unwrap().clone()
    }

    pub(crate) fn texts(&self) -> Vec<String> {
        self.all().iter().map(|(_, c)| String::from_utf8_lossy(c).into_owned()).collect()
    }
}

impl StateMachine for List {
    /// Answers with the number of commands so far.
    fn apply(&self, index: u64, command: &[u8]) -> Vec<u8> {
        let mut commands = self.commands.lock().unwrap();
        assert!(commands.last().is_none_or(|(last, _)| *last < index), "{index} came again");
        let list = Arc::make_mut(&mut commands);
        list.push((index, command.to_vec()));
        list.len().to_string().into_bytes()
    }

    fn snapshot(&self) -> Encode {
        let commands = self.all();
        Box::new(move || {
            let mut bytes = Vec::new();
            for (index, command) in commands.iter() {
                bytes.extend_from_slice(&index.to_le_bytes());
                bytes.extend_from_slice(&(command.len() as u64).to_le_bytes());
                bytes.extend_from_slice(command);
            }
            bytes
        })
    }

    fn restore(&self, _index: u64, mut snapshot: &[u8]) -> Result<(), InvalidSnapshot> {
        let mut list = Vec::new();
        let number = |snapshot: &mut &[u8]| {
            let (number, rest) = snapshot.split_first_chunk::<8>().ok_or_else(|| InvalidSnapshot("cut".into()))?;
            *snapshot = rest;
            Ok::<_, InvalidSnapshot>(u64::from_le_bytes(*number))
        };
        while !snapshot.is_empty() {
            let index = number(&mut snapshot)?;
            let length = number(&mut snapshot)? as usize;
            if length > snapshot.len() {
                return Err(InvalidSnapshot("cut".into()));
            }
            let (command, rest) = snapshot.split_at(length);
            snapshot = rest;
            list.push((index, command.to_vec()));
        }
        *self.commands.lock().unwrap() = Arc::new(list);
        Ok(())
    }
}
