//! A network in which nothing happens but what a scenario says.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use nexios_client::Message;
use nexios_client::transport::{Attempt, BoxFuture, Connection, DialError, Dialer, Ended};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

type Answer = Result<Box<dyn Connection>, DialError>;

#[derive(Clone, Default)]
pub(crate) struct Network(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    dialled: Notify,
}

#[derive(Default)]
struct State {
    dials: VecDeque<Dial>,
    /// The one that is being answered.
    answering: Option<Dial>,
    link: Link,
    frames: VecDeque<Message>,
    closed: VecDeque<Option<u16>>,
}

pub(crate) struct Dial {
    pub(crate) url: String,
    pub(crate) offers: Vec<String>,
    pub(crate) at: Instant,
    answer: oneshot::Sender<Answer>,
}

/// The connection that is open, or was.
#[derive(Default)]
struct Link {
    number: u64,
    inbox: VecDeque<Result<Message, Ended>>,
    waker: Option<Waker>,
    is_over: bool,
}

struct Wire {
    network: Network,
    number: u64,
    subprotocol: String,
}

impl Network {
    pub(crate) async fn until_dialled(&self) {
        while self.0.state.lock().dials.is_empty() {
            self.0.dialled.notified().await;
        }
    }

    pub(crate) fn dials(&self) -> usize {
        self.0.state.lock().dials.iter().filter(|dial| !dial.answer.is_closed()).count()
    }

    /// Takes the oldest attempt; it is the one that is answered next.
    pub(crate) fn take_dial(&self) -> Option<(String, Vec<String>, Instant)> {
        let mut state = self.0.state.lock();
        let dial = state.dials.pop_front()?;
        let seen = (dial.url.clone(), dial.offers.clone(), dial.at);
        state.answering = Some(dial);
        Some(seen)
    }

    fn answer(&self, answer: impl FnOnce(&mut State) -> Answer) -> Result<(), String> {
        let mut state = self.0.state.lock();
        let dial = state.answering.take().ok_or("nobody dials")?;
        let answer = answer(&mut state);
        drop(state);
        dial.answer.send(answer).map_err(|_| "the client has given up dialling".to_owned())
    }

    pub(crate) fn accept(&self, subprotocol: &str) -> Result<(), String> {
        self.answer(|state| {
            let number = state.link.number + 1;
            state.link = Link { number, ..Link::default() };
            Ok(Box::new(Wire { network: self.clone(), number, subprotocol: subprotocol.to_owned() }))
        })
    }

    pub(crate) fn refuse(&self, error: DialError) -> Result<(), String> {
        self.answer(|_| Err(error))
    }

    /// The server sends a message, or ends the connection.
    pub(crate) fn deliver(&self, what: Result<Message, Ended>) -> Result<(), String> {
        let mut state = self.0.state.lock();
        if state.link.is_over {
            return Err("there is no connection".to_owned());
        }
        state.link.is_over = what.is_err();
        state.link.inbox.push_back(what);
        if let Some(waker) = state.link.waker.take() {
            waker.wake();
        }
        Ok(())
    }

    pub(crate) fn take_frame(&self) -> Option<Message> {
        self.0.state.lock().frames.pop_front()
    }

    pub(crate) fn frames(&self) -> usize {
        self.0.state.lock().frames.len()
    }

    /// Takes how the client has closed a connection: with a code, or without.
    pub(crate) fn take_closed(&self) -> Option<Option<u16>> {
        self.0.state.lock().closed.pop_front()
    }
}

impl Dialer for Network {
    fn dial(&self, attempt: Attempt) -> BoxFuture<Answer> {
        let (answer, answered) = oneshot::channel();
        let dial = Dial { url: attempt.url, offers: attempt.subprotocols, at: Instant::now(), answer };
        self.0.state.lock().dials.push_back(dial);
        self.0.dialled.notify_one();
        Box::pin(async move { answered.await.unwrap_or_else(|_| Err(DialError::Unreachable("gone".to_owned()))) })
    }
}

impl Wire {
    fn with<R>(&self, act: impl FnOnce(&mut State) -> R) -> R {
        act(&mut self.network.0.state.lock())
    }

    fn closes(&self, code: Option<u16>) {
        let number = self.number;
        self.with(|state| {
            if state.link.number == number && !state.link.is_over {
                state.link.is_over = true;
                state.closed.push_back(code);
            }
        });
    }
}

impl Connection for Wire {
    fn subprotocol(&self) -> Option<&str> {
        (!self.subprotocol.is_empty()).then_some(&*self.subprotocol)
    }

    fn send(&mut self, message: Message) {
        self.with(|state| state.frames.push_back(message));
    }

    fn is_full(&self) -> bool {
        false
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Message, Ended>> {
        self.with(|state| match state.link.inbox.pop_front() {
            Some(what) => Poll::Ready(what),
            None => {
                state.link.waker = Some(context.waker().clone());
                Poll::Pending
            }
        })
    }

    fn close(self: Box<Self>, code: u16, _: String) -> BoxFuture<()> {
        self.closes(Some(code));
        Box::pin(async {})
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.closes(None);
    }
}
