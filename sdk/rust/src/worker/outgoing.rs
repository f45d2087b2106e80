//! What is to be sent: frames that gather while the stream is busy go as one message.

use orlop_proto::engine::v1 as pb;
use prost::Message as _;
use std::collections::VecDeque;

/// A message is closed when its frames have so many bytes.
const BYTES: usize = 1 << 20;
/// Or are so many.
const FRAMES: usize = 1024;

/// Frames that are not sent yet, in their order.
#[derive(Default)]
pub(super) struct Outgoing(VecDeque<pb::WorkerFrame>);

impl Outgoing {
    pub(super) fn push(&mut self, frame: impl Into<pb::WorkerFrame>) {
        self.0.push_back(frame.into());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next message: all frames, or as many as one may hold.
    pub(super) fn take(&mut self) -> pb::WorkRequest {
        let mut bytes = 0;
        let fits = |frame: &pb::WorkerFrame| {
            bytes += frame.encoded_len();
            bytes <= BYTES
        };
        let count = self.0.iter().take(FRAMES).take_while({
            let mut fits = fits;
            move |frame| fits(frame)
        });
        let count = count.count().max(1).min(self.0.len());
        pb::WorkRequest { frames: self.0.drain(..count).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_model::durable::{Outcome, Payload, WorkerFrame};

    fn answer(query: u64, bytes: usize) -> WorkerFrame {
        let payload = Payload { data: vec![b'1'; bytes].into(), encoding: String::new() };
        WorkerFrame::QueryAnswered { query, outcome: Outcome::Ok(payload) }
    }

    #[test]
    fn frames_go_together_up_to_the_bounds_of_a_message() {
        let mut outgoing = Outgoing::default();
        for query in 0..1500 {
            outgoing.push(answer(query, 1));
        }
        assert_eq!((outgoing.take().frames.len(), outgoing.take().frames.len()), (1024, 476));
        assert!(outgoing.is_empty());
        for bytes in [10, 2 << 20, 10] {
            outgoing.push(answer(1, bytes));
        }
        let counts: Vec<usize> = (0..3).map(|_| outgoing.take().frames.len()).collect();
        assert_eq!(counts, [1, 1, 1]);
    }
}
