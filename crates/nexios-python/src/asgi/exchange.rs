//! One request and its response, between hyper and the application.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use nexios_engine::{RequestBody, ResponseBody};
use parking_lot::Mutex;

use super::response::{Head, Streamed};

/// Bytes of a response that may wait for the client before `send()` does.
const QUEUED_BYTES_MAX: usize = 64 << 10;

/// State that both sides know. Python may drop its side on any thread.
pub(crate) struct Exchange(Mutex<State>);

struct State {
    input: Input,
    stage: Stage,
    /// The response, until the engine takes it.
    answer: Option<Response<ResponseBody>>,
    /// Parts of the body that hyper has not taken.
    queue: VecDeque<Bytes>,
    queued_bytes: usize,
    is_client_gone: bool,
    /// The body of the request was not what its head announced.
    is_malformed: bool,
    is_head_request: bool,
    /// The engine's side: the answer at first, then its body.
    engine: Option<Waker>,
    /// Python's side: what `receive()` and `send()` wait for may be there.
    waiting: Vec<(Key, Waker)>,
    last_key: Key,
}

/// Names the waker of one wait.
pub(crate) type Key = u64;

/// The rest of the request's body.
enum Input {
    Body(RequestBody),
    /// There is none, and `receive()` has not reported it.
    Empty,
    Over,
}

/// The progress of the application with its response.
enum Stage {
    Awaited,
    /// A head, held back until the first part of the body.
    Begun(Head),
    /// Bytes that `Content-Length` has promised and that have not come.
    Streaming(Option<u64>),
    Complete,
    /// Begun and never ended.
    Broken,
}

/// The application did not keep to the order of messages, or to its own `Content-Length`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SendError {
    StartedTwice,
    NotStarted,
    AfterTheEnd,
    TooLong,
    TooShort,
}

/// The part of a response that an application left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Undone {
    /// The client got 500.
    Nothing,
    /// The connection was cut.
    Half,
}

/// A message for the application.
pub(crate) enum Event {
    Body { part: Bytes, more: bool },
    Disconnect,
}

impl Exchange {
    pub(crate) fn new(head: &Parts, body: RequestBody) -> Arc<Self> {
        let input = if body.is_end_stream() { Input::Empty } else { Input::Body(body) };
        Arc::new(Exchange(Mutex::new(State {
            input,
            stage: Stage::Awaited,
            answer: None,
            queue: VecDeque::new(),
            queued_bytes: 0,
            is_client_gone: false,
            is_malformed: false,
            is_head_request: head.method == Method::HEAD,
            engine: None,
            waiting: Vec::new(),
            last_key: 0,
        })))
    }

    pub(crate) fn is_client_gone(&self) -> bool {
        self.0.lock().is_client_gone
    }

    /// `http.disconnect` is all that `receive()` has left.
    pub(crate) fn is_over(&self) -> bool {
        self.0.lock().is_over()
    }

    /// Polls for the next event of `receive()`; the waker of a wait is stored under its key.
    pub(crate) fn poll_receive(self: &Arc<Self>, key: &mut Option<Key>, cx: &mut Context<'_>) -> Poll<Event> {
        let mut state = self.0.lock();
        if state.is_over() {
            return Poll::Ready(Event::Disconnect);
        }
        let mut input = std::mem::replace(&mut state.input, Input::Over);
        let event = self.poll_input(&mut input, &mut state);
        state.input = input;
        match event {
            Some(event) => Poll::Ready(event),
            None => state.wait(key, cx),
        }
    }

    fn poll_input(self: &Arc<Self>, input: &mut Input, state: &mut State) -> Option<Event> {
        loop {
            let Input::Body(body) = input else {
                let is_news = matches!(std::mem::replace(input, Input::Over), Input::Empty);
                return is_news.then_some(Event::Body { part: Bytes::new(), more: false });
            };
            // One waker for all waits, as a body stores only one.
            let waker = Waker::from(self.clone());
            let polled = std::pin::Pin::new(&mut *body).poll_frame(&mut Context::from_waker(&waker));
            match polled {
                Poll::Pending => return None,
                Poll::Ready(Some(Ok(frame))) => {
                    let Ok(part) = frame.into_data() else { continue };
                    let more = !body.is_end_stream();
                    if !more {
                        *input = Input::Over;
                    }
                    return Some(Event::Body { part, more });
                }
                Poll::Ready(None) => *input = Input::Empty,
                Poll::Ready(Some(Err(_))) => {
                    *input = Input::Over;
                    state.is_client_gone = true;
                    // Where it is only cut off, nobody is there to see the answer.
                    state.is_malformed = true;
                    return Some(Event::Disconnect);
                }
            }
        }
    }

    /// `http.response.start`
    pub(crate) fn start(&self, head: Head) -> Result<(), SendError> {
        let mut state = self.0.lock();
        if state.is_client_gone {
            return Ok(());
        }
        match state.stage {
            Stage::Awaited => state.stage = Stage::Begun(head),
            Stage::Begun(_) | Stage::Streaming(_) => return Err(SendError::StartedTwice),
            Stage::Complete | Stage::Broken => return Err(SendError::AfterTheEnd),
        }
        Ok(())
    }

    /// `http.response.body`; whether there is room for the next one.
    pub(crate) fn push(self: &Arc<Self>, part: Bytes, more: bool) -> Result<bool, SendError> {
        let mut state = self.0.lock();
        if state.is_client_gone {
            return Ok(true);
        }
        match std::mem::replace(&mut state.stage, Stage::Broken) {
            Stage::Begun(head) => self.answer(&mut state, head, part, more)?,
            Stage::Streaming(promised) => {
                let left = state.check_length(promised, part.len(), more)?;
                state.enqueue(part);
                state.stage = if more { Stage::Streaming(left) } else { Stage::Complete };
            }
            stage @ (Stage::Awaited | Stage::Complete | Stage::Broken) => {
                let error =
                    if matches!(stage, Stage::Awaited) { SendError::NotStarted } else { SendError::AfterTheEnd };
                state.stage = stage;
                return Err(error);
            }
        }
        let room = state.has_room();
        self.notify(state);
        Ok(room)
    }

    fn answer(self: &Arc<Self>, state: &mut State, head: Head, part: Bytes, more: bool) -> Result<(), SendError> {
        let promised = if state.is_head_request || head.has_no_body() { None } else { head.content_length };
        let left = match state.check_length(promised, part.len(), more) {
            Ok(left) => left,
            // Nothing of it has gone out: the application may fail in its own way.
            Err(error) => {
                state.stage = Stage::Begun(head);
                return Err(error);
            }
        };
        let body = match (more, head.has_no_body()) {
            (_, true) => http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync(),
            (false, _) => Full::new(part).map_err(|never| match never {}).boxed_unsync(),
            (true, _) => {
                state.enqueue(part);
                Streamed(self.clone()).boxed_unsync()
            }
        };
        state.answer = Some(head.into_response(body));
        state.stage = if more { Stage::Streaming(left) } else { Stage::Complete };
        Ok(())
    }

    /// Waits until hyper has taken enough.
    pub(crate) fn poll_room(&self, key: &mut Option<Key>, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.0.lock();
        if state.has_room() { Poll::Ready(()) } else { state.wait(key, cx) }
    }

    /// A wait is over.
    pub(crate) fn forget(&self, key: Key) {
        self.0.lock().waiting.retain(|(other, _)| *other != key);
    }

    /// The application has returned or raised.
    pub(crate) fn end(&self) -> Option<Undone> {
        let mut state = self.0.lock();
        let stage = std::mem::replace(&mut state.stage, Stage::Complete);
        let undone = match stage {
            Stage::Complete => None,
            Stage::Awaited | Stage::Begun(_) => {
                let is_malformed = state.is_malformed;
                state.answer = Some(match is_malformed {
                    true => nexios_engine::bad_request("malformed request body\n"),
                    false => internal_error(),
                });
                Some(Undone::Nothing)
            }
            Stage::Streaming(_) | Stage::Broken => {
                state.stage = Stage::Broken;
                Some(Undone::Half)
            }
        };
        let undone = undone.filter(|_| !state.is_client_gone);
        self.notify(state);
        undone
    }

    pub(super) fn poll_answer(&self, cx: &Context<'_>) -> Poll<Response<ResponseBody>> {
        let mut state = self.0.lock();
        match state.answer.take() {
            Some(answer) => Poll::Ready(answer),
            None => {
                state.engine = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// The next part of the body; an error cuts the connection.
    pub(super) fn poll_part(&self, cx: &Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        let mut state = self.0.lock();
        if let Some(part) = state.queue.pop_front() {
            let had_room = state.has_room();
            state.queued_bytes -= part.len();
            if !had_room && state.has_room() {
                self.notify(state);
            }
            return Poll::Ready(Some(Ok(part)));
        }
        match state.stage {
            Stage::Complete => Poll::Ready(None),
            Stage::Broken => Poll::Ready(Some(Err(Cut))),
            _ => {
                state.engine = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Returns true if all of a streamed body was taken.
    pub(super) fn is_sent(&self) -> bool {
        let state = self.0.lock();
        state.queue.is_empty() && matches!(state.stage, Stage::Complete)
    }

    /// Nobody reads what is sent from now on.
    pub(super) fn lose_client(&self) {
        let mut state = self.0.lock();
        state.is_client_gone = true;
        state.queue.clear();
        state.queued_bytes = 0;
        self.notify(state);
    }

    /// The engine does not wait for the answer any longer: it has taken it, or never will.
    pub(super) fn end_answer(&self) {
        let mut state = self.0.lock();
        let untaken = state.answer.take();
        let is_taken = untaken.is_none() && !matches!(state.stage, Stage::Awaited | Stage::Begun(_));
        drop(state);
        drop(untaken);
        if !is_taken {
            self.lose_client();
        }
    }

    /// Wakes all tasks that may have something new. Neither a wake-up nor a drop happens under the lock.
    fn notify(&self, mut state: parking_lot::MutexGuard<'_, State>) {
        let input = state.is_over().then(|| std::mem::replace(&mut state.input, Input::Over));
        let engine = state.engine.take();
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        drop(input);
        engine.into_iter().chain(waiting.into_iter().map(|(_, waker)| waker)).for_each(Waker::wake);
    }
}

/// There is news of the request's body.
impl Wake for Exchange {
    fn wake(self: Arc<Self>) {
        let waiting = std::mem::take(&mut self.0.lock().waiting);
        waiting.into_iter().for_each(|(_, waker)| waker.wake());
    }
}

impl State {
    fn is_over(&self) -> bool {
        self.is_client_gone || matches!(self.stage, Stage::Complete | Stage::Broken)
    }

    fn has_room(&self) -> bool {
        self.queued_bytes <= QUEUED_BYTES_MAX || self.is_client_gone
    }

    fn enqueue(&mut self, part: Bytes) {
        if !part.is_empty() {
            self.queued_bytes += part.len();
            self.queue.push_back(part);
        }
    }

    fn wait<T>(&mut self, key: &mut Option<Key>, cx: &Context<'_>) -> Poll<T> {
        if let Some(old) = key.take() {
            self.waiting.retain(|(other, _)| *other != old);
        }
        self.last_key += 1;
        self.waiting.push((self.last_key, cx.waker().clone()));
        *key = Some(self.last_key);
        Poll::Pending
    }

    /// Returns the length that is still promised after this part.
    fn check_length(&self, promised: Option<u64>, part: usize, more: bool) -> Result<Option<u64>, SendError> {
        let Some(promised) = promised else { return Ok(None) };
        match promised.checked_sub(part as u64) {
            None => Err(SendError::TooLong),
            Some(left) if left > 0 && !more => Err(SendError::TooShort),
            left => Ok(left),
        }
    }
}

/// The application gave up in the middle of its response.
#[derive(Debug)]
pub(crate) struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the application did not complete its response")
    }
}

impl std::error::Error for Cut {}

fn internal_error() -> Response<ResponseBody> {
    let body = Full::new(Bytes::from_static(b"internal error\n")).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
