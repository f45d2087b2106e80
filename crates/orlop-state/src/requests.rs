//! Commands that were answered, so that a repeated one is answered again and not applied.
//!
//! A caller that lost the answer sends the command again with the same id. What is remembered is bounded: the newest
//! [`REQUESTS_MAX`], of the last [`REQUEST_KEPT`].

use crate::answer::Answer;
use crate::limit::{REQUEST_KEPT, REQUESTS_MAX};
use orlop_model::Timestamp;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Names a command, so that it can be told when it is repeated: 16 random bytes that whoever asks for it made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub [u8; 16]);

/// Of another caller, the same bytes are another command: nobody is told the answer to what somebody else asked.
pub(crate) type Key = (RequestId, Option<String>);

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Requests {
    answers: BTreeMap<Key, Arc<Answer>>,
    /// In the order of arrival.
    order: VecDeque<(Timestamp, Key)>,
}

impl Requests {
    pub(crate) fn answer(&self, key: &Key) -> Option<&Arc<Answer>> {
        self.answers.get(key)
    }

    /// Remembers an answer. A key that is there already keeps its first one.
    pub(crate) fn remember(&mut self, now: Timestamp, key: Key, answer: Arc<Answer>) {
        if self.answers.contains_key(&key) {
            return;
        }
        self.answers.insert(key.clone(), answer);
        self.order.push_back((now, key));
        while self.order.len() > REQUESTS_MAX || self.order.front().is_some_and(|(at, _)| now - *at > REQUEST_KEPT) {
            if let Some((_, key)) = self.order.pop_front() {
                self.answers.remove(&key);
            }
        }
    }

    /// All that is remembered, in the order of arrival.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Timestamp, &Key, &Arc<Answer>)> {
        self.order.iter().filter_map(|(at, key)| Some((*at, key, self.answers.get(key)?)))
    }
}
