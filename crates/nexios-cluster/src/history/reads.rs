//! What is asked of logs: a bounded queue of questions that outlive a lost session.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::engines::link::LinkError;
use crate::history::log::{Log, Page, Span};

/// Questions that may wait.
const WAITING_MAX: usize = 4096;
/// How long an answer may take, a broker that elects a leader or comes back included.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// How long an answer waits for a broker that is away. Clients that join are let in without it then.
const AWAY_MAX: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(crate) struct Reads {
    state: Mutex<State>,
    filled: Notify,
}

/// Whoever asks what is being waited for already waits for the same answer: clients that come back
/// at once have few positions between them.
#[derive(Default)]
struct State {
    queue: VecDeque<(Log, Span)>,
    waiting: HashMap<(Log, Span), Waiting>,
    /// Since when there is no session with the broker.
    away: Option<Instant>,
    closed: bool,
}

/// Those who want to know the same.
struct Waiting {
    answers: Vec<oneshot::Sender<Answer>>,
    asked: Instant,
}

/// One page for all who asked for it.
type Answer = Result<Arc<Page>, LinkError>;

/// Somebody wants to know what a log has.
pub(crate) struct Question {
    pub(crate) log: Log,
    pub(crate) span: Span,
    answers: Vec<oneshot::Sender<Answer>>,
    asked: Instant,
}

impl Reads {
    /// Reads entries of a log.
    ///
    /// # Errors
    /// `Lost` if the broker is away for five seconds, does not answer within thirty, or too many
    /// ask; `Refused` if it says no.
    pub(crate) async fn ask(&self, log: &Log, span: Span) -> Answer {
        let asked = Instant::now();
        loop {
            match self.push(log, span, asked)?.await {
                Ok(answer) => return answer,
                // Its session was lost: another may answer.
                Err(_) if asked.elapsed() < ANSWER_MAX => {}
                Err(_) => return Err(unanswered()),
            }
        }
    }

    fn push(&self, log: &Log, span: Span, asked: Instant) -> Result<oneshot::Receiver<Answer>, LinkError> {
        let (answer, answered) = oneshot::channel();
        let mut state = self.state.lock();
        let state = &mut *state;
        if state.closed {
            return Err(LinkError::Lost("the node has ended".to_owned()));
        }
        let question = (log.clone(), span);
        if let Some(waiting) = state.waiting.get_mut(&question) {
            waiting.join(answer);
            return Ok(answered);
        }
        if state.waiting.len() >= WAITING_MAX {
            return Err(LinkError::Lost("too many read histories at once".to_owned()));
        }
        state.queue.push_back(question.clone());
        state.waiting.insert(question, Waiting { answers: vec![answer], asked });
        self.filled.notify_one();
        Ok(answered)
    }

    /// The next question, as soon as there is one that somebody still asks.
    pub(crate) async fn next(&self) -> Question {
        loop {
            while let Some(question) = self.take() {
                if !question.answers.iter().all(oneshot::Sender::is_closed) {
                    return question;
                }
            }
            self.filled.notified().await;
        }
    }

    fn take(&self) -> Option<Question> {
        let mut state = self.state.lock();
        let question = state.queue.pop_front()?;
        let Waiting { answers, asked } = state.waiting.remove(&question)?;
        let (log, span) = question;
        Some(Question { log, span, answers, asked })
    }

    /// A session begins or has ended.
    pub(crate) fn set_away(&self, is_away: bool) {
        self.state.lock().away = is_away.then(Instant::now);
    }

    /// Ends questions that have waited long enough.
    pub(crate) fn release(&self, now: Instant) {
        let mut state = self.state.lock();
        let State { queue, waiting, away, .. } = &mut *state;
        let is_away = away.is_some_and(|since| now.saturating_duration_since(since) >= AWAY_MAX);
        let wait_max = if is_away { AWAY_MAX } else { ANSWER_MAX };
        let is_late = |waiting: &Waiting| now.saturating_duration_since(waiting.asked) >= wait_max;
        let late: Vec<_> = waiting.extract_if(|_, waiting| is_late(waiting)).collect();
        queue.retain(|question| waiting.contains_key(question));
        drop(state);
        for answer in late.into_iter().flat_map(|(_, waiting)| waiting.answers) {
            // Nobody asks any more.
            let _ = answer.send(Err(unanswered()));
        }
    }

    /// Nobody answers any more.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.queue.clear();
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        drop(waiting);
    }
}

impl Waiting {
    fn join(&mut self, answer: oneshot::Sender<Answer>) {
        if self.answers.len() == self.answers.capacity() {
            self.answers.retain(|answer| !answer.is_closed());
        }
        self.answers.push(answer);
    }
}

fn unanswered() -> LinkError {
    LinkError::Lost("the broker does not answer".to_owned())
}

impl Question {
    /// Returns true if somebody waits for the answer, and may after such a pause.
    pub(crate) fn may_wait(&self, pause: Duration) -> bool {
        self.asked.elapsed() + pause < ANSWER_MAX && !self.answers.iter().all(oneshot::Sender::is_closed)
    }

    pub(crate) fn answer(self, answer: Result<Page, LinkError>) {
        let answer = answer.map(Arc::new);
        for asked in self.answers {
            // Nobody asks any more.
            let _ = asked.send(answer.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::history::log::{History, Position};

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
        assert_eq!(answer, Ok(Arc::new(page())));
    }

    #[tokio::test]
    async fn it_ends_after_a_while_and_with_the_node() {
        let (reads, log) = (Reads::default(), log());
        let mut context = Context::from_waker(Waker::noop());
        let mut asking = Box::pin(reads.ask(&log, Span::Newest(1)));
        assert!(asking.as_mut().poll(&mut context).is_pending());
        reads.release(Instant::now() + ANSWER_MAX - Duration::from_secs(1));
        assert_eq!(reads.state.lock().waiting.len(), 1);
        assert!(asking.as_mut().poll(&mut context).is_pending());
        reads.close();
        let Poll::Ready(Err(LinkError::Lost(reason))) = asking.as_mut().poll(&mut context) else { panic!() };
        assert_eq!(reason, "the node has ended");
    }

    #[tokio::test(start_paused = true)]
    async fn an_election_is_waited_for_and_a_broker_that_is_away_only_for_five_seconds() {
        let (reads, log) = (Reads::default(), log());
        let mut context = Context::from_waker(Waker::noop());
        let mut asking = Box::pin(reads.ask(&log, Span::Newest(1)));
        assert!(asking.as_mut().poll(&mut context).is_pending());
        tokio::time::advance(2 * AWAY_MAX).await;
        reads.release(Instant::now());
        assert!(asking.as_mut().poll(&mut context).is_pending(), "the broker is there and has no leader yet");
        reads.set_away(true);
        reads.release(Instant::now());
        assert!(asking.as_mut().poll(&mut context).is_pending(), "it was there a moment ago");
        tokio::time::advance(AWAY_MAX).await;
        reads.release(Instant::now());
        assert_eq!(asking.as_mut().poll(&mut context), Poll::Ready(Err(unanswered())));
    }

    #[tokio::test]
    async fn what_many_ask_at_once_is_asked_once() {
        let (reads, log) = (Reads::default(), log());
        let mut context = Context::from_waker(Waker::noop());
        let mut asking: Vec<_> = (0..3 * WAITING_MAX).map(|n| Box::pin(reads.ask(&log, Span::Newest(n % 2)))).collect();
        asking.iter_mut().for_each(|asking| assert!(asking.as_mut().poll(&mut context).is_pending()));
        for _ in 0..2 {
            reads.next().await.answer(Ok(page()));
        }
        for asking in asking {
            assert!(asking.await.is_ok());
        }
        assert!(reads.state.lock().queue.is_empty());
        let again = async { reads.next().await.answer(Ok(page())) };
        let (answer, ()) = tokio::join!(reads.ask(&log, Span::Newest(1)), again);
        assert!(answer.is_ok(), "what is under way is not waited for: it may be older than the question");
    }

    #[tokio::test]
    async fn they_are_bounded_and_those_that_nobody_asks_are_left_out() {
        let (reads, log) = (Reads::default(), log());
        let mut context = Context::from_waker(Waker::noop());
        let mut asking: Vec<_> = (0..WAITING_MAX).map(|n| Box::pin(reads.ask(&log, Span::Newest(n)))).collect();
        asking.iter_mut().for_each(|asking| assert!(asking.as_mut().poll(&mut context).is_pending()));
        assert!(reads.ask(&log, Span::Newest(WAITING_MAX)).await.is_err());
        asking.clear();
        assert!(tokio::time::timeout(Duration::from_millis(1), reads.next()).await.is_err());
    }
}
