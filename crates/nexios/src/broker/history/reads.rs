//! What is asked of logs: a bounded queue of questions that outlive a lost session.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use crate::broker::link::LinkError;
use crate::broker::log::{Log, Page, Span};

/// Questions that may wait.
const WAITING_MAX: usize = 4096;
/// How long an answer may take, a broker that comes back included.
const ANSWER_MAX: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(crate) struct Reads {
    state: Mutex<State>,
    filled: Notify,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Question>,
    closed: bool,
}

/// Somebody wants to know what a log has.
pub(crate) struct Question {
    pub(crate) log: Log,
    pub(crate) span: Span,
    answer: oneshot::Sender<Result<Page, LinkError>>,
    until: Instant,
}

impl Reads {
    /// Reads entries of a log.
    ///
    /// # Errors
    /// `Lost` where the broker does not answer within five seconds or too many ask, `Refused`
    /// where it says no.
    pub(crate) async fn ask(&self, log: &Log, span: Span) -> Result<Page, LinkError> {
        let until = Instant::now() + ANSWER_MAX;
        loop {
            let (answer, answered) = oneshot::channel();
            self.push(Question { log: log.clone(), span, answer, until })?;
            match answered.await {
                Ok(answer) => return answer,
                // Its session was lost: another may answer.
                Err(_) if Instant::now() < until => {}
                Err(_) => return Err(LinkError::Lost("the broker does not answer".to_owned())),
            }
        }
    }

    fn push(&self, question: Question) -> Result<(), LinkError> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(LinkError::Lost("the node has ended".to_owned()));
        }
        if state.queue.len() >= WAITING_MAX {
            return Err(LinkError::Lost("too many read histories at once".to_owned()));
        }
        state.queue.push_back(question);
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// The next question, as soon as there is one that somebody still asks.
    pub(crate) async fn next(&self) -> Question {
        loop {
            while let Some(question) = self.state.lock().queue.pop_front() {
                if !question.answer.is_closed() {
                    return question;
                }
            }
            self.filled.notified().await;
        }
    }

    /// Ends questions that have waited long enough.
    pub(crate) fn release(&self, now: Instant) {
        let late = {
            let mut state = self.state.lock();
            let (late, kept) = std::mem::take(&mut state.queue).into_iter().partition(|question| question.until <= now);
            state.queue = kept;
            late
        };
        let late: VecDeque<Question> = late;
        drop(late);
    }

    /// Nobody answers any more.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let waiting = std::mem::take(&mut state.queue);
        drop(state);
        drop(waiting);
    }
}

impl Question {
    pub(crate) fn answer(self, answer: Result<Page, LinkError>) {
        // Nobody asks any more.
        let _ = self.answer.send(answer);
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::broker::log::{History, Position};

    fn log() -> Log {
        Log { channel: "x".into(), history: History::default() }
    }

    fn page() -> Page {
        Page { top: Position::default(), recovered: true, entries: Vec::new() }
    }

    #[tokio::test]
    async fn a_question_outlives_the_session_that_was_lost_with_it() {
        let reads = Reads::default();
        let (log, answering) = (log(), async {
            drop(reads.next().await);
            let question = reads.next().await;
            assert_eq!(question.span, Span::Newest(1));
            question.answer(Ok(page()));
        });
        let (answer, ()) = tokio::join!(reads.ask(&log, Span::Newest(1)), answering);
        assert_eq!(answer, Ok(page()));
    }

    #[tokio::test]
    async fn it_ends_after_a_while_and_with_the_node() {
        let (reads, log) = (Reads::default(), log());
        let mut context = Context::from_waker(Waker::noop());
        let mut asking = Box::pin(reads.ask(&log, Span::Newest(1)));
        assert!(asking.as_mut().poll(&mut context).is_pending());
        reads.release(Instant::now());
        assert_eq!(reads.state.lock().queue.len(), 1);
        assert!(asking.as_mut().poll(&mut context).is_pending());
        reads.close();
        let Poll::Ready(Err(LinkError::Lost(reason))) = asking.as_mut().poll(&mut context) else { panic!() };
        assert_eq!(reason, "the node has ended");
    }

    #[tokio::test]
    async fn they_are_bounded_and_those_that_nobody_asks_are_left_out() {
        let (reads, log) = (Reads::default(), log());
        let mut context = Context::from_waker(Waker::noop());
        let mut asking: Vec<_> = (0..WAITING_MAX).map(|_| Box::pin(reads.ask(&log, Span::Newest(1)))).collect();
        asking.iter_mut().for_each(|asking| assert!(asking.as_mut().poll(&mut context).is_pending()));
        assert!(reads.ask(&log, Span::Newest(1)).await.is_err());
        asking.clear();
        assert!(tokio::time::timeout(Duration::from_millis(1), reads.next()).await.is_err());
    }
}
