//! Requests on one stream, and what is still to be answered: a member that dies may leave answers out, and never end them.

use super::{Messages, PeerError};
use futures::stream;
use futures::{Stream, StreamExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;
use tokio::time::timeout;

/// Requests that are under way and not answered within this are lost: the connection is dead, or the member is.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// How far the requests on a stream are.
#[derive(Clone, Default)]
pub(super) struct Asked {
    sent: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
}

impl Asked {
    /// The requests, counted as they go.
    pub(super) fn count<T: 'static>(&self, requests: impl Stream<Item = T> + Send + 'static) -> Messages<T> {
        let (sent, ended) = (self.sent.clone(), self.ended.clone());
        let end = stream::poll_fn(move |_| {
            ended.store(true, Ordering::Relaxed);
            Poll::Ready(None)
        });
        let counted = requests.inspect(move |_| {
            sent.fetch_add(1, Ordering::Relaxed);
        });
        counted.chain(end).boxed()
    }

    fn awaits(&self, answered: u64) -> bool {
        self.sent.load(Ordering::Relaxed) > answered
    }

    /// The answers. They end with an error when one is missing, and also by themselves: the protocol sends a member nothing
    /// else before they end, and a member that died after the last answer does not end them.
    pub(super) fn answers<T: Send + 'static>(
        self,
        answers: Messages<Result<T, PeerError>>,
        lost: PeerError,
    ) -> Messages<Result<T, PeerError>> {
        let answers = stream::unfold(Some((answers, 0)), move |state| {
            let (asked, lost) = (self.clone(), lost.clone());
            async move {
                let (mut answers, answered) = state?;
                loop {
                    let awaited = asked.awaits(answered);
                    match timeout(ANSWER_TIMEOUT, answers.next()).await {
                        Ok(Some(answer)) => {
                            let rest = answer.is_ok().then_some((answers, answered + 1));
                            return Some((answer, rest));
                        }
                        Ok(None) if asked.awaits(answered) => return Some((Err(lost), None)),
                        Ok(None) => return None,
                        Err(_) if awaited => return Some((Err(lost), None)),
                        Err(_) if asked.ended.load(Ordering::Relaxed) && !asked.awaits(answered) => return None,
                        Err(_) => {}
                    }
                }
            }
        });
        answers.boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::identity;
    use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
    use tokio_stream::wrappers::UnboundedReceiverStream;

    type Channel<T> = (UnboundedSender<T>, Messages<T>);

    fn channel<T: Send + 'static>() -> Channel<T> {
        let (sender, receiver) = unbounded_channel();
        (sender, UnboundedReceiverStream::new(receiver).boxed())
    }

    fn lost() -> PeerError {
        PeerError::Lost { member: 2, reason: "no answer".into() }
    }

    /// Sends so many requests and gives so many answers, then ends what is said to end. What comes out?
    async fn come_out(
        requests: u64,
        requests_end: bool,
        answers: u64,
        answers_end: bool,
    ) -> Vec<Result<u64, PeerError>> {
        let ((ask, asks), (answer, answered)) = (channel(), channel());
        (0..requests).for_each(|number| ask.send(number).unwrap());
        (0..answers).for_each(|number| answer.send(Ok(number)).unwrap());
        let ask = (!requests_end).then_some(ask);
        let answer = (!answers_end).then_some(answer);
        let asked = Asked::default();
        let mut counted = asked.count(asks);
        tokio::spawn(async move { while counted.next().await.is_some() {} });
        tokio::task::yield_now().await;
        let out = asked.answers(answered, lost());
        let out = timeout(Duration::from_secs(60), out.collect::<Vec<_>>()).await;
        drop((ask, answer));
        out.map_or_else(|_| vec![Err(PeerError::Refused { member: 2, reason: "it waits for ever".into() })], identity)
    }

    #[tokio::test(start_paused = true)]
    async fn answers_end_with_those_of_a_member_and_without_when_it_died() {
        for answers_end in [true, false] {
            assert_eq!(come_out(2, true, 2, answers_end).await, [Ok(0), Ok(1)]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn answers_that_are_missing_are_an_error() {
        for (requests_end, answers_end) in [(true, true), (true, false), (false, true), (false, false)] {
            assert_eq!(come_out(2, requests_end, 1, answers_end).await, [Ok(0), Err(lost())]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_missed_while_nothing_is_asked() {
        let waits = come_out(1, false, 1, false).await;
        assert!(matches!(&waits[..], [Err(PeerError::Refused { .. })]), "{waits:?}");
    }
}
