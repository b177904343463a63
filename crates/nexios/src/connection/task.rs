//! The task of one connection: drives the handler, then its end, and its listeners beside it.
//!
//! It is a chain of tasks, each followed by the next: the handler, an exception handler if
//! there is need of one, the last word, and whoever still listens.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use nexios_engine::{BoxedTask, Cause, Connection, ConnectionState, Refusal, Task};
use nexios_protocol::{CloseCode, escaped};
use pin_project_lite::pin_project;

use crate::connection::listeners;
use crate::connection::websocket::{Mark, WebSocket};
use crate::error::{Error, Result};
use crate::routing::exception::Unhandled;
use crate::routing::handler::LocalFuture;
use crate::routing::middleware::Next;

/// Characters of a panic, of an error, and of each of its sources, that are logged.
const FAULT_CHARS_MAX: usize = 2048;

/// The task for a handshake: the handler's own future where nothing is around it.
pub(crate) fn start(ws: WebSocket) -> BoxedTask {
    let route = ws.route().clone();
    if route.middleware.is_empty() {
        ws.handler_starts();
        return route.handler.task(ws);
    }
    Box::pin(HandlerTask { future: Next::first(route).run(ws) })
}

pin_project! {
    /// Middleware and handler run. It is as large as the handler's future: idle connections hold it.
    pub(crate) struct HandlerTask<F> {
        #[pin]
        future: F,
    }
}

/// An exception handler runs.
struct ExceptionTask(LocalFuture<Result>);

/// The handler is over.
struct LastWord;

/// Only the listeners are left.
struct ListenersTask;

impl<F> HandlerTask<F> {
    pub(crate) fn new(future: F) -> Self {
        HandlerTask { future }
    }
}

impl<F: Future<Output = Result>> Task for HandlerTask<F> {
    fn poll(self: Pin<&mut Self>, connection: &Connection, cx: &mut Context<'_>) -> Poll<Option<BoxedTask>> {
        let mut future = self.project().future;
        drive(&WebSocket::of(connection), cx, |cx| future.as_mut().poll(cx), conclude)
    }
}

impl Task for ExceptionTask {
    fn poll(mut self: Pin<&mut Self>, connection: &Connection, cx: &mut Context<'_>) -> Poll<Option<BoxedTask>> {
        drive(&WebSocket::of(connection), cx, |cx| self.0.as_mut().poll(cx), conclude_exception)
    }
}

impl Task for LastWord {
    fn poll(self: Pin<&mut Self>, connection: &Connection, _: &mut Context<'_>) -> Poll<Option<BoxedTask>> {
        settle(&WebSocket::of(connection));
        Poll::Ready(Some(Box::pin(ListenersTask)))
    }
}

impl Task for ListenersTask {
    fn poll(self: Pin<&mut Self>, connection: &Connection, cx: &mut Context<'_>) -> Poll<Option<BoxedTask>> {
        let ws = WebSocket::of(connection);
        poll_listeners(&ws, cx);
        if ws.has(Mark::HasListeners) { Poll::Pending } else { Poll::Ready(None) }
    }
}

/// Polls the application's future, and the listeners next to it; at the end returns what follows.
fn drive(
    ws: &WebSocket,
    cx: &mut Context<'_>,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<Result>,
    conclude: impl FnOnce(&WebSocket, Result) -> BoxedTask,
) -> Poll<Option<BoxedTask>> {
    loop {
        // Listeners see a message before the handler does.
        poll_listeners(ws, cx);
        let next = match guarded(ws, || poll(cx)) {
            Poll::Ready(result) => conclude(ws, result),
            Poll::Pending if ws.has(Mark::Alone) => return Poll::Pending,
            Poll::Pending if is_abandoned(ws, cx) => Box::pin(LastWord),
            Poll::Pending if start_listeners(ws) => continue,
            Poll::Pending => return Poll::Pending,
        };
        start_listeners(ws);
        return Poll::Ready(Some(next));
    }
}

/// Starts the task of the listeners where a route has listeners that no task drives yet: only once
/// `accept()` is over. A task that panicked while it looked at messages is followed by one that does not.
/// Returns true if a task was started.
fn start_listeners(ws: &WebSocket) -> bool {
    let observing = ws.has(Mark::Observed) && !ws.has(Mark::Observing);
    let lacks_task = !ws.has(Mark::HasListeners) && listeners::is_needed(ws);
    if !ws.has(Mark::Opened) || ws.has(Mark::Departed) || !(observing || lacks_task) {
        return false;
    }
    if observing {
        ws.mark(Mark::Observing);
    }
    ws.set_listeners(Box::pin(listeners::run(ws.clone(), observing)));
    true
}

fn poll_listeners(ws: &WebSocket, cx: &mut Context<'_>) {
    if !ws.has(Mark::HasListeners) {
        return;
    }
    let Some(mut listeners) = ws.take_listeners() else { return };
    match catch_unwind(AssertUnwindSafe(|| listeners.as_mut().poll(cx))) {
        Ok(Poll::Pending) => ws.set_listeners(listeners),
        Ok(Poll::Ready(())) => {}
        Err(panic) => {
            on_panic(ws, "a listener panicked", &*panic);
            ws.close_now(CloseCode::INTERNAL_ERROR, "");
        }
    }
}

/// A panic of the handler ends this connection only.
fn guarded(ws: &WebSocket, poll: impl FnOnce() -> Poll<Result>) -> Poll<Result> {
    catch_unwind(AssertUnwindSafe(poll)).unwrap_or_else(|panic| {
        on_panic(ws, "the handler panicked", &*panic);
        fail(ws);
        Poll::Ready(Ok(()))
    })
}

pub(crate) fn on_panic(ws: &WebSocket, what: &str, panic: &(dyn Any + Send)) {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(connection = %ws.id(), route = ws.route_path(), panic = %escaped(text.unwrap_or("no text")).up_to(FAULT_CHARS_MAX), "{what}");
    ws.connection().shard().count(Cause::Panic);
}

/// The client is gone, and the route does not want to go on without it.
fn is_abandoned(ws: &WebSocket, cx: &mut Context<'_>) -> bool {
    ws.route().cancel_on_disconnect && ws.connection().poll_closed(cx).is_ready()
}

/// What follows the handler.
fn conclude(ws: &WebSocket, result: Result) -> BoxedTask {
    let Err(error) = result else { return Box::pin(LastWord) };
    match ws.route().exceptions.find(&error) {
        Some(handler) => Box::pin(ExceptionTask(handler.call(ws.clone(), error))),
        None => {
            close_for(ws, &error);
            Box::pin(LastWord)
        }
    }
}

/// What follows an exception handler: its own error gets no other handler.
fn conclude_exception(ws: &WebSocket, result: Result) -> BoxedTask {
    if let Err(error) = result {
        close_for(ws, &error);
    }
    Box::pin(LastWord)
}

/// What an error that nobody took does to the connection.
fn close_for(ws: &WebSocket, error: &Error) {
    match Unhandled::of(error) {
        Unhandled::Nothing => {}
        Unhandled::Close(exception) => ws.close_now(exception.code, &exception.reason),
        Unhandled::Fault => {
            log_fault(ws, error, "the handler failed");
            fail(ws);
        }
    }
}

/// A fault of ours: 1011 without a reason, before accept HTTP 500.
fn fail(ws: &WebSocket) {
    match ws.connection_state() {
        ConnectionState::Connecting => refuse(ws, 500),
        _ => ws.connection().close(CloseCode::INTERNAL_ERROR, ""),
    }
}

pub(crate) fn log_fault(ws: &WebSocket, error: &Error, what: &str) {
    let sources = std::iter::successors(error.as_dyn().source(), |source| (*source).source());
    let sources: Vec<_> = sources.map(|source| escaped(source).up_to(FAULT_CHARS_MAX)).collect();
    let error = escaped(error).up_to(FAULT_CHARS_MAX);
    tracing::error!(connection = %ws.id(), route = ws.route_path(), %error, ?sources, "{what}");
}

/// The last word, where nobody has said it.
fn settle(ws: &WebSocket) {
    let reached_handler = ws.has(Mark::HandlerStarted);
    match ws.connection_state() {
        ConnectionState::Connecting if reached_handler => {
            tracing::error!(connection = %ws.id(), route = ws.route_path(), "the handler returned without accept() or close()");
            refuse(ws, 500);
        }
        ConnectionState::Connecting => {
            tracing::warn!(connection = %ws.id(), route = ws.route_path(), "a middleware neither called next nor closed");
            refuse(ws, 403);
        }
        ConnectionState::Connected if reached_handler => ws.connection().close(CloseCode::NORMAL, ""),
        ConnectionState::Connected => ws.connection().close(CloseCode::POLICY_VIOLATION, ""),
        ConnectionState::Closing | ConnectionState::Disconnected => {}
    }
    // Nobody receives any more, and a full inbox would hide the peer's Close frame.
    ws.connection().discard_messages(true);
}

fn refuse(ws: &WebSocket, status: u16) {
    if let Err(error) = ws.connection().refuse(Refusal::new(status, "")) {
        tracing::debug!(connection = %ws.id(), error = %escaped(&error), "the refusal was not sent");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_costs_nothing_besides_the_handler() {
        assert_eq!(size_of::<HandlerTask<[usize; 8]>>(), size_of::<[usize; 8]>());
        assert_eq!(size_of::<(LastWord, ListenersTask)>(), 0);
    }
}
